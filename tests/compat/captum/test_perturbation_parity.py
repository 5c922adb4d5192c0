"""The perturbation methods beside Captum's: inputs, targets, baselines, masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reluxfast.compat import captum as compat
from reluxfast.compat.captum import perturbation as ours
from tests.compat.captum.models import CNN, FunctionalCNN, Maps, Regression, TwoInputs, built, case, rows, shared
from tests.compat.captum.parity import agree, attr, both, quietly
from tests.compat.captum.perturbed import FITTED, MASKED, SEVERAL, SMALL, Tokens, same
from tests.support import assert_close

TARGETS = [1, -1, (2,), [0, 3, 1], torch.tensor([3, 0, 2]), torch.tensor(2), torch.tensor([1]), [(1,), (0,), (3,)]]
# Exact values of few features: Captum walks every order.
FEW = torch.tensor([0, 0, 1, 2, 2, 3, 1])


def options(kind, model="mlp"):
    """Windows for Occlusion, few features for exact values."""
    if kind is ours.Occlusion:
        windows = {"mlp": (3,), "cnn": (3, 4, 2), "conv1d": (2, 5), "conv3d": (1, 2, 3, 2)}
        strides = {"mlp": 2, "cnn": (3, 4, 1), "conv1d": (1, 3), "conv3d": 1}
        return {"sliding_window_shapes": windows[model], "strides": strides[model]}
    return {"feature_mask": FEW} if kind is ours.ShapleyValues and model == "mlp" else {}


def blocks(x: Tensor, size: int = 3) -> Tensor:
    """A mask of cubes of `size` elements along each dimension but the first, numbered."""
    number = torch.zeros((1, *x.shape[1:]), dtype=torch.int64)
    for axis in range(2, x.dim()):
        place = torch.arange(x.shape[axis]) // size
        number = number * (int(place.max()) + 1) + place.view(-1, *[1] * (x.dim() - axis - 1))
    return number


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", SMALL)
def test_mlp(kind, dtype):
    model, (x,) = case("mlp", dtype=dtype)
    wide = dtype == torch.float64 and kind is not ours.FeatureAblation
    same(kind, model, x, target=1, wide=wide, **options(kind))
    # A function is called as it is; nothing is known of it.
    same(kind, lambda batch: model(batch), x, target=1, wide=wide, **options(kind))


@pytest.mark.parametrize("name", ["cnn", "conv1d", "conv3d"])
@pytest.mark.parametrize("kind", SMALL)
def test_convolutions(kind, name):
    model, (x,) = case(name, 2)
    few = {} if kind is ours.Occlusion else {"feature_mask": blocks(x, 5 if name == "conv3d" else 6)}
    same(kind, model, x, target=[2, 0], **{**options(kind, name), **few})


@pytest.mark.parametrize("kind", [ours.FeatureAblation, ours.ShapleyValueSampling])
def test_every_pixel(kind):
    model, (x,) = case("cnn", 2)
    same(kind, model, x, target=3)
    same(kind, model, x.to(memory_format=torch.channels_last), target=3)


def test_functional_relus():
    model, twin = shared(FunctionalCNN), shared(CNN)
    (x,) = rows(((3, 11, 9),))
    for kind in MASKED:
        torch.manual_seed(3)
        found = kind(model).attribute(x, target=1, feature_mask=blocks(x, 6), **SMALL[kind])
        agree(found, both(kind, twin, x, target=1, feature_mask=blocks(x, 6), same_seed=True, **SMALL[kind])[1])


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("kind", SMALL)
def test_five_forms_of_target(kind, target):
    model, (x,) = case("mlp")
    if kind in FITTED and isinstance(target, torch.Tensor) and not target.dim():
        # Captum asks for the length of whatever is a Tensor.
        torch.manual_seed(3)
        found = kind(model).attribute(x, target=target, **SMALL[kind])
        agree(found, both(kind, model, x, target=int(target), same_seed=True, **SMALL[kind])[1])
        return
    same(kind, model, x, target=target, **options(kind))


@pytest.mark.parametrize("target", [(1, 4), (-1, 0), [(0, 1), (2, 2), (1, 0)]], ids=str)
@pytest.mark.parametrize("kind", SMALL)
def test_outputs_of_more_dimensions(kind, target):
    same(kind, shared(Maps), *rows(((7,),)), target=target, **options(kind))


@pytest.mark.parametrize("kind", SMALL)
def test_one_output(kind):
    same(kind, shared(Regression), *rows(((7,),)), **options(kind))


@pytest.mark.parametrize("make", [Maps, CNN])
@pytest.mark.parametrize("kind", SEVERAL)
def test_several_outputs(kind, make):
    shape = (7,) if make is Maps else (3, 11, 9)
    (x,) = rows((shape,))
    mask = FEW if make is Maps else blocks(x, 6)
    for target in (None, 2) if make is Maps else (None,):
        found = same(kind, shared(make), x, target=target, feature_mask=mask)
        outputs = {(Maps, None): (3, 5), (Maps, 2): (5,), (CNN, None): (4,)}[make, target]
        assert found.shape == ((3, *outputs, *shape) if kind is not ours.FeatureAblation else found.shape)
    model = shared(make)
    same(kind, lambda batch: model(batch), x, feature_mask=mask)


def test_several_outputs_under_windows():
    found = same(ours.Occlusion, shared(Maps), *rows(((7,),)), target=1, sliding_window_shapes=(2,))
    assert found.shape == (15, 7)


BASELINES = ["none", "number", "one row", "broadcast", "each row"]


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("kind", SMALL)
def test_baselines(kind, baseline):
    model, (x,) = case("mlp")
    given = torch.randn(3, 7, generator=torch.Generator().manual_seed(5))
    chosen = {"none": None, "number": 0.7, "one row": given[:1], "broadcast": given[:1], "each row": given}[baseline]
    for f in (model, lambda batch: model(batch)):
        same(kind, f, x, baselines=chosen, target=[1, 0, 3], **options(kind))


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("kind", MASKED)
def test_a_baseline_for_each_row_on_every_path(kind, name):
    """By the perceptron's kernel, behind a first map, through the engine."""
    model, (x,) = case(name, 4)
    start = torch.randn(x.shape, generator=torch.Generator().manual_seed(6))
    mask = FEW if name == "mlp" else blocks(x, 6)
    same(kind, model, x, baselines=start, target=[1, 0, 3, 3], feature_mask=mask)


