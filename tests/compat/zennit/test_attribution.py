"""Attributors: SmoothGrad, integrated gradients, occlusion, history, and what a call accepts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast.compat.zennit as ours
from reluxfast.captured import captured
from tests import peers
from tests.compat.zennit.pair import judge, named, networks, signal, theirs
from tests.support import assert_close

SMOOTH = [{"n_iter": 4}, {"noise_level": 0.5, "n_iter": 3}, {"n_iter": 1}]
PATHS = [{"n_iter": 5}, {"n_iter": 3, "baseline_fn": lambda x: torch.full_like(x, 0.2)}, {"n_iter": 1}]
WINDOWS = [
    {},
    {"window": 5, "stride": 4},
    {"window": (4, 4), "stride": (3, 3)},
    {"window": (7,), "stride": (5,)},
    {"window": (4, 4), "stride": (2, 4, 4)},
    {"window": (5, 12), "stride": 5},
    {"occlusion_fn": lambda x, mask: torch.where(mask, torch.ones_like(x), x), "window": 6, "stride": 6},
]


def seeded(package, kind: str, **options):
    """A maker of attributors that each begin with the same state of torch's generator."""

    def make(p, m):
        torch.manual_seed(11)
        name = options.get("composite")
        given = {k: v for k, v in options.items() if k != "composite"}
        return getattr(p, kind)(m, named(p, name, peers.rows("vgg_bn")) if name else None, **given)

    return make


@pytest.mark.parametrize("composite", [None, "epsilon_plus_flat", "guided_backprop"])
@pytest.mark.parametrize("form", ["none", "tensor", "function"])
def test_smooth_grad_and_integrated_gradients(form, composite):
    x = peers.rows("vgg_bn")
    seed = signal(x)
    attr_output = {"none": None, "tensor": seed, "function": lambda out: seed * out}[form]
    for kind, several in (("SmoothGrad", SMOOTH), ("IntegratedGradients", PATHS)):
        for options in several:
            judge(networks("vgg_bn"), seeded(ours, kind, composite=composite, **options), x, attr_output)


def test_one_iteration_is_the_gradient():
    x = peers.rows("vgg_bn")
    model = networks("vgg_bn")[0]
    expected = ours.Gradient(model)(x)[1]
    assert_close(ours.SmoothGrad(model, n_iter=1)(x)[1], expected, 0)
    assert_close(ours.IntegratedGradients(model, n_iter=1)(x)[1], expected * x, 1e-15)


def test_noise_leaves_the_generator_as_theirs_does():
    x = peers.rows("vgg_bn")
    after = []
    for p, model in zip((ours, theirs), networks("vgg_bn"), strict=True):
        torch.manual_seed(5)
        p.SmoothGrad(model, n_iter=3)(x.clone())
        after.append(torch.rand(4))
    assert torch.equal(*after)


@pytest.mark.parametrize("options", WINDOWS)
def test_occlusion(options):
    x = peers.rows("vgg_bn")
    for attr_output in (None, signal(x), lambda out: out[:, 2:3] * torch.eye(4, dtype=out.dtype)[2]):
        judge(networks("vgg_bn"), lambda p, m: p.Occlusion(m, **options), x, attr_output)


def test_occlusion_of_rows_without_channels():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.randn(4, 7)
    judge((model, model), lambda p, m: p.Occlusion(m, window=3, stride=2), x)


def test_occlude_independent():
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    mask = x > 0
    for options in ({}, {"invert": True}, {"fill_fn": torch.ones_like}):
        expected = theirs.occlude_independent(x, mask, **options)
        assert_close(ours.occlude_independent(x, mask, **options), expected, 0)


@pytest.mark.parametrize("name", [None, "epsilon_plus", "excitation_backprop", "guided_backprop", "beta_smooth"])
def test_create_graph(name):
    """Derivatives of relevance that begins with the output, against Zennit; its constant signals cut them short."""
    x = peers.rows("resnet_bn")
    weight = signal(x, 3 * 16 * 16).view_as(x)
    found = []
    for p, model in zip((ours, theirs), networks("resnet_bn"), strict=True):
        given = x.clone().requires_grad_()
        composite = named(p, name, x) if name else None
        with p.Gradient(model, composite, create_graph=True) as attributor:
            output, relevance = attributor(given)
            # Zennit's own hooks would act on this derivative too.
            if composite is None or p is ours:
                found.append(torch.autograd.grad((relevance * weight).sum() + output.sum(), given)[0])
            else:
                with composite.inactive():
                    found.append(torch.autograd.grad((relevance * weight).sum() + output.sum(), given)[0])
    assert_close(found[0], found[1], 1e-9)


