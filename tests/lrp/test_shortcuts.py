"""Each shortcut that is exact under conditions only, on networks where they do not hold.

Every test says what the shortcut would give there, so that it is known to be able to fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import reluxfast as rx
from reluxfast import rules
from tests.device import FAST_BACKENDS
from tests.lrp.cases import as_oracle
from tests.oracles import lrp as oracle
from tests.oracles.lrp.rules import Affine, Epsilon, Share, combine, negative, positive, quotient
from tests.support import assert_close, relative_error
from tests.zoo.registry import settle

# ε = 0.1 keeps denominators away from 0: what remains in float32 are sums of at most a hundred terms, and quotients.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}
EPSILON = 0.1


class Net(nn.Module):
    """`before(x)`, the map that is looked at, `after`, a linear map that reads the result."""

    def __init__(self, before: Callable, after: Callable):
        super().__init__()
        self.a, self.b, self.bn, self.bn2 = _conv(2, 3), _conv(2, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.before, self.after = before, after
        channels = self.eval().before(self, torch.zeros(1, 2, 4, 4)).shape[1]
        self.under, self.side = _conv(channels, 3), _conv(channels, 3)
        with torch.no_grad():
            width = self._features(torch.zeros(1, 2, 4, 4)).shape[1]
        self.last = nn.Linear(width, 3)

    def _features(self, x: Tensor) -> Tensor:
        h = self.before(self, x)
        return self.after(self, self.under(h), h).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self._features(x))


def _conv(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)


def _model(before: Callable, after: Callable) -> tuple[nn.Module, Tensor]:
    model = settle(Net(before, after), 5).eval()
    return model, torch.randn(2, 2, 4, 4, generator=torch.Generator(torch.get_default_device()).manual_seed(4))


def _expected(model: nn.Module, x: Tensor, under, last, activation=None) -> Tensor:
    """The oracle's relevance; `under` and `last` are its rules for the two maps, the others follow epsilon."""
    plain = oracle.each(Epsilon(EPSILON))

    def composite(node: oracle.Node):
        if node.kind == "activation" and activation is not None:
            return activation
        return oracle.rules.Norm(EPSILON) if node.kind in ("add", "average", "upsample") else plain(node)

    return oracle.explain(model, (x,), composite, 1, layer_rules={"under": under, "last": last}).values[0]


def _judge(model: nn.Module, x: Tensor, under: rules.Rule, last: rules.Rule, wrong: dict, name: str) -> None:
    """`wrong`: arguments of `_expected` that give what the shortcut would give, {} where it is exact."""
    right = {"under": as_oracle(under), "last": as_oracle(last)}
    expected = _expected(model, x, **right)
    if wrong:
        assert relative_error(_expected(model, x, **{**right, **wrong}), expected) > 1e-2, "the shortcut is exact here"
    maps = dict.fromkeys(("convolution", "linear"), rules.Epsilon(EPSILON))
    passed = dict.fromkeys(("activation", "batch_norm", "shift"), rules.Pass())
    kinds = {"sum": rules.Norm(EPSILON), **maps, **passed}
    of_maps = {"under": under, "last": last}
    for dtype, tolerance in TOLERANCE.items():
        network, rows = model.to(dtype), x.to(dtype)
        for backend in FAST_BACKENDS:
            with rx.backend(backend):
                found = rx.attribute(
                    network,
                    rows,
                    1,
                    method="lrp",
                    composite=lambda layer: kinds.get(layer.kind),
                    layer_rules=of_maps,
                ).values
            assert_close(found, expected, tolerance, f"{name}, {dtype}, {backend}")


def _relu(net: Net, x: Tensor) -> Tensor:
    return F.relu(net.a(x))


def _through_relu(net: Net, y: Tensor, h: Tensor) -> Tensor:
    return F.relu(y)