def captum_takes(extra) -> bool:
    """Whether Captum's Lime does: it iterates over a Tensor, and asks for the length of a number."""
    return extra is None or (isinstance(extra, tuple) and not any(isinstance(e, Tensor) and not e.dim() for e in extra))


EXTRA = [
    None,
    torch.tensor([0.5, -2.0, 1.5]),
    (None, torch.tensor([4, 0, 2])),
    (torch.tensor([0.5, -2.0, 1.5]), torch.tensor([4, 0, 2]), 3.0),
    (None, None, -1.5),
    (None, None, torch.tensor(0.25)),
]


@pytest.mark.parametrize(
    ("kind", "extra"), [(k, e) for k in SMALL for e in EXTRA if k not in FITTED or captum_takes(e)], ids=str
)
def test_several_inputs_and_further_arguments(kind, extra):
    model, x = case("two_inputs")
    start = torch.randn(x[0].shape, generator=torch.Generator().manual_seed(6))
    # Features go across inputs, and their numbers have gaps.
    masks = (blocks(x[0], 5) * 3, torch.tensor([[0, 1, 1, 3, 3]]))
    given = {"feature_mask": masks} if kind is not ours.Occlusion else {}
    if kind is ours.Occlusion:
        given = {"sliding_window_shapes": ((2, 3, 2), (2,)), "strides": (2, (1,))}
    for baselines in (None, (start, 0.5)):
        same(kind, model, x, baselines=baselines, target=[1, 0, 3], additional_forward_args=extra, **given)


