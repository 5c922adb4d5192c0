"""LayerLRP against Captum's, to 1e-9 of scale in float64 and 1e-5 in float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reluxfast.compat.captum import lrp_rules as ours
from reluxfast.compat.captum.layer_lrp import LayerLRP
from reluxfast.compat.captum.lrp import LRP
from tests.compat.captum import lrp_models as models
from tests.compat.captum.lrp_models import prepared, rows, set_rules
from tests.compat.captum.parity import agree, fresh, quietly
from tests.support import assert_close, assert_same_bits, assert_untouched, fingerprint

captum = pytest.importorskip("captum.attr", reason="captum is not installed: nothing is compared with it")
theirs = pytest.importorskip("captum.attr._utils.lrp_rules")
custom = pytest.importorskip("captum.attr._utils.custom_modules")

MAPS = (nn.Conv2d, nn.Linear)
WITH_RULES = (*MAPS, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
RULES = {
    "defaults": lambda lib: None,
    "epsilon": lambda lib: lib.EpsilonRule(0.1),
    "gamma": lambda lib: lib.GammaRule(),
    "alpha1_beta0": lambda lib: lib.Alpha1_Beta0_Rule(set_bias_to_zero=True),
}


def _cnn(dtype=torch.float64):
    return prepared(models.Cnn(), dtype), rows((2, 9, 11), dtype=dtype)[0]


def _two_inputs():
    return prepared(models.TwoInputs(custom.Addition_Module())), rows((5,), (3,))


def _layers(model):
    return {path: m for path, m in model.named_modules() if isinstance(m, WITH_RULES)}


def _theirs(model, layer, *args, **options):
    return quietly(lambda: captum.LayerLRP(model, layer).attribute(*fresh(args), **options))


@pytest.mark.parametrize("of_input", [False, True], ids=["output", "input"])
@pytest.mark.parametrize("name", RULES)
def test_every_layer(name, of_input):
    """Also those with an in-place ReLU behind them."""
    model, x = _cnn()
    listed = list(_layers(model).values())
    options = {"return_convergence_delta": True, "attribute_to_layer_input": of_input}
    of_maps = RULES[name]
    set_rules(model, lambda m: of_maps(theirs) if isinstance(m, MAPS) else None)
    expected, deltas = _theirs(model, listed, x, [1, 3, 0], **options)
    set_rules(model, lambda m: of_maps(ours) if isinstance(m, MAPS) else None)
    found, gaps = LayerLRP(model, listed).attribute(x, [1, 3, 0], **options)
    agree(found, expected, tolerance=1e-9)
    assert type(gaps) is list and len(gaps) == len(listed)
    for path, gap, delta, value in zip(_layers(model), gaps, deltas, expected, strict=True):
        scale = value.abs().flatten(1).sum(1).max()
        assert gap.shape == delta.shape and (gap - delta).abs().max() <= 1e-9 * scale, path


@pytest.mark.parametrize("of_input", [False, True], ids=["output", "input"])
def test_one_layer_at_a_time(of_input):
    model, x = _cnn(torch.float32)
    for path in ("features.0", "features.3", "features.7", "fc2"):
        layer = model.get_submodule(path)
        found, gap = LayerLRP(model, layer).attribute(x, 1, None, True, of_input)
        expected, delta = _theirs(model, layer, x, 1, None, True, of_input)
        agree(found, expected, path)
        scale = expected.abs().flatten(1).sum(1).max()
        assert gap.dtype == delta.dtype and (gap - delta).abs().max() <= 1e-5 * scale, path


def test_the_identity_rule():
    model, x = _cnn()
    layer = model.features[1]
    layer.rule = theirs.IdentityRule()
    expected = _theirs(model, layer, x, 1)
    layer.rule = ours.IdentityRule()
    lrp = LayerLRP(model, layer)
    agree(lrp.attribute(x, 1), expected, tolerance=1e-9)
    assert_close(lrp.attribute(x, 1, attribute_to_layer_input=True), expected, 1e-9)


def test_a_tuple_of_inputs():
    model, x = _two_inputs()
    for layer in (model.a, model.b, model.add, model.head):
        agree(LayerLRP(model, layer).attribute(x, 1), _theirs(model, layer, x, 1), tolerance=1e-9)
    for layer in (model.a, model.head):
        found = LayerLRP(model, layer).attribute(x, 1, attribute_to_layer_input=True)
        agree(found, _theirs(model, layer, x, 1, attribute_to_layer_input=True), tolerance=1e-9)


def test_a_layer_that_takes_several_values():
    """A tuple in the order of its arguments; Captum's is in the order of autograd's walk."""
    model, x = _two_inputs()
    expected = _theirs(model, model.add, x, 1, attribute_to_layer_input=True)
    found, gap = LayerLRP(model, model.add).attribute(x, 1, None, True, True)
    made = LayerLRP(model, [model.relu1, model.relu2]).attribute(x, 1)
    agree(found, expected[::-1], tolerance=1e-9)
    for value, wanted in zip(found, made, strict=True):
        assert_close(value, wanted, 1e-12)
    assert_close(gap, model(*x)[:, 1].detach() - sum(v.sum(1) for v in found), 1e-9)


def test_layers_that_captum_has_no_relevance_for():
    """Activations hand relevance on; a container's is that of the last layer inside."""
    model, x = _cnn()
    relu, features, pool = (
        LayerLRP(model, layer).attribute(x, 1) for layer in (model.features[2], model.features, model.features[9])
    )
    assert_close(relu, LayerLRP(model, model.features[1]).attribute(x, 1), 1e-12)
    assert_same_bits(features, pool)
    whole = LayerLRP(model, model.features).attribute(x, 1, attribute_to_layer_input=True)
    assert_close(whole, LRP(model).attribute(x, 1), 1e-12)


