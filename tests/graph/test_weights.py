"""A model that changes is explained as it is now, never as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import reluxfast as rx
from tests.support import assert_close
from tests.zoo import MODULES
from tests.zoo.registry import settle
from tests.zoo.spellings import ConvNet

X = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(3)).double()


def _step(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(X).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def _sgd_momentum(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, foreach=True)
    for _ in range(2):
        optimizer.zero_grad()
        model(X).sum().backward()
        optimizer.step()


def _copy(model):
    with torch.no_grad():
        model.fc1.weight.copy_(model.fc1.weight.flip(0))


def _load_state_dict(model):
    other = settle(ConvNet(MODULES), 9).double()
    model.load_state_dict(other.state_dict())


def _load_by_assignment(model):
    other = settle(ConvNet(MODULES), 9).double()
    model.load_state_dict(other.state_dict(), assign=True)


def _replace_parameter(model):
    model.conv2.weight = nn.Parameter(-model.conv2.weight.detach())


def _replace_module(model):
    model.conv2 = settle(nn.Conv2d(4, 6, 5, padding=2, bias=False), 5).double()


def _replace_activation(model):
    model.act2 = nn.LeakyReLU(0.3)


def _set_data(model):
    model.fc2.weight.data = model.fc2.weight.data.flip(0).clone()


def _numpy(model):
    model.fc2.weight.detach().numpy()[1, 2] += 1.0


def _train_forward(model):
    model.train()
    with torch.no_grad():
        model(10.0 * X)
    model.eval()


def _swap_class(model):
    model.pool = nn.AvgPool2d(2)


def _hook(model):
    model.fc1.register_forward_hook(lambda m, a, out: out * 2.0)


CHANGES = {
    "adam_step": _step,
    "sgd_steps": _sgd_momentum,
    "copy_": _copy,
    "load_state_dict": _load_state_dict,
    "load_state_dict(assign=True)": _load_by_assignment,
    "parameter_replaced": _replace_parameter,
    "submodule_replaced": _replace_module,
    "activation_replaced": _replace_activation,
    "pool_replaced": _swap_class,
    ".data.mul_": lambda m: m.conv1.weight.data.mul_(-1.5),
    ".data.add_": lambda m: m.conv1.bias.data.add_(0.5),
    ".data element": lambda m: m.conv1.weight.data[1, 2, 0, 1].add_(2.0),
    ".data =": _set_data,
    "numpy view": _numpy,
    "running_mean": lambda m: m.bn.running_mean.add_(0.7),
    "running_var": lambda m: m.bn.running_var.mul_(3.0),
    "statistics by a training forward": _train_forward,
    "bn.weight": lambda m: m.bn.weight.data.mul_(-2.0),
    "bn.bias": lambda m: m.bn.bias.data.add_(1.0),
    "bn.eps": lambda m: setattr(m.bn, "eps", 3.0),
    "conv.padding_mode": lambda m: setattr(m.conv2, "padding_mode", "circular"),
    "pool.kernel_size": lambda m: setattr(m.pool, "kernel_size", 1),
    "bias removed": lambda m: setattr(m.conv2, "bias", None),
    "hook added": _hook,
}


def _expected(model):
    leaf = X.clone().requires_grad_()
    out = model(leaf)
    return torch.autograd.grad(out[:, 1].sum(), leaf)[0], out.detach()


@pytest.mark.parametrize("entry", ["attribute", "Explainer"])
@pytest.mark.parametrize("change", CHANGES)
def test_change_is_noticed(change, entry):
    model = settle(ConvNet(MODULES), 1).double().eval()
    explainer = rx.Explainer(model, X) if entry == "Explainer" else model
    old = rx.gradient(explainer, X, target=1).values
    CHANGES[change](model)
    expected, out = _expected(model)
    assert (expected - old).abs().max() > 1e-3 * expected.abs().max(), "the change changes nothing"
    result = rx.gradient(explainer, X, target=1)
    assert_close(result.values, expected, 1e-12, change)
    assert_close(result.output, out, 1e-12, f"{change}, output")


def test_training_loop_with_explanations():
    """Explained after every step, folded batch norm included."""
    model = settle(ConvNet(MODULES), 2).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    explainer = rx.Explainer(model, X)
    for _ in range(4):
        model.train()
        optimizer.zero_grad()
        model(X).logsumexp(1).sum().backward()
        optimizer.step()
        result = rx.gradient(explainer, X, target=1)
        assert model.training
        expected, _ = _expected(model.eval())
        assert_close(result.values, expected, 1e-12)


def test_tied_weight_changes_everywhere():
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    model[2].weight = model[0].weight
    x = torch.randn(2, 5).double()
    rx.gradient(model, x, target=0)
    with torch.no_grad():
        model[2].weight.mul_(-1.0)
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)
    assert_close(rx.gradient(model, x, target=0).values, g, 1e-12)


def test_weights_are_untied_later():
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    model[2].weight = model[0].weight
    x = torch.randn(2, 5).double()
    rx.gradient(model, x, target=0)
    model[2].weight = nn.Parameter(torch.randn(5, 5).double())
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)
    assert_close(rx.gradient(model, x, target=0).values, g, 1e-12)


def test_copies_of_a_model_have_captures_of_their_own():
    model = settle(ConvNet(MODULES), 1).double().eval()
    rx.gradient(model, X, target=1)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.fc2.weight.mul_(-2.0)
    assert_close(rx.gradient(twin, X, target=1).values, _expected(twin)[0], 1e-12)
    assert_close(rx.gradient(model, X, target=1).values, _expected(model)[0], 1e-12)


def test_dtype_change():
    model = settle(ConvNet(MODULES), 1).eval()
    rx.gradient(model, X.float(), target=1)
    model.double()
    assert_close(rx.gradient(model, X, target=1).values, _expected(model)[0], 1e-12)


class _Attributes(nn.Module):
    """What a forward pass reads besides parameters: a function, a plain tensor, a list, a dict, a nested object."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 4)
        self.act = torch.relu
        self.scale = torch.tensor(2.0, dtype=torch.float64)
        self.powers = [1.0, 0.5]
        self.table = {"shift": 0.25}

    def forward(self, x):
        h = self.act(self.fc(x) * self.scale + self.table["shift"])
        return h * self.powers[0] + x[:, :4] * self.powers[1]


