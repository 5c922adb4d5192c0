"""LRP against Captum's, to 1e-9 of scale in float64 and 1e-5 in float32."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import rules as engine_rules
from reluxfast.compat.captum import lrp_rules as ours
from reluxfast.compat.captum.lrp import LRP
from tests.compat.captum import lrp_models as models
from tests.compat.captum.lrp_models import prepared, rows, set_rules
from tests.compat.captum.parity import agree, fresh, quietly, same_error
from tests.support import assert_close, assert_same_bits, assert_untouched, fingerprint

captum = pytest.importorskip("captum.attr", reason="captum is not installed: nothing is compared with it")
theirs = pytest.importorskip("captum.attr._utils.lrp_rules")
custom = pytest.importorskip("captum.attr._utils.custom_modules")

NETWORKS = {
    "mlp": (models.Mlp, ((6,),)),
    "cnn": (models.Cnn, ((2, 9, 11),)),
    "max_pool_1d": (lambda: models.Pooled(1), ((2, 6),)),
    "max_pool_2d": (lambda: models.Pooled(2), ((2, 6, 6),)),
    "max_pool_3d": (lambda: models.Pooled(3), ((2, 6, 6, 6),)),
    "two_inputs": (lambda: models.TwoInputs(custom.Addition_Module()), ((5,), (3,))),
}
MAPS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
# name: (library -> rule, the layers that get it)
RULES = {
    "defaults": (lambda lib: None, ()),
    "epsilon": (lambda lib: lib.EpsilonRule(0.1), (*MAPS, nn.BatchNorm2d, *POOLS)),
    "gamma": (lambda lib: lib.GammaRule(), MAPS),
    "gamma_of_pools": (lambda lib: lib.GammaRule(3.0), (*MAPS, *POOLS)),
    "gamma_no_bias": (lambda lib: lib.GammaRule(0.7, set_bias_to_zero=True), MAPS),
    "alpha1_beta0": (lambda lib: lib.Alpha1_Beta0_Rule(), (*MAPS, *POOLS)),
    "alpha1_beta0_no_bias": (lambda lib: lib.Alpha1_Beta0_Rule(set_bias_to_zero=True), MAPS),
}


def _given(network: str, dtype: torch.dtype = torch.float64):
    make, shapes = NETWORKS[network]
    x = rows(*shapes, dtype=dtype)
    return prepared(make(), dtype), x if len(x) > 1 else x[0]


def _theirs(model, *args, **options):
    """Captum's, on copies: it changes flags of the inputs. It takes the rules away."""
    return quietly(lambda: captum.LRP(model).attribute(*fresh(args), **options))


def _compare(model, x, rule_of, target, tolerance, libraries=(ours,)):
    """Relevance, its form, and the delta, under our rules; with `libraries`, under theirs too."""
    set_rules(model, lambda module: rule_of(module, theirs))
    expected, delta = _theirs(model, x, target, return_convergence_delta=True)
    scale = sum(v.abs().flatten(1).sum(1) for v in (expected if isinstance(expected, tuple) else (expected,))).max()
    for library in libraries:
        set_rules(model, lambda module, library=library: rule_of(module, library))
        found, gap = LRP(model).attribute(x, target, return_convergence_delta=True)
        agree(found, expected, tolerance=tolerance)
        assert gap.dtype == delta.dtype and (gap - delta).abs().max() <= tolerance * scale


OF_POOLS = [(f"max_pool_{i}d", name) for i in (1, 2, 3) for name in ("defaults", "gamma_of_pools")]


@pytest.mark.parametrize(
    ("network", "name"), [(n, name) for n in ("mlp", "cnn", "two_inputs") for name in RULES] + OF_POOLS
)
def test_rules(network, name):
    make, kinds = RULES[name]
    model, x = _given(network)
    libraries = (ours, theirs) if network == "cnn" else (ours,)
    _compare(model, x, lambda m, lib: make(lib) if isinstance(m, kinds) else None, 1, 1e-9, libraries)


def test_the_identity_rule():
    model, x = _given("cnn")
    behind_maps = (model.features[1], model.features[5])
    _compare(model, x, lambda m, lib: lib.IdentityRule() if m in behind_maps else None, 1, 1e-9, (ours, theirs))


def test_the_identity_rule_behind_a_relu():
    """Captum's passes on a derivative there; here relevance passes."""
    model, x = _given("cnn")
    model.features[7].rule = ours.IdentityRule()
    kinds = {"max_pool": 1e-9, "sum": 1e-9, "batch_norm": 1e-9, "convolution": 1e-9, "linear": 1e-9}
    composite = lambda layer: engine_rules.Epsilon(kinds[layer.kind]) if layer.kind in kinds else engine_rules.Pass()  # noqa: E731
    path = {"features.7": engine_rules.Pass()}
    options = {"composite": composite, "layer_rules": path, "fold_batch_norm": False}
    assert_close(LRP(model).attribute(x, 1), rx.lrp(model, x, 1, **options).values, 1e-12)


