"""Canonizers that set attributes: ignored where the model computes the same with them, refused where it does not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
import reluxfast.compat.zennit as ours
from reluxfast.compat.zennit import canonizers as own
from tests import peers
from tests.compat.zennit.pair import networks, theirs
from tests.support import assert_close, assert_untouched, fingerprint

X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double().eval()


def attributes(change):
    return lambda name, module: {"forward": change} if isinstance(module, nn.ReLU) else None


CHANGES = {"absolute": torch.abs, "gradient": lambda x: x.relu().detach() + (x - x.detach())}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("wrap", [lambda c: c, lambda c: ours.CompositeCanonizer([ours.SequentialMergeBatchNorm(), c])])
def test_attributes_that_change_the_model(model, change, wrap):
    before = fingerprint(model)
    canonizer = wrap(ours.AttributeCanonizer(attributes(CHANGES[change])))
    for composite in (ours.EpsilonPlus(canonizers=[canonizer]), ours.MixedComposite([ours.Composite()], [canonizer])):
        with pytest.raises(rx.InvalidInput, match="canonizers must leave what the model computes") as caught:
            ours.Gradient(model, composite)(X)
        with pytest.raises(rx.InvalidInput), composite.context(model) as modified:
            x = X.clone().requires_grad_()
            modified(x).sum().backward()
    assert "'1'" in str(caught.value) and "forward" in str(caught.value)
    assert_untouched(before, model)


def test_attributes_that_leave_it_as_it_is():
    """An addition as a module, as Zennit needs it: the same relevance, with and without."""

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        other = x if self.down is None else self.down(x)
        return self.relu2(self.canonizer_sum(torch.stack([out, other], dim=-1)))

    def attribute_map(package):
        def found(name, module):
            if not isinstance(module, peers.Block):
                return None
            return {"forward": forward.__get__(module), "canonizer_sum": package.Sum()}

        return found

    mine = networks("resnet_bn")[0]
    x = peers.rows("resnet_bn")
    before = fingerprint(mine)
    found = []
    for p in (ours, theirs):
        canonizers = [p.CompositeCanonizer([p.SequentialMergeBatchNorm(), p.AttributeCanonizer(attribute_map(p))])]
        with p.Gradient(mine, p.EpsilonPlusFlat(canonizers=canonizers)) as attributor:
            found.append(attributor(x.clone(), None)[1].detach())
            if p is ours:
                assert_untouched(before, mine)
    assert_close(*found, 1e-9)


def test_occlusion(model):
    composite = ours.EpsilonPlus(canonizers=[ours.AttributeCanonizer(attributes(torch.abs))])
    with pytest.raises(rx.InvalidInput, match="canonizers must leave"):
        ours.Occlusion(model, composite, window=1, stride=1)(X)


def test_maps_that_fail(model):
    for bad, says in ((lambda name, module: 3, "dict"), (lambda name, module: {"forward": len}, "AttributeError")):
        with pytest.raises(rx.InvalidInput, match=says):
            ours.Gradient(model, ours.EpsilonPlus(canonizers=[ours.AttributeCanonizer(bad)]))(X)


def test_canonizers_that_do_something_of_their_own():
    class Applied(ours.SequentialMergeBatchNorm):
        def apply(self, root_module):
            return []

    class Registered(ours.AttributeCanonizer):
        def register(self, module, attributes):
            pass

    for canonizer in (Applied(), Registered(lambda name, module: None)):
        with pytest.raises(TypeError, match=r"overrides (apply|register)"):
            ours.EpsilonPlus(canonizers=[canonizer])


def test_names():
    for kind in (own.SequentialMergeBatchNorm, own.NamedMergeBatchNorm, ours.VGGCanonizer):
        assert issubclass(kind, own.MergeBatchNorm)
    with pytest.raises(TypeError, match="must hold canonizers of"):
        ours.EpsilonPlus(canonizers=[own.MergeBatchNorm()])
    x = peers.rows("resnet_bn")
    mine = networks("resnet_bn")[0]
    expected = ours.Gradient(mine, ours.EpsilonPlus(canonizers=[]))(x)[1]
    for name in ("ResNetBasicBlockCanonizer", "ResNetBottleneckCanonizer"):
        canonizer = getattr(__import__("reluxfast.compat.zennit.torchvision", fromlist=["_"]), name)()
        assert isinstance(canonizer, ours.AttributeCanonizer)
        assert_close(ours.Gradient(mine, ours.EpsilonPlus(canonizers=[canonizer]))(x)[1], expected, 0)
