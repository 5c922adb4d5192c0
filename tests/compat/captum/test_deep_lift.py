"""DeepLift beside Captum's where Captum's is right: activations are modules used once, none stands right before a
max-pool, and windows do not overlap. Elsewhere its own delta says that it is not."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import reluxfast as rx
from reluxfast.compat import captum as ours
from tests.compat.captum.models import (
    CNN,
    MODELS,
    FunctionalCNN,
    Maps,
    Regression,
    TwoInputs,
    built,
    case,
    rows,
    shared,
)
from tests.compat.captum.parity import agree, attr, both, fresh, quietly, same_error
from tests.support import assert_close, assert_untouched, fingerprint

TARGETS = [1, -1, (2,), [0, 3, 1], torch.tensor([3, 0, 2]), torch.tensor([1]), [(1,), (0,), (3,)]]


def _baselines(x: tuple[Tensor, ...]) -> dict[str, object]:
    generator = torch.Generator().manual_seed(2)
    draw = [torch.randn(v.shape, generator=generator, dtype=v.dtype) for v in x]
    return {"none": None, "numbers": (0.3,) * len(x), "row": tuple(d[:1] for d in draw), "rows": tuple(draw)}


class Smooth(nn.Module):
    """Every activation that Captum has a rule for, but softmax."""

    def __init__(self) -> None:
        super().__init__()
        kinds = [nn.ReLU(), nn.ELU(), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh(), nn.Softplus()]
        self.body = nn.Sequential(*(m for act in kinds for m in (nn.Linear(7, 7), act)), nn.Linear(7, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Apart(nn.Module):
    """What it is given, as another tensor: Captum's hooks on a ReLU and on a pool right behind it hinder each other."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 1.0


def apart(model: nn.Module) -> nn.Module:
    """The same network with something between its ReLUs and its pools."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)):
                setattr(module, name, nn.Sequential(Apart(), child))
    return model


def theirs(model: nn.Module, x: object, *args: object, **kwargs: object) -> object:
    """What Captum says of the network with its pools apart."""
    return quietly(lambda: attr.DeepLift(apart(model)).attribute(fresh(x), *fresh(args), **kwargs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["none", "numbers", "row", "rows"])
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_network(name, kind, dtype):
    model, x = case(name, dtype=dtype)
    base = _baselines(x)[kind]
    found, delta = ours.DeepLift(model).attribute(x, base, 1, return_convergence_delta=True)
    expected, expected_delta = theirs(model, x, base, 1, return_convergence_delta=True)
    agree(found, tuple(v.detach() for v in expected))
    assert delta.dtype == expected_delta.dtype and delta.shape == (3,)
    assert delta.abs().max() <= (1e-5 if dtype == torch.float32 else 1e-12)
    if len(x) == 1:
        base = base if base is None else base[0]
        agree(ours.DeepLift(model).attribute(x[0], base, [3, 0, 1]), theirs(model, x[0], base, [3, 0, 1]).detach())


def test_every_activation():
    model, (x, base) = built(Smooth, torch.float64), rows(((7,), (7,)), dtype=torch.float64)
    agree(*both(ours.DeepLift, model, x, base, 2))
    agree(*both(ours.DeepLift, model, x, None, 2))


@pytest.mark.parametrize("padding, before", [(0, nn.ReLU()), (1, nn.Identity())], ids=["behind_a_relu", "overlapping"])
def test_pools_of_which_captum_loses_a_part(padding, before):
    """On purpose: Captum's multipliers do not conserve there, as its own delta says."""
    kernel = 2 + padding
    head = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    model = nn.Sequential(nn.Conv2d(3, 5, 3), before, nn.MaxPool2d(kernel, 2, padding), head)
    x, base = rows(((3, 10, 10), (3, 10, 10)))
    model(x)
    model, x, base = built(lambda: model, torch.float64), x.double(), base.double()
    _, delta = ours.DeepLift(model).attribute(x, base, 1, return_convergence_delta=True)
    _, their_delta = quietly(lambda: attr.DeepLift(model).attribute(fresh(x), base, 1, return_convergence_delta=True))
    assert delta.abs().max() < 1e-12 < 1e-3 < their_delta.abs().max()


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_forms_of_target(target):
    model, x = case("mlp")
    agree(*both(ours.DeepLift, model, x[0], 0.1, target))


@pytest.mark.parametrize("target", [(1, 4), [(0, 1), (2, 2), (1, 0)]], ids=str)
def test_outputs_of_more_dimensions(target):
    agree(*both(ours.DeepLift, shared(Maps), *rows(((7,),)), target=target))


def test_one_output():
    agree(*both(ours.DeepLift, shared(Regression), *rows(((7,),))))


@pytest.mark.parametrize(
    "extra", [(torch.tensor([0.5, -2.0, 1.5]),), (None, torch.tensor([4, 0, 2])), (None, None, -1.5)]
)
def test_further_arguments(extra):
    model, x = case("two_inputs")
    values, expected = both(ours.DeepLift, model, x, None, 1, extra, return_convergence_delta=True)
    agree(values[0], expected[0])
    assert values[1].abs().max() < 1e-5


def test_multipliers_and_functions_of_them():
    model, (x,) = case("cnn", dtype=torch.float64)
    model, base = apart(model), _baselines((x,))["rows"][0]
    agree(*both(ours.DeepLift, model, x, base, 1, construct=(False,)))
    for function in (
        lambda m: tuple(v * 2 for v in m),
        lambda m, i: tuple(v * w for v, w in zip(m, i, strict=True)),
        lambda m, i, b: tuple(v * (w - u).abs() for v, w, u in zip(m, i, b, strict=True)),
    ):
        agree(*both(ours.DeepLift, model, x, base, 1, custom_attribution_func=function))