@pytest.mark.parametrize("network", NETWORKS)
def test_float32(network):
    model, x = _given(network, torch.float32)
    _compare(model, x, lambda m, lib: None, [2, 0, 1], 1e-5)


@pytest.mark.parametrize("name", ["epsilon", "gamma", "gamma_no_bias", "alpha1_beta0"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_layers_that_captum_has_no_default_for(dims, name):
    """They work there once they have a rule: maps the one that is tested, the others epsilon."""
    make, model = RULES[name][0], prepared(models.Volumes(dims))
    (x,) = rows((2, *(4,) * dims))

    def rule_of(module, lib):
        if next(module.children(), None) is not None:
            return None
        return make(lib) if isinstance(module, MAPS) else lib.EpsilonRule(0.01)

    _compare(model, x, rule_of, 1, 1e-9)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_defaults_for_layers_that_captum_has_none_for(dims):
    """The epsilon rule with 1e-9 for maps, batch norms and pools; what is passed and carried in between."""
    model = prepared(models.Volumes(dims))
    (x,) = rows((2, *(4,) * dims))
    layers = [*model.layers]
    layers[2:2] = [nn.Identity(), nn.Dropout(), getattr(nn, f"Dropout{dims}d")()]
    found = LRP(nn.Sequential(*layers).eval()).attribute(x, 1)

    def rule_of(module):
        if isinstance(module, (nn.LeakyReLU, nn.Sigmoid)):
            return theirs.IdentityRule()
        if isinstance(module, nn.Flatten):
            return theirs.EpsilonRule(1e-300)
        return None if next(module.children(), None) is not None else theirs.EpsilonRule()

    assert_close(found, _theirs(set_rules(model, rule_of), x, 1), 1e-9)


def test_rules_of_activations_that_pass_are_without_effect():
    model, x = _given("mlp")
    passing = (nn.ReLU, nn.Tanh, nn.Dropout)
    _compare(model, x, lambda m, lib: lib.GammaRule() if isinstance(m, passing) else None, 1, 1e-9)


def test_a_rule_of_a_container_is_without_effect():
    model, x = _given("cnn")
    _compare(model, x, lambda m, lib: lib.GammaRule() if isinstance(m, nn.Sequential) else None, 1, 1e-9)


@pytest.mark.parametrize(
    "target",
    [1, -1, torch.tensor(2), torch.tensor([2]), torch.tensor([2, 0, 1]), [2, 0, 1], (3,), [(2,), (0,), (3,)]],
    ids=str,
)
def test_targets(target):
    model, x = _given("mlp")
    _compare(model, x, lambda m, lib: None, target, 1e-9)


@pytest.mark.parametrize("target", [(1, 2), [(0, 1), (1, 0), (2, 2)]], ids=str)
def test_targets_of_outputs_with_more_dimensions(target):
    model, (x,) = prepared(models.Sequence()), rows((5, 4))
    _compare(model, x, lambda m, lib: None, target, 1e-9)


def test_one_output_needs_no_target():
    model = prepared(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)))
    (x,) = rows((4,))
    _compare(model, x, lambda m, lib: None, None, 1e-9)