def test_functions_as_their_module_written_twin():
    model = prepared(models.Functional())
    twin = models.Twin(model, custom.Addition_Module()).eval()
    (x,) = rows((2, 8, 6))
    for path in ("c1", "b1", "c2", "head"):
        pair = model.get_submodule(path), twin.get_submodule(path)
        agree(LayerLRP(model, pair[0]).attribute(x, 2), _theirs(twin, pair[1], x, 2), path, 1e-9)


def test_additional_forward_args():
    """A plain value makes another network of the model; its layers are the same."""

    class Headed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.relu, self.a, self.b = nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.Linear(5, 3)

        def forward(self, x, second):
            h = self.relu(self.fc(x))
            return self.b(h) if second else self.a(h)

    model, (x,) = prepared(Headed()), rows((4,))
    for second in (0, 1):
        agree(LayerLRP(model, model.fc).attribute(x, 1, second), _theirs(model, model.fc, x, 1, second), tolerance=1e-9)
    with pytest.raises(RuntimeError, match="layer"):
        LayerLRP(model, model.a).attribute(x, 1, 1)


def test_half_precision_and_the_model_stays():
    model, x = _cnn(torch.float16)
    exact_model, exact_x = _cnn()
    before = fingerprint(model)
    layer = LayerLRP(model, model.features[4])
    found, delta = layer.attribute(x, 1, return_convergence_delta=True)
    assert found.dtype == delta.dtype == torch.float16
    exact_model.load_state_dict({k: v.to(exact_model.state_dict()[k].dtype) for k, v in model.state_dict().items()})
    exact = LayerLRP(exact_model, exact_model.features[4]).attribute(x.double(), 1)
    assert exact_x.shape == x.shape
    assert_close(found, exact.half(), 2e-3)
    assert_same_bits(layer.attribute(x, 1), found)
    assert_untouched(before, model)


def test_what_other_code_relies_on():
    model, x = _cnn()
    lrp = LayerLRP(model, model.fc1)
    assert isinstance(lrp, (LRP, captum.LayerAttribution)) and isinstance(lrp, captum.GradientAttribution)
    assert lrp.layer is model.fc1 and lrp.model is model
    assert lrp.has_convergence_delta() and lrp.multiplies_by_inputs
    assert LayerLRP.get_name() == captum.LayerLRP.get_name()
    assert_same_bits(LayerLRP.attribute.__wrapped__(lrp, x, 1), lrp.attribute(x, 1))
    assert LayerLRP.interpolate(x, (18, 22)).shape == (3, 2, 18, 22)


def test_verbose_names_rules_and_layers(capsys):
    model, x = _cnn()
    LayerLRP(model, model.fc1).attribute(x, 1, verbose=True)
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_wrong_arguments():
    model, x = _cnn()
    with pytest.raises(AttributeError, match=r"must be a torch\.nn\.Module"):
        LayerLRP(lambda x: x, model.fc1)
    for wrong in ("fc1", None, [model.fc1, "fc2"]):
        with pytest.raises(AssertionError, match="layer must be a module of the model"):
            LayerLRP(model, wrong).attribute(x, 1)
    with pytest.raises(RuntimeError, match="layer must be a module of the explained model"):
        LayerLRP(model, nn.Linear(2, 2)).attribute(x, 1)
    with pytest.raises(IndexError):
        LayerLRP(model, model.fc1).attribute(x, 4)
    model.fc2.rule = "gamma"
    with pytest.raises(TypeError, match="'fc2'"):
        LayerLRP(model, model.fc1)


def test_a_layer_that_is_called_twice():
    """Captum refuses the whole model."""
    model = prepared(models.Functional())
    (x,) = rows((2, 8, 6))
    with pytest.raises(RuntimeError, match="more than once"):
        _theirs(model, model.mix, x, 1)
    with pytest.raises(RuntimeError, match="is called 2 times"):
        LayerLRP(model, model.mix).attribute(x, 1)
    assert LayerLRP(model, model.head).attribute(x, 1).shape == (3, 3)