def _negated(self, x):
    return -nn.functional.linear(x, self.fc.weight).relu()


ATTRIBUTES = {
    "function replaced": lambda m: setattr(m, "act", torch.sigmoid),
    "plain tensor replaced": lambda m: setattr(m, "scale", torch.tensor(-3.0, dtype=torch.float64)),
    "plain tensor written": lambda m: m.scale.mul_(-1.5),
    "list item": lambda m: m.powers.__setitem__(0, 3.0),
    "dict item": lambda m: m.table.__setitem__("shift", -9.0),
    "forward replaced": lambda m: setattr(m, "forward", _negated.__get__(m)),
}


@pytest.mark.parametrize("change", ATTRIBUTES)
def test_change_of_an_attribute_is_noticed(change):
    model = _Attributes().double()
    x = torch.randn(5, 6).double()
    old = rx.gradient(model, x, target=1).values
    ATTRIBUTES[change](model)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    assert (expected - old).abs().max() > 1e-3, "the change changes nothing"
    assert_close(rx.gradient(model, x, target=1).values, expected, 1e-12, change)


@pytest.mark.parametrize("layout", ["transposed", "channels_last", "every other"])
def test_hidden_changes_are_noticed_in_every_layout(layout):
    """Through `.data` nothing but the values changes, wherever they lie in memory."""
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    elif layout == "transposed":
        model[2].weight = nn.Parameter(torch.randn(16, 3).t())
    else:
        model[2].weight = nn.Parameter(torch.randn(6, 32)[::2, ::2])
    x = torch.randn(2, 4, 4, 4)
    before = rx.gradient(model, x, 0).values
    for module in (model[0], model[2]):
        module.weight.data.mul_(2)
        now = rx.gradient(model, x, 0).values
        assert torch.allclose(now, 2 * before, rtol=1e-5)
        before = now