FLAT, W_SQUARE = rules.Flat(EPSILON), rules.WSquare(epsilon=EPSILON)
BOX, ZERO_BIAS = rules.ZBox(-1.0, 3.0, EPSILON), rules.Epsilon(EPSILON, bias="zero")
PLAIN = rules.Epsilon(EPSILON)
# name: (what follows the map, rule of the last map, whether its output is known by a multiplier only behind a ReLU)
AFTER = {
    "ReLU": (_through_relu, PLAIN, True),
    "ReLU6": (lambda net, y, h: F.relu6(y), PLAIN, True),
    "ReLU, last without bias": (_through_relu, ZERO_BIAS, True),
    "ReLU and pool": (lambda net, y, h: F.max_pool2d(F.relu(y), 2), PLAIN, True),
    "no ReLU": (lambda net, y, h: y, PLAIN, False),
    "pool, then ReLU": (lambda net, y, h: F.relu(F.avg_pool2d(y, 2)), PLAIN, False),
    "addition": (lambda net, y, h: F.relu(y + h), PLAIN, False),
    "addition of two maps": (lambda net, y, h: F.relu(y + net.side(h)), PLAIN, False),
    "addition in place": (lambda net, y, h: F.relu(y.add_(h)), PLAIN, False),
    "ReLU on one path only": (lambda net, y, h: torch.cat([F.relu(y), y], 1), PLAIN, False),
    "flat": (_through_relu, FLAT, False),
    "w square": (_through_relu, W_SQUARE, False),
    "z box": (_through_relu, BOX, False),
    "ReLU6, flat": (lambda net, y, h: F.relu6(y), FLAT, False),
    "flat behind a pool": (lambda net, y, h: F.max_pool2d(F.relu(y), (1, 2)), FLAT, False),
    "flat behind a mean": (lambda net, y, h: F.relu(y).mean((2, 3)), FLAT, True),
    "flat behind a concatenation": (lambda net, y, h: torch.cat([F.relu(y), h], 1), FLAT, False),
    "flat on one path of two": (
        lambda net, y, h: torch.cat([F.relu(y).flatten(1), net.side(F.relu(y)).flatten(1)], 1),
        FLAT,
        False,
    ),
    "batch norm behind the ReLU": (lambda net, y, h: net.bn2(F.relu(y)), PLAIN, False),
    "a constant behind the ReLU": (lambda net, y, h: F.relu(y) + 0.5, PLAIN, False),
}


@pytest.mark.parametrize("name", AFTER)
def test_one_branch_of_gamma(name):
    """Only z > 0 counts where no relevance arrives below; the input is a ReLU's, so that x⁻ plays no part."""
    after, last, exact = AFTER[name]
    one_branch = oracle.rules.Gamma(0.7, EPSILON, form="positive_input")
    model, x = _model(_relu, after)
    _judge(model, x, rules.Gamma(0.7, epsilon=EPSILON), last, {} if exact else {"under": one_branch}, name)


# Consumers and carriers that hand relevance to values that are 0.
HANDED = [name for name, (_, last, exact) in AFTER.items() if last in (FLAT, W_SQUARE, BOX) and not exact]
HANDED += ["batch norm behind the ReLU", "a constant behind the ReLU"]
UNDER = [
    PLAIN,
    rules.Zero(),
    rules.ZPlus(epsilon=EPSILON),
    rules.AlphaBeta(2, 1, epsilon=EPSILON),
    rules.SignAlpha(0.5, EPSILON),
    W_SQUARE,
]


