"""Constructs that once gave a wrong value without a word: each is right or refused."""

from __future__ import annotations

import threading
from functools import lru_cache
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


def _without_gradient(self, x):
    with torch.inference_mode():
        scale = x * 2
    return self.a(x * scale)


def _differentiating(self, x):
    h = self.a(x)
    return h * torch.autograd.grad(h.sum(), x, create_graph=True)[0].sum()


def _two_items(self, x):
    h = self.a(x)
    first, second = h.unbind(1)[:2]
    first += second
    return h


REFUSED = {
    "inference mode": _without_gradient,
    "derivative inside": _differentiating,
    "batch lost": _two_items,
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


SQUEEZED = {
    "end": (lambda s, x: s.a(x).sum(1, keepdim=True).squeeze(), None),
    "middle": (lambda s, x: s.a(x[:, None]).squeeze(), 1),
    "in place": (lambda s, x: (s.a(x[:, None]) * 1).squeeze_(), 1),
    "all dimensions": (lambda s, x: s.a(x[:, None]).squeeze((0, 1)), 1),
}


@pytest.mark.parametrize("name", SQUEEZED)
def test_one_row_keeps_its_batch_dimension(name):
    body, target = SQUEEZED[name]
    model, x = _Body(body), torch.randn(3, 6)
    for method in ("gradient", "integrated_gradients"):
        whole = rx.attribute(model, x, target, method)
        alone = rx.attribute(model, x[1:2], target, method)
        assert alone.output.shape == (1, *whole.output.shape[1:]) and alone.values.shape == (1, 6)
        assert torch.allclose(alone.values[0], whole.values[1], atol=1e-6)
        assert torch.allclose(alone.output[0], whole.output[1])


@lru_cache
def _positions(n: int) -> torch.Tensor:
    return torch.arange(n) * 1.0


def test_a_cache_outside_the_model_is_noticed():
    _positions.cache_clear()
    model, x = _Body(lambda s, x: s.a(x) * _positions(4)), torch.randn(2, 6)
    with pytest.raises(rx.UnsupportedNode, match="outside the model"):
        rx.gradient(model, x, 3)
    _positions.cache_clear()
    model(x)
    assert torch.allclose(rx.gradient(model, x, 3).values, 3 * model.a.weight[3].detach().expand(2, 6))


class _Unregistered(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.scales = [nn.Linear(6, 4)], {"k": [torch.ones(4)]}

    def forward(self, x):
        return self.layers[0](x) * self.scales["k"][0]


@pytest.mark.parametrize("hidden", [False, True])
def test_what_is_not_registered_is_watched(hidden):
    model, x = _Unregistered(), torch.randn(2, 6)
    before = rx.gradient(model, x, 0).values
    weight, scale = model.layers[0].weight, model.scales["k"][0]
    with torch.no_grad():
        (weight.data if hidden else weight).mul_(2)
        (scale.data if hidden else scale).mul_(3)
    assert torch.allclose(rx.gradient(model, x, 0).values, 6 * before)


def test_a_program_with_another_weight():
    x = torch.randn(2, 6)
    program = torch.export.export(nn.Linear(6, 4), (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    rx.gradient(program, x, 0)
    program.state_dict["weight"] = torch.ones(4, 6)
    assert torch.equal(rx.gradient(program, x, 0).values, torch.ones(2, 6))


def test_refresh_forgets_what_leaves_no_trace():
    hidden = {"scale": 1.0}
    model, x = _Body(lambda s, x: s.a(x) * hidden["scale"]), torch.randn(2, 6)
    before = rx.gradient(model, x, 0).values
    hidden["scale"] = 2.0
    assert torch.equal(rx.gradient(model, x, 0).values, before)
    rx.refresh(model)
    assert torch.allclose(rx.gradient(model, x, 0).values, 2 * before)


def test_training_meanwhile_is_no_mixing_of_rows():
    model, stop = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 4)), threading.Event()

    def train():
        while not stop.is_set():
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(5):
            assert rx.gradient(nn.Sequential(*model), torch.randn(2, 6), 0).values.shape == (2, 6)
    finally:
        stop.set()
        thread.join()


def test_a_model_that_fails_is_not_captured():
    with pytest.raises(rx.UnsupportedNode, match="same dtype"):
        rx.gradient(nn.Linear(6, 4), torch.randn(2, 6, dtype=torch.float64), 0)


@pytest.mark.parametrize("path", ["one#2", "other#2"])
def test_a_module_under_two_names(path):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = self.other = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.other(torch.relu(self.one(x))).mean((2, 3))

    torch.manual_seed(0)
    model, x = Shared(), torch.randn(2, 3, 5, 5)
    with pytest.raises(rx.InvalidInput, match=r"'one#1' \.\. 'one#2'"):
        rx.grad_cam(model, x, 0, layer="one")
    h = model.one(torch.relu(model.one(x))).detach()
    want = torch.relu(h[:, :1] / 25)
    assert torch.allclose(rx.grad_cam(model, x, 0, layer=path, upsample=False).values, want, atol=1e-6)


def test_a_control_flow_operator_is_named_as_such():
    model = _Body(lambda s, x: torch.cond(x.sum() > 0, lambda v: v * 2, lambda v: v, (s.a(x),)))
    with pytest.raises(rx.UnsupportedNode, match="control-flow operator"):
        rx.gradient(model, torch.randn(2, 6), 0)


def test_a_write_into_overlapping_memory():
    def body(self, x):
        h = self.a(x)
        windows = h.unfold(1, 2, 1)
        windows *= 2
        return h

    with pytest.raises(rx.UnsupportedNode, match="no value form"):
        rx.gradient(_Body(body), torch.randn(2, 6), 0)
