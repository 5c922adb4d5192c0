"""The model is only read: after success, after errors, from several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import reluxfast as rx
import reluxfast.compat.zennit as ours
from tests import peers
from tests.compat.zennit.pair import NAMED, named, signal
from tests.support import assert_close, assert_untouched, fingerprint


@pytest.fixture(scope="module")
def model():
    return peers.built(peers.MODELS["resnet_in_place"][0])


def test_after_every_attributor(model):
    x = peers.rows("resnet_bn")
    before, version = fingerprint(model), x._version
    for name in NAMED:
        with ours.Gradient(model, named(ours, name, x)) as attributor:
            assert_untouched(before, model)
            attributor(x, signal(x))
    for kind in (ours.SmoothGrad, ours.IntegratedGradients):
        kind(model, ours.EpsilonPlus(), n_iter=2)(x)
    ours.Occlusion(model)(x)
    ours.Gradient(model, ours.EpsilonPlus(), create_graph=True)(x)
    assert_untouched(before, model)
    assert x._version == version and not x.requires_grad and x.grad is None


def test_after_an_error(model):
    x = peers.rows("resnet_bn")
    before = fingerprint(model)

    def fails(out):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), ours.Gradient(model, ours.EpsilonPlus()) as attributor:
        attributor(x, fails)
    with pytest.raises(rx.UnsupportedNode):
        ours.Gradient(model, ours.LayerMapComposite([(nn.Conv2d, ours.Pass())]))(x)
    with pytest.raises(ZeroDivisionError), ours.EpsilonPlus().context(model) as modified:
        modified(x.requires_grad_()).sum().backward()
        raise ZeroDivisionError
    assert_untouched(before, model)


def test_eight_threads_share_a_composite(model):
    x = peers.rows("resnet_bn")
    before = fingerprint(model)
    composites = {name: named(ours, name, x) for name in ("epsilon_plus_flat", "guided_backprop", "beta_smooth")}
    expected = {name: ours.Gradient(model, c)(x, signal(x))[1] for name, c in composites.items()}

    def explain(i: int) -> tuple[str, torch.Tensor]:
        name = list(composites)[i % len(composites)]
        if i % 2:
            return name, ours.Gradient(model, composites[name])(x, signal(x))[1]
        given = x.clone().requires_grad_()
        with composites[name].context(model) as modified:
            return name, torch.autograd.grad(modified(given), given, signal(x))[0]

    with ThreadPoolExecutor(8) as pool:
        for name, relevance in pool.map(explain, range(48)):
            assert_close(relevance, expected[name], 1e-12)
    assert_untouched(before, model)


def test_the_global_generator_is_left_alone(model):
    x = peers.rows("resnet_bn")
    torch.manual_seed(3)
    ours.Gradient(nn.Sequential(model), ours.EpsilonPlusFlat())(x)
    found = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(found, torch.rand(3))


def test_changed_weights_are_noticed(model):
    x = peers.rows("resnet_bn")
    changed = peers.built(peers.MODELS["resnet_in_place"][0])
    composite = ours.EpsilonPlus()
    ours.Gradient(changed, composite)(x)
    with torch.no_grad():
        for p in changed.parameters():
            p.mul_(1.1)
    other = peers.built(peers.MODELS["resnet_in_place"][0])
    other.load_state_dict(changed.state_dict())
    assert_close(ours.Gradient(changed, composite)(x)[1], ours.Gradient(other, composite)(x)[1], 1e-12)