class Headed(nn.Module):
    """Takes a summand, and which head to use."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.relu, self.a, self.b = nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x, summand, second=0):
        h = self.relu(self.fc1(x) + summand)
        return self.b(h) if second else self.a(h)


@pytest.mark.parametrize("second", [0, 1])
def test_additional_forward_args(second):
    """A tensor with a row for each example, and a plain value."""
    model, (x, summand) = prepared(Headed()), rows((4,), (5,))
    model.fc1.rule, model.b.rule = ours.GammaRule(), ours.EpsilonRule(0.1)
    found = LRP(model).attribute(x, 1, (summand, second), return_convergence_delta=True)
    alone = LRP(model).attribute(x[1:2], 1, additional_forward_args=(summand[1:2], second))
    model.fc1.rule, model.b.rule = theirs.GammaRule(), theirs.EpsilonRule(0.1)
    agree(found, _theirs(model, x, 1, (summand, second), return_convergence_delta=True), tolerance=1e-9)
    assert_close(found[0][1:2], alone, 1e-12)


@pytest.mark.parametrize("name", ["defaults", "epsilon", "gamma", "alpha1_beta0_no_bias"])
def test_functions_and_reused_modules_as_their_module_written_twin(name):
    """Residual additions, functional ReLUs and pools, means, a layer and a ReLU called twice."""
    make, kinds = RULES[name]
    kinds = tuple(k for k in kinds if k in MAPS)
    model = prepared(models.Functional())
    twin = models.Twin(model, custom.Addition_Module()).eval()
    (x,) = rows((2, 8, 6))
    assert_close(model(x).detach(), twin(x).detach(), 1e-12)
    set_rules(model, lambda m: make(ours) if isinstance(m, kinds) else None)
    set_rules(twin, lambda m: make(theirs) if isinstance(m, kinds) else None)
    agree(LRP(model).attribute(x, [0, 1, 2]), _theirs(twin, x, [0, 1, 2]), tolerance=1e-9)


def test_the_example_of_their_documentation():
    """A classifier with one convolution and a ReLU: relevance of class 5 has the shape of the images."""
    model = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.AvgPool2d(28), nn.Conv2d(4, 10, 1)).eval()

    class ImageClassifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = model

        def forward(self, x):
            return torch.flatten(self.layers(x), 1)

    net, x = ImageClassifier(), torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = LRP(net).attribute(x, target=5)
    assert found.shape == x.shape
    agree(found, _theirs(net, x, target=5))


def test_rules_stay_and_are_read_at_every_call():
    model, x = _given("mlp")
    model.fc2.rule = ours.GammaRule()
    lrp = LRP(model)
    first, again = lrp.attribute(x, 1), lrp.attribute(x, 1)
    assert_same_bits(first, again)
    assert isinstance(model.fc2.rule, ours.GammaRule)
    model.fc2.rule.gamma = 2.0
    assert_close(lrp.attribute(x, 1), _theirs(set_rules(model, _gamma_of(model.fc2, theirs)), x, 1), 1e-9)
    set_rules(model, lambda m: None)
    assert_close(lrp.attribute(x, 1), _theirs(model, x, 1), 1e-9)
    # What Captum leaves on the modules does not matter.
    assert_close(lrp.attribute(x, 1), _theirs(model, x, 1), 1e-9)


def _gamma_of(layer, library):
    return lambda m: library.GammaRule(2.0) if m is layer else None


def test_the_model_and_the_inputs_are_only_read():
    model, x = _given("cnn", torch.float32)
    model.features[0].rule = ours.GammaRule()
    before, copy = fingerprint(model), x.clone()
    LRP(model).attribute(x, 1, return_convergence_delta=True)
    with torch.inference_mode():
        LRP(model).attribute(x, 1)
    with pytest.raises(IndexError):
        LRP(model).attribute(x, 9)
    assert_untouched(before, model)
    assert_same_bits(x, copy)
    assert not x.requires_grad and x.grad is None


def test_threads():
    """Eight at once, each with rows and a target of its own."""
    model, x = _given("cnn")
    model.fc1.rule = ours.GammaRule()
    lrp = LRP(model)
    expected = [lrp.attribute(x + i, i % 4) for i in range(8)]
    found = [None] * 8

    def work(i):
        for _ in range(3):
            found[i] = lrp.attribute(x + i, i % 4)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for value, wanted in zip(found, expected, strict=True):
        assert_same_bits(value, wanted)


def test_half_precision():
    """Captum's ε is 0 in float16: its relevance is NaN where a sum is 0."""
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)).half().eval()
    with torch.no_grad():
        model[0].bias.zero_()
    x = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]], dtype=torch.float16)
    assert _theirs(model, x, 1).isnan().any()
    found, delta = LRP(model).attribute(x, 1, return_convergence_delta=True)
    assert found.dtype == delta.dtype == torch.float16
    exact = LRP(model.double()).attribute(x.double(), 1)
    assert_close(found, exact.half(), 1e-3)


def test_what_other_code_relies_on():
    model, x = _given("mlp")
    lrp = LRP(model)
    assert isinstance(lrp, captum.GradientAttribution)
    assert lrp.forward_func is lrp.model is model and callable(lrp.gradient_func)
    assert lrp.multiplies_by_inputs and lrp.has_convergence_delta()
    assert LRP.get_name() == captum.LRP.get_name()
    assert_same_bits(LRP.attribute.__wrapped__(lrp, x, 1), lrp.attribute(x, 1))
    with pytest.raises(NotImplementedError, match="attribute_future is not implemented for LRP"):
        lrp.attribute_future()


def test_the_delta_of_given_values():
    values, output = (torch.ones(3, 2), torch.ones(3, 2, 2)), torch.tensor([[6.0], [7.0], [4.0]])
    model, _ = _given("mlp")
    found = LRP(model).compute_convergence_delta(values, output)
    agree(found, captum.LRP(model).compute_convergence_delta(values, output))
    assert found.tolist() == [0.0, 1.0, -2.0]
    agree(LRP(model).compute_convergence_delta(values[0], output), output.flatten() - 2)


