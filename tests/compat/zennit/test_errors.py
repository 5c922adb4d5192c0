"""What is refused, by which type, and in which words."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
import reluxfast.compat.zennit as ours
from tests import peers
from tests.compat.zennit.pair import networks, theirs

X = torch.ones(3, 4)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).eval()


ATTR_OUTPUTS = [
    (1, TypeError),
    ("1", TypeError),
    ([1.0, 2.0], TypeError),
    (lambda out: 3, TypeError),
    (torch.ones(2), RuntimeError),
    (torch.ones(3, 5), RuntimeError),
    (torch.ones(1, 2), RuntimeError),
    (lambda out: out[:1], RuntimeError),
    (lambda out: out.sum(), RuntimeError),
]


@pytest.mark.parametrize(("value", "kind"), ATTR_OUTPUTS)
@pytest.mark.parametrize("composite", [None, "EpsilonPlus"])
def test_attr_output(model, value, kind, composite):
    for p in (theirs, ours):
        for attributor in (p.Gradient, p.SmoothGrad):
            made = getattr(p, composite)() if composite else None
            with pytest.raises(kind) as caught:
                attributor(model, made)(X.clone(), value)
            with pytest.raises(kind):
                attributor(model, made, value)(X.clone())
    assert isinstance(caught.value, rx.InvalidInput) and "attr_output must" in str(caught.value)


@pytest.mark.parametrize("value", [1, torch.ones(3, 5)])
def test_attr_output_of_occlusion(model, value):
    with pytest.raises(rx.InvalidInput, match="attr_output must"):
        ours.Occlusion(model)(X, value)


def test_alpha_and_beta():
    for p in (theirs, ours):
        for alpha, beta in ((2, 2), (-1, -2), (0.5, 1)):
            with pytest.raises(ValueError):
                p.AlphaBeta(alpha, beta)


@pytest.mark.parametrize("value", ["1e-6", None, [1.0]])
def test_stabilisers_of_a_wrong_type(value):
    for p in (theirs, ours):
        for rule in ("Epsilon", "ZPlus", "Norm", "Flat", "WSquare"):
            with pytest.raises(TypeError):
                getattr(p, rule)(value)


def test_stabilisers_that_are_functions():
    with pytest.raises(rx.InvalidInput, match="stabilizer must be a number"):
        ours.ZPlus(stabilizer=lambda z: z + 1)


def test_parameters_other_than_biases():
    for rule in (ours.Epsilon, ours.Gamma, ours.Flat):
        with pytest.raises(rx.InvalidInput, match='must be None, "bias"'):
            rule(zero_params=["weight"])


def test_bounds_of_single_rows():
    low = -torch.rand(3, 3, 12, 12)
    with pytest.raises(RuntimeError, match=r"Tensor must have shape \(1, ...\)"):
        ours.EpsilonGammaBox(low, 1.0)


@pytest.mark.parametrize("name", ["window", "stride"])
def test_windows(model, name):
    for p in (theirs, ours):
        for value in (2.5, [2, 2], (2, 2.5), "2"):
            with pytest.raises(TypeError):
                p.Occlusion(model, **{name: value})
    for value in ((2, 2), 0, (0,)):
        with pytest.raises(rx.InvalidInput, match=name):
            ours.Occlusion(model, **{name: value})(X)


def test_inputs(model):
    for value in (X.numpy(), (X, X), [1.0]):
        with pytest.raises((TypeError, AttributeError)):
            theirs.Gradient(model)(value)
        with pytest.raises(TypeError, match="input must be a Tensor"):
            ours.Gradient(model)(value)
    for p in (theirs, ours):
        with pytest.raises((RuntimeError, ValueError)):
            p.Gradient(model)(X.long())


def test_models_and_composites(model):
    with pytest.raises(TypeError, match=r"model must be an nn\.Module"):
        ours.Gradient(lambda x: x)(X)
    with pytest.raises(TypeError, match="must be a composite of"):
        ours.Gradient(model, theirs.EpsilonPlus())
    with pytest.raises(TypeError, match="must be a composite of"):
        ours.Gradient(model, ours.EpsilonPlus)
    with pytest.raises(AttributeError):
        _ = ours.Gradient(model).inactive
    for n_iter in (0, 1.5, True):
        with pytest.raises(rx.InvalidInput, match="n_iter must be a positive int"):
            ours.SmoothGrad(model, n_iter=n_iter)


def test_rules_of_another_package(model):
    for rule in (theirs.Epsilon(), ours.Epsilon, 1e-6):
        composite = ours.LayerMapComposite([(nn.Linear, rule)])
        with pytest.raises(TypeError, match=r"must map to rules of reluxfast\.compat\.zennit"):
            ours.Gradient(model, composite)(X)


def test_rules_that_do_not_fit(model):
    with pytest.raises(rx.UnsupportedNode, match="input and output have different shapes"):
        ours.Gradient(model, ours.NameMapComposite([(["0"], ours.Pass())]))(X)
    with pytest.raises(rx.UnsupportedNode, match="cannot follow the rule BetaSmooth"):
        ours.Gradient(model, ours.NameMapComposite([(["0"], ours.ReLUBetaSmooth())]))(X)


def test_rules_for_containers():
    x = peers.rows("vgg_bn")
    for names, ours_only in (("features", "Sequential"), ("", "VGG")):
        composite = ours.NameMapComposite([([names], ours.Norm())])
        with pytest.raises(rx.InvalidInput, match=f"rules to single layers, got Norm for '{names}', a {ours_only}"):
            ours.Gradient(networks("vgg_bn")[0], composite)(x)


def test_canonizers():
    class Own(ours.Canonizer):
        pass

    for canonizer in (Own(), theirs.SequentialMergeBatchNorm(), "merge"):
        for make in (ours.EpsilonPlus, ours.CompositeCanonizer):
            with pytest.raises(TypeError, match="must hold canonizers of"):
                make(canonizers=[canonizer])
    with pytest.raises(NotImplementedError, match="pass them to a composite"):
        ours.SequentialMergeBatchNorm().apply(nn.Linear(2, 2))
    kept = [ours.NamedMergeBatchNorm([(["conv"], "bn")]), ours.AttributeCanonizer(lambda name, module: None)]
    assert ours.EpsilonPlus(canonizers=kept).folds and not ours.EpsilonPlus(canonizers=kept[1:]).folds
    assert ours.GuidedBackprop(canonizers=[ours.ResNetCanonizer()]).folds and ours.VGGCanonizer().folds
