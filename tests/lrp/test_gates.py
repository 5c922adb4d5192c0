"""Gates kept in bytes or bits: how far they are off, and what they save."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import rules
from reluxfast.relevance.lrp.gates import Bits, GatedStep
from tests.relevance.cases import case
from tests.support import assert_close


def _distance(a, b):
    return float((a - b).norm() / b.norm())


def _gates(explainer, x, **options):
    """The gates of every step, as a walk keeps them."""
    tapes = []
    engine = explainer.captured.engine()
    engine.on_tape = tapes.append
    try:
        explainer.attribute(x, 0, "lrp", **options)
    finally:
        engine.on_tape = None
    steps = [s for part, _ in tapes[0].parts for s in part.steps if isinstance(s, GatedStep)]
    frames = [f for _, frames in tapes[0].parts for f in frames]
    return {s.name: next(f.saved[s.gates_key][0] for f in frames if s.gates_key in f.saved) for s in steps}, tapes[0]


@pytest.mark.parametrize(("composite", "most"), [("epsilon_plus", 1e-2), ("epsilon_alpha2_beta1", 1e-2)])
def test_bytes(composite, most, backend):
    found = case("vgg", torch.float32)
    with rx.backend(backend):
        full = found.explainer.attribute(found.x, 0, "lrp", composite=composite).values
        small = found.explainer.attribute(found.x, 0, "lrp", composite=composite, gates="uint8").values
    assert 0 < _distance(small, full) < most


def test_bits_are_the_limit_of_a_small_epsilon(backend):
    found = case("vgg", torch.float64)
    with rx.backend(backend):
        for epsilon, most in ((1e-6, 1e-3), (1e-10, 1e-7)):
            composite = rx.composite("epsilon", epsilon=epsilon)
            full = found.explainer.attribute(found.x, 0, "lrp", composite=composite).values
            masked = found.explainer.attribute(found.x, 0, "lrp", composite=composite, gates="mask").values
            assert 0 < _distance(masked, full) < most


def test_gates_that_leave_the_unit_interval_stay_full():
    """Before a sum, of the negative part, and without biases in the denominator."""
    found = case("resnet18", torch.float32)
    gates, _ = _gates(found.explainer, found.x, composite="epsilon_alpha2_beta1", gates="uint8")
    kinds = {g.dtype for kept in gates.values() for g in kept if isinstance(g, torch.Tensor)}
    assert kinds == {torch.float32, torch.uint8}
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    explainer, x = rx.Explainer(model, torch.rand(1, 1, 4, 4)), torch.rand(1, 1, 4, 4)
    for rule, dtype in (
        (rules.ZPlus(), torch.uint8),
        (rules.ZPlus(bias="zero"), torch.float32),
        (rules.Gamma(), torch.uint8),
        (rules.Epsilon(), torch.uint8),
        (rules.AlphaBeta(2, 1), torch.float32),
    ):
        gates, _ = _gates(explainer, x, composite=rule, gates="uint8")
        first = next(iter(gates.values()))
        assert {g.dtype for g in first} == {dtype}, rule


def test_lrp_0_keeps_bits_and_loses_nothing():
    found = case("vgg", torch.float64)
    gates, tape = _gates(found.explainer, found.x, composite=rules.Zero())
    assert any(isinstance(g, Bits) for kept in gates.values() for g in kept)
    assert all(g is None or isinstance(g, Bits) for kept in gates.values() for g in kept)
    plain = found.explainer.attribute(found.x, 0, "input_x_gradient").values
    assert_close(found.explainer.attribute(found.x, 0, "lrp", composite=rules.Zero()).values, plain, 1e-12)
    _, full = _gates(found.explainer, found.x, composite=rules.Epsilon())
    assert tape.nbytes < full.nbytes / 8


def test_smaller_gates_make_a_smaller_tape():
    found = case("vgg", torch.float32)
    sizes = [
        _gates(found.explainer, found.x, composite="epsilon", gates=g)[1].nbytes for g in ("full", "uint8", "mask")
    ]
    assert sizes[0] > 2 * sizes[1] > 4 * sizes[2]


def test_unknown_storage():
    found = case("vgg")
    with pytest.raises(rx.InvalidInput, match="gates must be one of full, uint8, mask"):
        found.explainer.attribute(found.x, 0, "lrp", gates="bits")