def test_verbose_names_rules_and_layers(capsys):
    model, x = _given("mlp")
    model.fc1.rule = ours.GammaRule()
    LRP(model).attribute(x, 1, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(line.startswith("Applied ") for line in lines)
    assert "Gamma" in lines[0] and str(model.fc1) in lines[0] and "Epsilon" in lines[1]
    LRP(model).attribute(x, 1)
    assert capsys.readouterr().out == ""


def test_no_rows():
    model, x = _given("cnn")
    values, delta = LRP(model).attribute(x[:0], 1, return_convergence_delta=True)
    assert values.shape == x[:0].shape and delta.shape == (0,)


class Squared(theirs.EpsilonRule):
    """Propagates in a way of its own."""

    def _create_backward_hook_output(self, outputs):
        return lambda grad: grad / outputs**2


class Renamed(theirs.GammaRule):
    """Another default, the same propagation."""

    def __init__(self):
        super().__init__(gamma=2.0)


def test_subclasses_of_their_rules():
    model, x = _given("mlp")
    model.fc2.rule = Renamed()
    assert_close(LRP(model).attribute(x, 1), _theirs(set_rules(model, _gamma_of(model.fc2, theirs)), x, 1), 1e-9)
    model.fc2.rule = Squared()
    with pytest.raises(TypeError, match=r"Squared.*rx\.lrp"):
        LRP(model).attribute(x, 1)


class Own(ours.PropagationRule):
    pass


def test_wrong_rules():
    model, x = _given("mlp")
    for wrong in ("gamma", engine_rules.Gamma(), ours.GammaRule):
        model.fc2.rule = wrong
        with pytest.raises(TypeError, match=r"inherited from class PropagationRule.*'fc2'"):
            LRP(model)
    model.fc2.rule = Own()
    with pytest.raises(TypeError, match="Own"):
        LRP(model).attribute(x, 1)
    model.fc2.rule = None
    LRP(model).attribute(x, 1)


def test_layers_that_cannot_follow_their_rule():
    (x,) = rows((6,))
    normed = prepared(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.LayerNorm(5), nn.Linear(5, 3)))
    with pytest.raises(TypeError, match=r"layer_norm in module '2'.*Set another module\.rule there.*fallback="):
        LRP(normed).attribute(x, 1)
    normed[2].rule = ours.EpsilonRule()
    LRP(normed).attribute(x, 1)
    normed[2].rule = ours.IdentityRule()
    LRP(normed).attribute(x, 1)
    for i, rule in ((1, ours.GammaRule()), (2, ours.Alpha1_Beta0_Rule())):
        set_rules(normed, lambda m, i=i, rule=rule: rule if m is normed[i] else None)
        with pytest.raises(TypeError, match=f"in module '{i}'"):
            LRP(normed).attribute(x, 1)
    shrinks = prepared(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    shrinks[0].rule = ours.IdentityRule()
    with pytest.raises(TypeError, match="different shapes"):
        LRP(shrinks).attribute(x, 1)
    pooled, (x,) = prepared(models.Pooled(2)), rows((2, 6, 6))
    pooled.pool.rule = ours.IdentityRule()
    with pytest.raises(TypeError, match="IdentityRule is for operations that do not move"):
        LRP(pooled).attribute(x, 1)


def test_a_rule_is_for_one_operation():
    class Block(nn.Module):
        def forward(self, x):
            return torch.relu(x) * 2 + x

    model = prepared(nn.Sequential(nn.Linear(6, 6), Block(), nn.Linear(6, 3)))
    (x,) = rows((6,))
    assert LRP(model).attribute(x, 1).shape == x.shape
    model[1].rule = ours.EpsilonRule()
    with pytest.raises(rx.UnsupportedNode, match="single operation") as found:
        LRP(model).attribute(x, 1)
    assert isinstance(found.value, TypeError)


def test_wrong_arguments():
    model, x = _given("mlp")
    with pytest.raises(AttributeError, match=r"must be a torch\.nn\.Module"):
        LRP(lambda x: x)
    for wrong in ([x], "x", ()):
        with pytest.raises(AssertionError, match="inputs must be a Tensor or a tuple of Tensors"):
            LRP(model).attribute(wrong, 1)
    for target in (None, [1, 2], 1.0, "1", torch.tensor([1, 2])):
        same_error(LRP, model, x, target)
    same_error(LRP, model, x, 4)
    with pytest.raises(RuntimeError, match="floating-point"):
        LRP(model).attribute(x.long(), 1)