@pytest.mark.parametrize("kind", [ours.FeatureAblation, ours.ShapleyValueSampling, ours.Lime])
def test_several_inputs_without_masks(kind):
    model, x = case("two_inputs")
    same(kind, model, x, target=1, additional_forward_args=(torch.tensor([0.5, -2.0, 1.5]),))


@pytest.mark.parametrize("kind", SMALL)
def test_indices_of_an_embedding(kind):
    model = shared(Tokens)
    tokens = torch.randint(1, 50, (3, 4), generator=torch.Generator().manual_seed(2))
    given = {"sliding_window_shapes": (2,)} if kind is ours.Occlusion else {}
    same(kind, model, tokens, target=[0, 2, 1], **given)
    scale = torch.tensor([1.0, -1.0, 2.0])
    same(kind, model, tokens, baselines=3, target=2, additional_forward_args=(scale,), **given)
    same(kind, model, tokens, baselines=tokens.flip(0), target=2, additional_forward_args=(scale,), **given)


@pytest.mark.parametrize("kind", [ours.FeatureAblation, ours.ShapleyValueSampling, ours.ShapleyValues, ours.Lime])
def test_masks_of_each_row(kind):
    model, (x,) = case("mlp", 4)
    mask = torch.tensor([[0, 0, 1, 2, 2, 3, 1], [3, 2, 1, 0, 0, 0, 0], [0, 0, 1, 2, 2, 3, 1], [1, 1, 1, 1, 0, 1, 1]])
    same(kind, model, x, target=[0, 1, 2, 3], feature_mask=mask)
    start = torch.randn(x.shape, generator=torch.Generator().manual_seed(6))
    same(kind, model, x, baselines=start, target=1, feature_mask=mask)
    factor = torch.tensor([1.0, 2.0, 3.0, 4.0])

    def scaled(batch: Tensor, by: Tensor) -> Tensor:
        return model(batch) * by[:, None]

    same(kind, scaled, x, target=1, feature_mask=mask, additional_forward_args=(factor,))


@pytest.mark.parametrize("kind", MASKED)
def test_numbers_of_features_with_gaps(kind):
    model, (x,) = case("mlp")
    same(kind, model, x, target=1, feature_mask=torch.tensor([[0, 4, 4, 2, 2, 2, 4]]))
    if kind in (ours.Lime, ours.KernelShap, ours.FeatureAblation):
        same(kind, model, x, target=1, feature_mask=torch.tensor([[9, 7, 7, 8, 8, 7, 9]]))


@pytest.mark.parametrize("kind", SMALL)
def test_values_do_not_depend_on_perturbations_per_eval(kind):
    model, (x,) = case("mlp")
    for at_once in (2, 5, 100):
        same(kind, model, x, target=1, perturbations_per_eval=at_once, **options(kind))
        same(kind, lambda b: model(b), x, target=1, perturbations_per_eval=at_once, **options(kind))


@pytest.mark.parametrize("kind", [ours.Lime, ours.KernelShap])
def test_weights_alone(kind):
    model, (x,) = case("mlp")
    assert same(kind, model, x, target=1, feature_mask=FEW[None], return_input_shape=False).shape == (3, 4)
    assert same(kind, model, x[:1], target=1, feature_mask=FEW[None], return_input_shape=False).shape == (1, 4)


@pytest.mark.parametrize("shapes", [(2,), (3,), (7,), (1,)])
@pytest.mark.parametrize("stride", [None, 1, (1,)])
def test_windows_of_a_table(shapes, stride):
    model, (x,) = case("mlp")
    same(ours.Occlusion, model, x, target=1, sliding_window_shapes=shapes, strides=stride)


@pytest.mark.parametrize(
    ("window", "stride"),
    [
        ((3, 4, 4), (3, 3, 3)),
        ((1, 3, 3), None),
        ((3, 11, 9), (7, 7, 20)),
        ((2, 5, 4), (1, 5, 2)),
        ((3, 2, 9), (1, 2, 1)),
    ],
)
def test_windows_of_images(window, stride):
    model, (x,) = case("cnn", 2)
    start = torch.randn(x.shape, generator=torch.Generator().manual_seed(6))
    same(ours.Occlusion, model, x, target=1, sliding_window_shapes=window, strides=stride, baselines=start)


