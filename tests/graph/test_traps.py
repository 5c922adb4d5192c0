"""Constructs that once gave a wrong value without a word: each is right or refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import reluxfast as rx
from tests.support import relative_error


class _Body(nn.Module):
    """forward(x) = body(self, x), with a linear layer `a`."""

    def __init__(self, body, **modules):
        super().__init__()
        self.body, self.a = body, nn.Linear(6, 4)
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.body(self, x)


def _filled(self, x):
    h = self.a(x)
    out = torch.empty_like(h)
    out[:, :2], out[:, 2:] = torch.relu(h[:, :2]), 1.0
    return out


RIGHT = {
    "where broadcasts": lambda s, x: torch.where(x > 0, x, torch.zeros(1, 5, 1)).sum(1),
    "clamp at its bounds": lambda s, x: s.a(x.round().clamp(0, 1)),
    "clamp from above": lambda s, x: s.a(x.round().clamp(max=1)),
    "memory filled later": _filled,
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name):
    torch.manual_seed(0)
    model = _Body(RIGHT[name])
    x = torch.randn(3, 1, 4) if "where" in name else torch.randn(3, 6)
    x = x.round() if "clamp" in name else x
    wide = x.clone().requires_grad_()
    y = model(wide)
    (want,) = torch.autograd.grad(y[:, 0].sum(), wide)
    result = rx.gradient(model, x, 0)
    assert result.output.shape == y.shape
    assert relative_error(result.values, want) < 1e-6  # float32 on both sides


def test_output_padding_of_a_whole_stride():
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(3, 4, 3, output_padding=1, dilation=2)
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.randn(2, 3, 11, 13, requires_grad=True)
    (want,) = torch.autograd.grad(model(x)[:, 0].sum(), x)
    assert relative_error(rx.gradient(model, x.detach(), 0).values, want) < 1e-6


def _aliased(self, x):
    h = self.a(x)
    y = torch.einsum("nk->nk", h)
    y += 1
    return h


def _written(self, x):
    self.state.add_(1)
    return self.a(x) * self.state


REFUSED = {
    "view without a word": _aliased,
    "as_strided": lambda s, x: torch.as_strided(s.a(x), (x.shape[0], 2), (4, 1)),
    "row minus another": lambda s, x: s.a(x - x[:1]),
    "number of rows": lambda s, x: s.a(x) / x.shape[0],
    "place of a row": lambda s, x: s.a(x) * torch.arange(x.shape[0])[:, None],
    "random permutation": lambda s, x: s.a(x[:, torch.randperm(6)]),
    "attribute written": _written,
    "branch on tracing": lambda s, x: s.a(x) * (2 if torch.compiler.is_compiling() else 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    model = _Body(REFUSED[name])
    model.state = torch.ones(())
    with pytest.raises(rx.UnsupportedNode):
        rx.gradient(model, torch.randn(3, 6), 0)
    assert model.state == 1


class _Equal(nn.Module):
    def __init__(self, scale: float):
        super().__init__()
        self.a, self.scale = nn.Linear(6, 2), scale

    def forward(self, x):
        return self.a(x) * self.scale

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


def test_models_that_compare_equal_are_two_models():
    one, other, x = _Equal(1.0), _Equal(5.0), torch.randn(2, 6)
    rx.gradient(one, x, 0)
    assert torch.allclose(rx.gradient(other, x, 0).values, 5 * other.a.weight[0].detach().expand(2, 6))


def test_a_changed_configuration_is_noticed():
    model, x = _Body(lambda s, x: s.a(x) * s.options.scale, options=SimpleNamespace(scale=1.0)), torch.randn(2, 6)
    before = rx.gradient(model, x, 0).values
    model.options.scale = 5.0
    assert torch.allclose(rx.gradient(model, x, 0).values, 5 * before)


def test_results_share_no_memory():
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    x = torch.randn(2, 3)
    first, second = rx.gradient(Sum(), (x, x.clone()), 0).values
    assert first.data_ptr() != second.data_ptr()
    result = rx.gradient(nn.Flatten(), x, 0)
    result.output.zero_()
    assert x.abs().sum() > 0


@pytest.mark.parametrize("model", [nn.Identity(), nn.Sequential()])
def test_a_model_that_does_nothing(model):
    values = rx.gradient(model, torch.randn(2, 3), 1).values
    assert torch.equal(values, torch.tensor([[0.0, 1.0, 0.0]] * 2))


def test_modules_that_refuse_to_be_copied_keep_their_mode():
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo):
            return self

    model = nn.Sequential(Stubborn(3, 3), nn.ReLU()).train()
    with pytest.raises(rx.UnsupportedNode, match="copy"):
        rx.gradient(model, torch.randn(2, 3), 0)
    assert all(module.training for module in model.modules())