@pytest.mark.parametrize("under", UNDER, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("name", HANDED)
def test_a_multiplier_knows_no_relevance_of_zeros(name, under):
    """What a shut ReLU is handed passes on to the map behind it; a multiplier of 0 would lose it."""
    after, last, _ = AFTER[name]
    lost = {"activation": oracle.rules.Gradient()}
    model, x = _model(_relu, after)
    _judge(model, x, under, last, lost, name)


@dataclass(frozen=True)
class Halves(oracle.rules.AlphaBeta):
    """α-β as if no input were negative."""

    def share(self, layer: Affine, r: Tensor) -> Share:
        w, b = layer.matrix, layer.bias
        parts = []
        for factor, half in ((self.alpha, positive), (-self.beta, negative)):
            as_it_is = Affine(half(w), self.mode(b, half(b)), layer.ones, layer.x, layer.shape)
            parts.append((factor, Epsilon(self.epsilon).share(as_it_is, r)))
        return combine(*parts)


# name: (input of the map, whether no input of the network makes it negative)
BEFORE = {
    "ReLU": (_relu, True),
    "ReLU6": (lambda net, x: F.relu6(net.a(x)), True),
    "pool of a ReLU": (lambda net, x: F.max_pool2d(F.relu(net.a(x)), 3, 1, 1), True),
    "average of a ReLU": (lambda net, x: F.avg_pool2d(F.relu(net.a(x)), 3, 1, 1), True),
    "concatenated ReLUs": (lambda net, x: torch.cat([F.relu(net.a(x)), F.relu(net.b(x))], 1), True),
    "dropout of a ReLU": (lambda net, x: F.dropout(F.relu(net.a(x)), 0.5, False), True),
    "sum of ReLUs": (lambda net, x: F.relu(net.a(x)) + F.relu(net.b(x)), True),
    "zero padding": (lambda net, x: F.pad(F.relu(net.a(x)), (1, 0, 0, 1)), True),
    "enlarged ReLU": (lambda net, x: F.interpolate(F.relu(net.a(x)), scale_factor=2.0), True),
    "the image": (lambda net, x: x, False),
    "average of the image": (lambda net, x: F.avg_pool2d(x, 3, 1, 1), False),
    "pool of the image": (lambda net, x: F.max_pool2d(x, 2), False),
    "a map": (lambda net, x: net.a(x), False),
    "addition to a ReLU": (lambda net, x: F.relu(net.a(x)) + net.b(x), False),
    "addition in place": (lambda net, x: F.relu(net.a(x)).add_(net.b(x)), False),
    "difference of ReLUs": (lambda net, x: F.relu(net.a(x)) - F.relu(net.b(x)), False),
    "scaled difference": (lambda net, x: torch.add(F.relu(net.a(x)), F.relu(net.b(x)), alpha=-2.0), False),
    "negated ReLU": (lambda net, x: -F.relu(net.a(x)), False),
    "ReLU by a negative number": (lambda net, x: F.relu(net.a(x)) * -0.5, False),
    "ReLU less a constant": (lambda net, x: F.relu(net.a(x)) - 1.0, False),
    "batch norm of a ReLU": (lambda net, x: net.bn(F.relu(net.a(x))), False),
    "concatenation with the image": (lambda net, x: torch.cat([F.relu(net.a(x)), x], 1), False),
    "padding by a negative number": (lambda net, x: F.pad(F.relu(net.a(x)), (1, 1, 1, 1), value=-1.0), False),
    "cubic upsampling of a ReLU": (
        lambda net, x: F.interpolate(F.relu(net.a(x)), scale_factor=2.0, mode="bicubic"),
        False,
    ),
}
SIGNED = {
    "z plus": (rules.ZPlus(epsilon=EPSILON), oracle.rules.ZPlus(EPSILON, form="positive_input")),
    "alpha beta": (rules.AlphaBeta(2, 1, epsilon=EPSILON), Halves(2.0, 1.0, EPSILON)),
    "gamma": (rules.Gamma(2.0, epsilon=EPSILON), oracle.rules.Gamma(2.0, EPSILON, form="positive_input")),
}


@pytest.mark.parametrize("rule", SIGNED)
@pytest.mark.parametrize("name", BEFORE)
def test_terms_of_negative_inputs(name, rule):
    """They may be dropped only where the graph proves that there is none."""
    before, exact = BEFORE[name]
    under, dropped = SIGNED[rule]
    model, x = _model(before, _through_relu)
    _judge(model, x, under, PLAIN, {} if exact else {"under": dropped}, name)


@dataclass(frozen=True)
class Difference(oracle.rules.AlphaBeta):
    """α-β with the second denominator taken as z less the first, whatever the bias is."""

    def share(self, layer: Affine, r: Tensor) -> Share:
        w, b, x = layer.matrix, layer.bias, layer.x
        first = positive(w) @ x + self.mode(b, positive(b))
        q, _ = quotient(r, first, self.epsilon)
        q_negative, _ = quotient(r, w @ x + b - first, self.epsilon)
        inputs = self.alpha * x * (positive(w).T @ q) - self.beta * x * (negative(w).T @ q_negative)
        return Share(inputs, 0.0, 0.0)


@dataclass(frozen=True)
class OtherBranch(oracle.rules.Gamma):
    """γ with the denominator of z < 0 taken from z and the other one, whatever the bias is."""

    def share(self, layer: Affine, r: Tensor) -> Share:
        w, b, x, g = layer.matrix, layer.bias, layer.x, self.gamma
        up, down = w + g * positive(w), w + g * negative(w)
        z, above = w @ x + b, up @ x + self.mode(b, b + g * positive(b))
        nothing = torch.zeros_like(r)
        q, _ = quotient(torch.where(z > 0, r, nothing), above, self.epsilon)
        q_below, _ = quotient(torch.where(z < 0, r, nothing), (2 + g) * z - above, self.epsilon)
        return Share(x * (up.T @ q) + x * (down.T @ q_below), 0.0, 0.0)


@pytest.mark.parametrize("bias", rules.BIASES)
@pytest.mark.parametrize("rule", ["alpha beta", "gamma"])
def test_a_denominator_from_another(rule, bias):
    """z⁻ = z - z⁺, which float32 uses, holds where each half has its own half of the bias."""
    if rule == "gamma":
        under, shortcut = rules.Gamma(0.7, epsilon=EPSILON, bias=bias), OtherBranch(0.7, EPSILON, bias)
    else:
        under, shortcut = rules.AlphaBeta(2, 1, epsilon=EPSILON, bias=bias), Difference(2.0, 1.0, EPSILON, bias)
    model, x = _model(_relu, AFTER["addition"][0])
    _judge(model, x, under, PLAIN, {} if bias == "transformed" else {"under": shortcut}, f"{rule}, bias {bias}")
    if bias == "transformed":
        right = _expected(model, x, as_oracle(under), as_oracle(PLAIN))
        assert_close(_expected(model, x, shortcut, as_oracle(PLAIN)), right, 1e-11, "the shortcut's own formula")
