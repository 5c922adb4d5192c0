"""What users write around rules, attributors and contexts: subclasses, hooks, own composites."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import reluxfast as rx
import reluxfast.compat.zennit as ours
from reluxfast.compat.zennit import composites, rules
from tests import peers
from tests.compat.zennit.pair import networks, signal, theirs
from tests.support import assert_close

RULES = [name for name, value in vars(peers.rules).items() if isinstance(value, type) and hasattr(rules, name)]
ARGUMENTS = {"ZBox": (-1.0, 1.0)}


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double().eval()


X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_rules_are_types():
    assert len(RULES) == 12
    for package in (peers.rules, rules):
        for name in RULES:
            kind = getattr(package, name)
            made = kind(*ARGUMENTS.get(name, ()))
            assert isinstance(kind, type) and isinstance(made, kind)
            others = [n for n in RULES if n != name and isinstance(made, getattr(package, n))]
            assert not others, (package, name, others)
    assert not isinstance(3, rules.Epsilon)
    assert [k for k in inspect.signature(rules.ZBox).parameters] == ["low", "high", "stabilizer", "zero_params"]
    chosen = ours.EpsilonPlus().module_map({}, "conv", nn.Conv2d(1, 1, 1))
    assert isinstance(chosen, rules.ZPlus)


@pytest.mark.parametrize("name", RULES)
def test_rules_have_no_subclasses(name):
    with pytest.raises(TypeError, match=f"MyRule, derived from {name}"):
        type("MyRule", (getattr(rules, name),), {})


def test_attributors_of_the_users_own():
    """Their `forward` and `grad` take `attr_output_fn`, a function also where a Tensor or nothing was given."""

    def square(package):
        class Squared(package.Gradient):
            def forward(self, input, attr_output_fn):
                output, gradient = self.grad(input=input, attr_output_fn=attr_output_fn)
                assert attr_output_fn(output).shape == output.shape
                again = super().forward(input=input, attr_output_fn=lambda out: 2 * attr_output_fn(out))
                return output, gradient**2 + again[1]

        return Squared

    class Other(ours.Attributor):
        def forward(self, input, attr_output_fn):
            return ours.Gradient(self.model, self.composite)(input, attr_output_fn)

    own = model()
    for attr_output in (None, signal(X, 2), lambda out: out.square()):
        found = [square(p)(own, p.EpsilonPlus())(X.clone(), attr_output)[1].detach() for p in (ours, theirs)]
        assert_close(*found, 1e-9)
        expected = ours.Gradient(own, ours.EpsilonPlus())(X, attr_output)[1]
        assert_close(Other(own, ours.EpsilonPlus(), attr_output)(X)[1], expected, 0)
    for kind in (ours.Gradient, ours.SmoothGrad, ours.IntegratedGradients, ours.Occlusion):
        assert list(inspect.signature(kind.forward).parameters) == ["self", "input", "attr_output_fn"]


def test_composites_of_the_users_own():
    found = []
    x = peers.rows("vgg_bn")
    for package, module in ((ours, composites), (theirs, peers.composites)):

        @module.register_composite("own_of_the_test")
        class Own(package.LayerMapComposite):
            def __init__(self, canonizers=None, p=package, base=module.layer_map_base):
                super().__init__(
                    [*base(stabilizer=1e-3), (p.Convolution, p.ZPlus(1e-3)), (nn.Linear, p.Epsilon(1e-3))], canonizers
                )

        assert isinstance(Own, type) and package.COMPOSITES.pop("own_of_the_test") is Own
        with package.Gradient(networks("vgg_bn")[0], Own([package.SequentialMergeBatchNorm()])) as attributor:
            found.append(attributor(x.clone(), signal(x))[1].detach())
    assert_close(*found, 1e-9)
    assert [t for t, _ in composites.layer_map_base()] == [ours.Activation, ours.Sum, ours.AvgPool, ours.BatchNorm]


def test_beta_smooth_takes_zero_params():
    found = [p.Gradient(model(), p.BetaSmooth(zero_params="bias"))(X.clone())[1].detach() for p in (ours, theirs)]
    assert_close(*found, 1e-9)


def test_hooks_that_keep_gradients():
    own = model()
    own[1].register_forward_hook(lambda module, given, output: output.retain_grad())
    composite = ours.EpsilonPlus()
    with composite.context(own) as modified:
        with pytest.raises(rx.UnsupportedNode, match=r"retain_grad.*rx\.lrp\(.*return_layers="):
            modified(X.clone().requires_grad_())
    with pytest.raises(rx.UnsupportedNode, match=r"return_layers="):
        ours.Gradient(own, composite)(X)


def test_parts_of_a_modified_model():
    with ours.EpsilonPlus().context(model()) as modified:
        assert modified
        for use in (
            lambda: modified[0],
            lambda: list(modified),
            lambda: modified.parameters(),
            lambda: modified.eval(),
        ):
            with pytest.raises(NotImplementedError, match="from the model itself"):
                use()


class Attended(nn.Module):
    def __init__(self, module: bool):
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 2)
        self.softmax = nn.Softmax(-1) if module else None

    def forward(self, x):
        h = self.a(x)
        return self.b(F.softmax(h, -1) if self.softmax is None else self.softmax(h))


@pytest.mark.parametrize("module", [True, False])
def test_layers_without_a_rule(module):
    """The remedy that the message names is one."""
    torch.manual_seed(0)
    own = Attended(module).double()
    with pytest.raises(rx.UnsupportedNode, match="has no LRP rule") as caught:
        ours.Gradient(own, ours.EpsilonPlus())(X)
    said = str(caught.value)
    assert "layer_rules" not in said and "fallback" not in said and "MixedComposite([" in said
    if module:
        assert 'NameMapComposite([(["softmax"], reluxfast.rules.Gradient())])' in said
        named = ours.NameMapComposite([(["softmax"], rx.rules.Gradient())])
        by_name = ours.Gradient(own, ours.MixedComposite([named, ours.EpsilonPlus()]))(X)[1]
        by_type = ours.Gradient(own, ours.EpsilonPlus(layer_map=[(nn.Softmax, rx.rules.Gradient())]))(X)[1]
        assert_close(by_name, by_type, 0)
        assert by_name.abs().max() > 0