def test_threshold():
    """With a large eps every multiplier is a derivative."""
    model, (x,) = case("mlp", dtype=torch.float64)
    agree(*both(ours.DeepLift, model, x, None, 1, construct=(True, 1e9)))
    expected = x * rx.gradient(model, x, 1).values
    assert_close(ours.DeepLift(model, eps=1e9).attribute(x, target=1), expected, 1e-12)


def test_functional_relus_are_the_modules():
    """Of the functional spelling Captum takes the plain gradient without a word; ours is that of the modules."""
    written, functional = shared(CNN), shared(FunctionalCNN)
    functional.load_state_dict(written.state_dict())
    (x,) = rows(((3, 11, 9),))
    expected = theirs(written, x, None, 1).detach()
    assert_close(ours.DeepLift(functional).attribute(x, target=1), expected, 1e-5)
    silently = theirs(functional, x, None, 1).detach()
    assert (silently - expected).abs().max() > 0.1 * expected.abs().max()


def test_reused_relu():
    """Captum refuses it."""

    class Reused(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.relu = nn.Linear(7, 9), nn.Linear(9, 9), nn.Linear(9, 4), nn.ReLU()

        def forward(self, x):
            return self.c(self.relu(self.b(self.relu(self.a(x)))))

    model, (x,) = shared(Reused, torch.float64), rows(((7,),), dtype=torch.float64)
    with pytest.raises(RuntimeError, match="more than once"):
        quietly(lambda: attr.DeepLift(model).attribute(x.clone(), target=1))
    twin = nn.Sequential(model.a, nn.ReLU(), model.b, nn.ReLU(), model.c)
    expected = theirs(twin, x, None, 1).detach()
    found, delta = ours.DeepLift(model).attribute(x, target=1, return_convergence_delta=True)
    assert_close(found, expected, 1e-10)
    assert delta.abs().max() < 1e-12


def test_softmax_conserves_and_keeps_rows_apart():
    """On purpose: Captum's rule for softmax subtracts a mean over the whole batch, so rows change each other."""
    model = nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 4), nn.Softmax(dim=1)).double()
    x = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, delta = ours.DeepLift(model).attribute(x, target=1, return_convergence_delta=True)
    assert delta.abs().max() < 1e-14
    assert_close(ours.DeepLift(model).attribute(x[:1], target=1), found[:1], 1e-12)
    alone, together = (theirs(model, x[:n], None, 1) for n in (1, 3))
    assert (alone - together[:1]).abs().max() > 1e-3 * alone.abs().max()


def test_what_has_no_rule_is_refused():
    class Detached(nn.Module):
        def forward(self, x):
            return (x * torch.relu(x).detach()).sum(1)

    with pytest.raises(rx.UnsupportedNode, match="deep_lift"):
        ours.DeepLift(Detached()).attribute(torch.randn(2, 3))


def test_errors():
    model, (x,) = case("mlp")
    same_error(ours.DeepLift, model, x)
    same_error(ours.DeepLift, model, x, target=9)
    same_error(ours.DeepLift, model, x, target=[1])
    same_error(ours.DeepLift, model, [x], target=1)
    same_error(ours.DeepLift, model, x, torch.zeros(2, 7), 1)
    same_error(ours.DeepLift, model, x, "zeros", 1)
    same_error(ours.DeepLift, model, x, (0.0, 0.0), 1)
    same_error(ours.DeepLift, model, x, None, 1, custom_attribution_func=lambda a, b, c, d: a)
    same_error(ours.DeepLift, model, x, None, 1, custom_attribution_func=3)
    same_error(ours.DeepLift, F.relu, x, target=1)


def test_what_other_code_relies_on():
    model, (x,) = case("mlp")
    found, its = ours.DeepLift(model), attr.DeepLift(model)
    assert isinstance(found, attr.GradientAttribution) and found.forward_func is model
    assert found.multiplies_by_inputs is True and ours.DeepLift(model, False).multiplies_by_inputs is False
    assert found.has_convergence_delta() is its.has_convergence_delta() is True
    assert found.get_name() == its.get_name()
    assert_close(type(found).attribute.__wrapped__(found, x, target=1), found.attribute(x, target=1), 1e-12)
    with pytest.raises(NotImplementedError):
        found.attribute_future()


def test_model_and_input_are_only_read():
    model, (x,) = case("cnn")
    before, x = fingerprint(model), x.requires_grad_()
    values = ours.DeepLift(model).attribute(x, target=1)
    assert_untouched(before, model)
    assert not values.requires_grad and x.requires_grad and x.grad is None
    with pytest.raises(AssertionError):
        ours.DeepLift(model).attribute(x, torch.zeros(5, 5), 1)
    assert_untouched(before, model)


def test_empty_batch():
    model, (x,) = case("cnn")
    values, delta = ours.DeepLift(model).attribute(x[:0], target=1, return_convergence_delta=True)
    assert values.shape == (0, 3, 11, 9) and delta.shape == (0,)


def test_example_of_the_documentation():
    """A classifier of images, the attribution of one class."""
    model = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(294, 10))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    values = ours.DeepLift(model).attribute(x, target=3)
    assert_close(values, theirs(model, x, None, 3).detach(), 1e-5)


def test_half_precision():
    """Computed in float32."""
    model, x = built(TwoInputs).half(), tuple(v.half() for v in rows(((2, 6, 5), (5,))))
    values = ours.DeepLift(model).attribute(x, target=1)
    expected = ours.DeepLift(model.float()).attribute(tuple(v.float() for v in x), target=1)
    for v, e in zip(values, expected, strict=True):
        assert v.dtype == torch.float16
        assert_close(v, e, 1e-3)
