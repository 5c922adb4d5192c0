"""Random networks under random rules against the oracle's explicit matrices, in float64 and in float32."""

from __future__ import annotations

import copy

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import reluxfast as rx
from tests.device import FAST_BACKENDS
from tests.lrp.cases import as_oracle
from tests.lrp.random_networks import CHOICES, DESCRIPTIONS, Choice, network, rules_of
from tests.oracles import lrp as oracle
from tests.oracles.inputs import Margins
from tests.support import assert_close, relative_error

TARGET = 1
# Quotients by almost empty denominators make digits of their own; a thousand other networks stay below 1e-11.
FLOAT64 = 1e-9
UNIT = 2.0**-24  # of float32
# Decisions at least this far from a tie, relative to their layer's scale, are the same in float32.
MARGIN = 1e-5
examples = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def _expected(tapes: oracle.Recording, model: nn.Module, choice: Choice, **options) -> tuple[Tensor, ...]:
    by_kind = {"add": choice.sums, "average": choice.sums, "batch_norm": choice.norms, "activation": choice.activations}

    def composite(node: oracle.Node) -> oracle.rules.Rule | None:
        return oracle.rules.Winner() if node.kind == "max_pool" else as_oracle(by_kind[node.kind])

    of_maps = {path: as_oracle(rule) for path, rule in rules_of(model, choice).items()}
    return tapes.explain(composite, TARGET, layer_rules=of_maps, **options).values


def _found(model: nn.Module, x: tuple[Tensor, ...], choice: Choice, backend: str) -> tuple[Tensor, ...]:
    by_kind = {"sum": choice.sums, "batch_norm": choice.norms, "activation": choice.activations}
    with rx.backend(backend):
        values = rx.attribute(
            model,
            x if len(x) > 1 else x[0],
            TARGET,
            method="lrp",
            composite=lambda layer: by_kind.get(layer.kind),
            layer_rules=rules_of(model, choice),
        ).values
    return values if len(x) > 1 else (values,)


@examples
@given(DESCRIPTIONS, st.tuples(CHOICES, CHOICES))
def test_float64(description, choices):
    model, x = network(description)
    model, x = model.double(), tuple(v.double() for v in x)
    tapes = oracle.recording(model, x)
    for choice in choices:
        expected = _expected(tapes, model, choice)
        for backend in FAST_BACKENDS:
            for i, (v, e) in enumerate(zip(_found(model, x, choice, backend), expected, strict=True)):
                assert_close(v, e, FLOAT64, f"input {i}, {backend}")


def _decided(tapes: oracle.Recording, model: nn.Module, x: tuple[Tensor, ...]) -> bool:
    """Whether no sign and no winner of a pool is close, so that float32 explains the same linear maps."""
    signs = ("convolution", "linear", "batch_norm", "add")
    for node in (node for tape in tapes.tapes for node in tape.nodes if node.kind in signs):
        size = node.output.abs()
        if size.any() and size[size > 0].min() < MARGIN * size.max():
            return False
    with Margins() as margins, torch.no_grad():
        copy.deepcopy(model).double()(*(v.double() for v in x))
    return margins.smallest >= MARGIN


def _condition(tapes: oracle.Recording, model: nn.Module, choice: Choice, expected: tuple[Tensor, ...]) -> float:
    """How far the explanation moves when every denominator is off by a rounding of its layer's scale, the logit too."""
    exact = oracle.rules.quotient
    generator = torch.Generator(torch.get_default_device()).manual_seed(0)

    def off(v: Tensor) -> Tensor:
        scale = v.abs().max() if v.numel() else 0.0
        return v + UNIT * scale * torch.randn(v.shape, generator=generator, dtype=v.dtype)

    oracle.rules.quotient = lambda r, denominator, epsilon: exact(r, off(denominator), epsilon)
    try:
        moved = [_expected(tapes, model, choice) for _ in range(3)]
    finally:
        oracle.rules.quotient = exact
    of_the_logit = max(float(UNIT * t.output.abs().max() / t.output[0, TARGET].abs()) for t in tapes.tapes)
    return of_the_logit + max(relative_error(v, e) for values in moved for v, e in zip(values, expected, strict=True))


@examples
@given(DESCRIPTIONS, st.tuples(CHOICES, CHOICES))
def test_float32(description, choices):
    """Shortcuts that only float32 takes are formulas of their own; their rounding is what the condition allows."""
    model, x = network(description)
    tapes = oracle.recording(model, x)
    assume(_decided(tapes, model, x))
    for choice in choices:
        expected = _expected(tapes, model, choice)
        tolerance = 1e-5 + 32 * _condition(tapes, model, choice, expected)
        if tolerance > 1e-2:
            continue
        for backend in FAST_BACKENDS:
            for i, (v, e) in enumerate(zip(_found(model, x, choice, backend), expected, strict=True)):
                assert v.dtype == torch.float32
                assert_close(v, e, tolerance, f"input {i}, {backend}")
