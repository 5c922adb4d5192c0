"""Depth, empty denominators, ties and narrow formats: finite, and every bit of relevance accounted for."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import reluxfast as rx
from reluxfast import rules
from reluxfast.benchmarks.maps.networks import Bottleneck, ResNet
from reluxfast.benchmarks.maps.weights import images, trained_like_
from reluxfast.composites import by_kind
from tests.lrp.cases import as_oracle
from tests.oracles import lrp as oracle
from tests.support import assert_close
from tests.zoo.registry import settle

BALANCE = 1e-5
BOX = rx.composite("epsilon_gamma_box", low=-6.0, high=6.0)


def _result(model: nn.Module, x: Tensor, composite, **options) -> rx.Attribution:
    return rx.attribute(model, x, 1, method="lrp", composite=composite, balance=True, return_layers=True, **options)


def _assert_finite(result: rx.Attribution) -> None:
    assert result.values.isfinite().all(), "values are not finite"
    for name, value in result.layers.items():
        for part in value if isinstance(value, list) else [value]:
            assert part.isfinite().all(), f"relevance of {name} is not finite"
    for row in result.balance.rows:
        for what in ("incoming", "outgoing", "bias", "stabiliser"):
            assert getattr(row, what).isfinite().all(), f"{what} of {row.name} is not finite"


def _assert_closes(result: rx.Attribution) -> None:
    """In relation to the largest relevance that any node passed on: of so much, float32 can lose a rounding."""
    _assert_finite(result)
    balance = result.balance
    passed = torch.stack([balance.logit.abs(), *(row.incoming.abs() for row in balance.rows)]).amax(0)
    gap = (balance.at_input + balance.bias + balance.stabiliser - balance.logit).abs()
    assert (gap <= BALANCE * passed).all(), f"gap {gap.tolist()} of {passed.tolist()}\n{balance}"


@functools.cache
def _resnet(counts: tuple[int, int, int, int], shifts: bool) -> tuple[nn.Module, Tensor]:
    """A residual network with trained-like weights, float32, and two images; `shifts`: whether anything is added."""
    with torch.device("cpu"):  # the weights are drawn there
        model = trained_like_(ResNet(Bottleneck, counts, n_classes=5, width=4), images(8, 3, 64, seed=3))
        x = images(2, 3, 64, seed=1)
    if not shifts:
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.zero_()
                if getattr(module, "bias", None) is not None:
                    module.bias.zero_()
    device = torch.get_default_device()
    return model.to(device), x.to(device)


RESNET50, RESNET152 = (3, 4, 6, 3), (3, 8, 36, 3)
CONSERVING = {"epsilon": "epsilon", "epsilon_plus": "epsilon_plus", "flat": "epsilon_plus_flat", "box": BOX}
CONSERVING |= {"zero": rules.Zero(), "gamma": rules.Gamma()}


@pytest.mark.parametrize("name", CONSERVING)
@pytest.mark.parametrize("counts", [RESNET50, RESNET152], ids=["resnet50", "resnet152"])
def test_deep_residual_networks_close_in_float32(counts, name):
    result = _result(*_resnet(counts, True), CONSERVING[name])
    _assert_closes(result)
    # Without denominators of their own sign, relevance a thousand times the logit passes on its way to the biases.
    if name not in ("epsilon", "zero"):
        assert (result.balance.error <= BALANCE).all(), str(result.balance)


def _of(rule: rules.Rule):
    return by_kind(rule, rule, rest=rules.Epsilon(1e-9))


SHIFTLESS = {
    "zero": rules.Zero(),
    "epsilon": _of(rules.Epsilon(1e-9)),
    "gamma": _of(rules.Gamma(epsilon=1e-9)),
    "epsilon and gamma": by_kind(rules.Gamma(epsilon=1e-9), rules.Epsilon(1e-9), rest=rules.Epsilon(1e-9)),
}


@pytest.mark.parametrize("name", SHIFTLESS)
@pytest.mark.parametrize("counts", [RESNET50, RESNET152], ids=["resnet50", "resnet152"])
def test_without_shifts_the_input_holds_the_logit(counts, name):
    """Nothing is added anywhere: no relevance has another place to go to than the pixels."""
    model, x = _resnet(counts, False)
    result = rx.attribute(model, x, 1, method="lrp", composite=SHIFTLESS[name])
    logit = result.output[:, 1].double()
    assert_close(result.values.double().flatten(1).sum(1), logit, BALANCE)


class Small(nn.Module):
    """Signed inputs, a residual addition, a pool, two linear maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.bn = (
            nn.Conv2d(2, 3, 3, padding=1),
            nn.Conv2d(3, 3, 1, padding=1),
            nn.BatchNorm2d(3),
        )
        self.fc1, self.fc2 = nn.Linear(27, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv1(x))
        h = F.relu(self.bn(self.conv2(h))[:, :, 1:-1, 1:-1] + h)
        return self.fc2(F.relu(self.fc1(F.max_pool2d(h, 2).flatten(1))))


def _small() -> nn.Module:
    return settle(Small(), 2).eval()


def _zero_weights() -> nn.Module:
    model = _small()
    with torch.no_grad():
        for module in (model.conv1, model.conv2, model.fc1):
            module.weight.zero_()
    return model


def _nothing_but_zeros() -> nn.Module:
    """Every weight and shift but those of the last layer: each denominator is 0."""
    model = _zero_weights()
    with torch.no_grad():
        for module in (model.conv1, model.conv2, model.fc1, model.bn):
            module.bias.zero_()
        model.bn.running_mean.zero_()
    return model