@pytest.mark.parametrize("name", [None, "epsilon_plus", "excitation_backprop", "guided_backprop", "beta_smooth"])
def test_create_graph_with_a_constant_signal(name):
    """Against a difference quotient."""
    x = peers.rows("vgg_bn")[:1]
    model = networks("vgg_bn")[0]
    weight, direction = signal(x, 432).view_as(x), signal(x, 432).flip(1).view_as(x)
    composite = named(ours, name, x) if name else None
    attributor = ours.Gradient(model, composite, signal(x), create_graph=True)

    def measured(given):
        return (attributor(given)[1] * weight).sum()

    given = x.clone().requires_grad_()
    slope = (torch.autograd.grad(measured(given), given)[0] * direction).sum()
    quotient = (measured(x + 1e-6 * direction) - measured(x - 1e-6 * direction)).detach() / 2e-6
    assert_close(slope, quotient, 1e-6) if quotient else assert_close(slope, torch.zeros_like(slope), 0)


def test_a_loss_on_relevance_reaches_parameters():
    x = peers.rows("vgg_bn")
    model = peers.built(peers.MODELS["vgg_bn"][0])
    relevance = ours.Gradient(model, named(ours, "epsilon_plus", x), create_graph=True)(x)[1]
    relevance.square().sum().backward()
    assert float(model.features[0].weight.grad.abs().max()) > 0


def test_results_are_detached_and_inputs_left_alone():
    x = peers.rows("vgg_bn").requires_grad_()
    model = networks("vgg_bn")[0]
    for kind in (ours.Gradient, ours.SmoothGrad, ours.IntegratedGradients, ours.Occlusion):
        output, relevance = kind(model, ours.EpsilonPlus())(x)
        assert not output.requires_grad and not relevance.requires_grad
    assert x.grad is None and x.requires_grad
    with torch.no_grad():
        assert_close(ours.Gradient(model)(x)[1], ours.Gradient(model)(x)[1], 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_as_it_was(dtype):
    x = peers.rows("vgg_bn")
    model = peers.built(peers.MODELS["vgg_bn"][0]).to(dtype)
    seen = []

    def attr_output(out):
        seen.append(out.dtype)
        return torch.ones_like(out)

    output, relevance = ours.Gradient(model, named(ours, "epsilon_plus", x))(x.to(dtype), attr_output)
    assert output.dtype == relevance.dtype == seen[0] == dtype
    expected = ours.Gradient(model.double(), named(ours, "epsilon_plus", x))(x.to(dtype).double(), attr_output)[1]
    assert_close(relevance, expected, 0.05)


def test_functions_see_the_whole_output():
    """Once; and also where the engine cuts the batch, here to single rows."""
    x = peers.rows("vgg_bn")
    model = peers.built(peers.MODELS["vgg_bn"][0])
    shapes = []

    def attr_output(out):
        shapes.append(tuple(out.shape))
        return out.flip(0) * signal(x)

    expected = ours.Gradient(model, ours.EpsilonPlus())(x, attr_output)[1]
    assert shapes == [(3, 4)]
    known = captured(model, (x,))
    known.memory_budget = 60_000
    known.refresh()
    for given in (attr_output, attr_output(known.model(x)).detach()):
        assert_close(ours.Gradient(model, ours.EpsilonPlus())(x, given)[1], expected, 1e-12)
    assert set(shapes) == {(3, 4)} and len(shapes) == 3


def test_empty_batch():
    x = peers.rows("vgg_bn")[:0]
    output, relevance = ours.Gradient(networks("vgg_bn")[0], ours.EpsilonPlus())(x)
    assert output.shape == (0, 4) and relevance.shape == x.shape


def test_train_mode_is_explained_as_eval():
    x = peers.rows("vgg_bn")
    model = peers.built(peers.MODELS["vgg_bn"][0])
    expected = ours.Gradient(model)(x)[1]
    assert_close(ours.Gradient(model.train())(x)[1], expected, 0)
    assert model.training