def test_one_number_in_each_example():
    x = torch.randn(4, generator=torch.Generator().manual_seed(0))
    y = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))

    def f(a: Tensor, b: Tensor) -> Tensor:
        return (a[:, None] * b.cos()).sum(1)

    for kind in MASKED:
        same(kind, f, (x, y))
    same(ours.Occlusion, f, (x, y), sliding_window_shapes=((), (2,)))


def test_examples_of_the_documentation():
    """Groups of 2x2 pixels of 4x4 images, with a classifier of three classes."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    images = torch.randn(2, 4, 4)
    mask = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]])
    for kind in MASKED:
        found = same(kind, net, images, target=1, feature_mask=mask)
        assert found.shape == images.shape and len(found[0].unique()) == 4
    same(ours.ShapleyValueSampling, net, images, target=1, n_samples=200)
    same(ours.Occlusion, net, images, target=1, sliding_window_shapes=(3, 3))


def test_exact_values_of_more_features_than_captum_can():
    """They sum to what the output gains, and orders without end come to them."""
    model, (x,) = case("mlp", dtype=torch.float64)
    exact = ours.ShapleyValues(model).attribute(x, target=2)
    gain = model(x)[:, 2] - model(torch.zeros_like(x))[:, 2]
    assert_close(exact.sum(1), gain.detach(), 1e-12)
    torch.manual_seed(0)
    sampled = ours.ShapleyValueSampling(model).attribute(x, target=2, n_samples=4000)
    assert_close(sampled, exact, 0.05)


def test_results_of_captum_are_those_of_wide_networks():
    """A first map that is cut off, long rows, many outputs."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(80, 24), torch.nn.Tanh(), torch.nn.Linear(24, 30)).eval()
    x = torch.randn(3, 80)
    start = torch.randn(3, 80)
    for baselines in (None, start):
        same(ours.ShapleyValueSampling, model, x, baselines=baselines)
        same(ours.FeatureAblation, model, x, baselines=baselines, target=7)


@pytest.mark.parametrize("kind", [ours.FeatureAblation, ours.Occlusion, ours.ShapleyValueSampling])
def test_noise_tunnels(kind):
    """Captum's over ours, and ours over ours."""
    model, (x,) = case("mlp")
    start = torch.randn(x.shape, generator=torch.Generator().manual_seed(6))
    peer = getattr(attr, kind.__name__)
    found = []
    for tunnel, method in ((attr.NoiseTunnel, peer), (attr.NoiseTunnel, kind), (compat.NoiseTunnel, kind)):
        torch.manual_seed(4)
        given = {"nt_samples": 4, "target": [1, 0, 2], "baselines": start, **SMALL[kind], **options(kind)}
        noisy = tunnel(method(model))
        found.append(quietly(lambda t=noisy, g=given: t.attribute(x, **g)))
    agree(found[1], found[0])
    agree(found[2], found[0])


def test_infidelity_of_captum():
    from captum.metrics import infidelity

    model, (x,) = case("mlp")

    def noise(inputs: Tensor) -> tuple[Tensor, Tensor]:
        step = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(1)) * 0.1
        return step, inputs - step

    scores = []
    for kind in (ours.ShapleyValueSampling, attr.ShapleyValueSampling):
        torch.manual_seed(0)
        values = quietly(lambda k=kind: k(model).attribute(x, target=1, n_samples=10))
        scores.append(infidelity(model, noise, x, values, target=1, n_perturb_samples=5).detach())
    agree(*scores)


def test_cnn_with_two_inputs_in_float64():
    model = built(TwoInputs, torch.float64)
    x = rows(((2, 6, 5), (5,)), dtype=torch.float64)
    for kind in (ours.ShapleyValueSampling, ours.FeatureAblation):
        same(kind, model, x, target=1, wide=kind is not ours.FeatureAblation)