def _shut() -> nn.Module:
    model = _small()
    with torch.no_grad():
        for module in (model.conv1, model.bn, model.fc1):
            module.bias.fill_(-100.0)
    return model


def _without_shifts() -> nn.Module:
    model = _small()
    with torch.no_grad():
        for module in (model.conv1, model.conv2, model.fc1, model.fc2, model.bn):
            module.bias.zero_()
        model.bn.running_mean.zero_()
    return model


def _signed(negative: bool) -> nn.Module:
    """All weights of one sign: half of the contributions do not exist."""
    model = _small()
    with torch.no_grad():
        for module in (model.conv1, model.conv2, model.fc1, model.fc2):
            module.weight.abs_().mul_(-1.0 if negative else 1.0)
        model.bn.weight.abs_()
    return model


MODELS = {
    "as drawn": _small,
    "weights of zero": _zero_weights,
    "nothing but zeros": _nothing_but_zeros,
    "every ReLU shut": _shut,
    "no shifts": _without_shifts,
    "positive weights": lambda: _signed(False),
    "negative weights": lambda: _signed(True),
}
# A constant image makes a tie of every window of the pool.
ROWS = ("signed", "zero", "constant", "large", "tiny")


@functools.cache
def _explainer(name: str, dtype: torch.dtype) -> tuple[rx.Explainer, Tensor]:
    """A model of `MODELS` and an image for each of `ROWS`, less the last two in half precision."""
    noise = torch.randn(2, 6, 6, generator=torch.Generator(torch.get_default_device()).manual_seed(1))
    x = torch.stack([noise, 0 * noise, torch.full_like(noise, 0.5), 1e4 * noise, 1e-20 * noise])
    x = (x if dtype == torch.float32 else x[:3]).to(dtype)
    return rx.Explainer(MODELS[name]().to(dtype), x), x


def _rules(epsilon: float) -> dict[str, object]:
    every = {
        "epsilon": rules.Epsilon(epsilon),
        "gamma": rules.Gamma(epsilon=epsilon),
        "z plus": rules.ZPlus(epsilon=epsilon),
        "alpha beta": rules.AlphaBeta(2, 1, epsilon=epsilon),
        "w square": rules.WSquare(epsilon=epsilon),
        "flat": rules.Flat(epsilon),
        "z box": rules.ZBox(-1.0, 1.0, epsilon),
    }
    composites = {name: by_kind(rule, rule, rest=rules.Epsilon(epsilon)) for name, rule in every.items()}
    # Where flat reads, ReLUs that are shut are handed relevance, which the maps behind them must divide.
    return composites | {f"{name}, then flat": composite for name, composite in composites.items() if name != "flat"}


def _failures(name: str, dtype: torch.dtype, epsilon: float) -> list[str]:
    flat = {path: rules.Flat(epsilon) for path in ("fc1", "fc2")} if name.endswith("then flat") else None
    failures = []
    for model in MODELS:
        explainer, x = _explainer(model, dtype)
        options = {"composite": _rules(epsilon)[name], "layer_rules": flat, "balance": True, "return_layers": True}
        result = explainer.attribute(x, 1, "lrp", **options)
        try:
            assert result.values.dtype == dtype, result.values.dtype
            _assert_closes(result)
        except AssertionError as failure:
            failures.append(f"{model}: {str(failure).splitlines()[0]}")
    return failures


@pytest.mark.parametrize("epsilon", [1e-6, 0.0, 1e-60])  # the last is 0 in float32
@pytest.mark.parametrize("name", _rules(0.0))
def test_empty_denominators(name, epsilon):
    """What cannot be divided counts as the stabiliser's."""
    failures = _failures(name, torch.float32, epsilon)
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("epsilon", [1e-6, 0.0, 1e-60])
@pytest.mark.parametrize("name", [name for name in _rules(0.0) if not name.endswith("then flat")])
def test_a_dead_unit_that_is_handed_relevance(name, epsilon):
    """z = 0 below a rule that hands relevance to zeros: all of it is the stabiliser's, or the inputs'."""
    model = settle(nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 3)), 0)
    with torch.no_grad():
        model[0].weight.zero_()
    x, flat = torch.ones(1, 2), {"2": rules.Flat()}
    _assert_closes(_result(model, x, _rules(epsilon)[name], layer_rules=flat))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", _rules(0.0))
def test_half_precision(name, dtype):
    """Models and inputs in a format whose steps are wider than ε."""
    failures = _failures(name, dtype, 1e-6)
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_small_part_beside_a_large_one(scale):
    """The negative part is 1e-8 of the positive one: what is left of z - z⁺ in float32 is rounding."""
    model = nn.Sequential(nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, -1e-4]]))
    x, rule = scale * torch.tensor([[1.0, 1e-4]]), rules.AlphaBeta(2, 1)
    expected = oracle.explain(model, (x,), oracle.each(as_oracle(rule)), 0).values[0]
    assert_close(rx.attribute(model, x, 0, method="lrp", composite=rule).values, expected, BALANCE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("value", [0.0, 1.0, 9.0], ids=["dead", "open", "saturated"])
def test_ties_of_pools(value, dtype):
    """A window of equal values has one winner, and a ReLU6 at its bound passes all relevance on."""
    model = nn.Sequential(nn.ReLU6(), nn.MaxPool2d(3, 2, 1), nn.ReLU6(), nn.Flatten(), nn.Linear(9, 3)).eval()
    model, x = settle(model, 1).to(dtype), torch.full((2, 1, 5, 5), value, dtype=dtype)
    result = _result(model, x, "epsilon")
    _assert_closes(result)
    assert int((result.values[0] != 0).sum()) == (0 if value == 0 else 9)
