"""What Zennit's documentation shows its users, in our own words: the imports alone differ."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from tests import peers
from tests.compat.zennit.pair import TOLERANCE, networks
from tests.support import assert_close


def names(package: str):
    """What `from package.module import ...` brings."""
    found = {}
    for module in ("attribution", "canonizers", "composites", "core", "rules", "types"):
        found |= vars(importlib.import_module(f"{package}.{module}"))
    return type("Names", (), found)


PACKAGES = (names("reluxfast.compat.zennit"), names("zennit"))


def same(example, pair) -> None:
    (output, relevance), (expected_output, expected) = (
        example(p, model) for p, model in zip(PACKAGES, pair, strict=True)
    )
    tolerance = TOLERANCE[expected.dtype]
    assert_close(output.detach(), expected_output.detach(), tolerance)
    assert_close(relevance, expected.detach(), tolerance)


def test_quickstart():
    """One image, one class, batch norms merged."""

    def example(p, model):
        data = peers.rows("vgg_bn")[:1]
        canonizer = p.SequentialMergeBatchNorm()
        composite = p.EpsilonGammaBox(low=-3.0, high=3.0, canonizers=[canonizer])
        with p.Gradient(model=model, composite=composite) as attributor:
            return attributor(data, torch.eye(4, dtype=data.dtype)[[2]])

    same(example, networks("vgg_bn"))


def test_predicted_class_and_random_class():
    def example(p, model):
        data = peers.rows("vgg_bn")

        def predicted(output):
            return torch.eye(4, dtype=output.dtype)[output.argmax(1)]

        attributor = p.SmoothGrad(model, p.COMPOSITES["guided_backprop"](), predicted, noise_level=0.1, n_iter=2)
        torch.manual_seed(0)
        return attributor(data)

    same(example, networks("vgg_bn"))


def test_all_layers_by_hand():
    def example(p, model):
        name_map = [(["features.0"], p.WSquare()), (["classifier.3"], p.Epsilon(epsilon=1e-2))]
        layer_map = [(p.Activation, p.Pass()), (p.AvgPool, p.Norm()), (p.Convolution, p.AlphaBeta(alpha=2, beta=1))]
        composite = p.NameLayerMapComposite(name_map, [*layer_map, (nn.Linear, p.Gamma(gamma=0.1))], [])
        with p.IntegratedGradients(model=model, composite=composite, n_iter=2) as attributor:
            return attributor(peers.rows("vgg_bn"), lambda out: out)

    same(example, networks("vgg_bn"))


@pytest.mark.parametrize("canonize", [True, False])
def test_autograd_with_a_composite(canonize):
    def example(p, model):
        composite = p.EpsilonPlusFlat(canonizers=[p.SequentialMergeBatchNorm()] if canonize else [])
        data = peers.rows("resnet_bn").requires_grad_()
        with composite.context(model) as modified_model:
            output = modified_model(data)
            (attribution,) = torch.autograd.grad(output, data, torch.eye(4, dtype=data.dtype)[[0, 1, 2]])
        return output, attribution

    same(example, networks("resnet_bn"))


def test_own_composite():
    def example(p, model):
        def by_depth(ctx, name, module):
            if isinstance(module, p.Convolution):
                ctx["seen"] = ctx.get("seen", 0) + 1
                return p.ZPlus() if ctx["seen"] > 1 else p.Flat()
            return p.Epsilon() if isinstance(module, nn.Linear) else None

        return p.Gradient(model, p.Composite(module_map=by_depth, canonizers=[]))(
            peers.rows("vgg_bn"), lambda out: out[:, :] * 1.0
        )

    same(example, networks("vgg_bn"))
