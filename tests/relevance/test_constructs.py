"""Every construct of the zoo under every rule, against the oracle."""

from __future__ import annotations

import pytest
import torch

from tests.oracles import gradient
from tests.oracles.rules import RULES
from tests.relevance.cases import BACKENDS, as_tuple, case
from tests.support import assert_close, assert_same_bits, assert_untouched, fingerprint
from tests.zoo import CONSTRUCTS

# float64 sums of some thousand terms in another order than torch's.
FLOAT64 = 1e-12
# The same in float32 through up to thirty layers; inputs keep every ReLU and pool winner as in float64.
FLOAT32 = 1e-5


def _judge(found, name: str, rule: str, backend: str, tolerance: float, failures: list[str]) -> None:
    construct = found.construct
    result = found.attribute(rule, backend)
    expected = gradient.attribute(construct, found.inputs, rule)
    pairs = [("output", result.output, gradient.output(construct, found.inputs))]
    values = as_tuple(result.values)
    assert isinstance(result.values, tuple) == (len(found.inputs) > 1)
    pairs += [(f"input {i}", v, e) for i, (v, e) in enumerate(zip(values, expected, strict=True))]
    for what, value, wanted in pairs:
        assert value.dtype == found.inputs[0].dtype and not value.requires_grad
        try:
            assert_close(value, wanted, tolerance, f"{name}, {rule}, {backend}, {what}")
        except AssertionError as failure:
            failures.append(str(failure))


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_float64(name):
    """All rules on all backends to 1e-12, gradient against plain autograd too; model and input stay as they are."""
    found, failures = case(name, torch.float64), []
    before, given = fingerprint(found.model), [x.clone() for x in found.inputs]
    for rule in RULES:
        for backend in BACKENDS:
            _judge(found, name, rule, backend, FLOAT64, failures)
    assert not failures, "\n".join(failures)
    if "no_autograd" not in found.construct.tags:
        model = found.construct.model(torch.float64).eval()
        plain = gradient.reverse(model, found.inputs, found.construct.target)
        for v, g in zip(as_tuple(found.attribute("gradient").values), plain, strict=True):
            assert_close(v, g, FLOAT64, f"{name}, autograd")
    assert_untouched(before, found.model)
    for x, kept in zip(found.inputs, given, strict=True):
        assert_same_bits(x, kept, "the user's input")


# A spelling is recognised on the graph, whatever the precision: one net per spelling is enough in float32.
@pytest.mark.parametrize("name", [n for n in CONSTRUCTS if not n.startswith("mlp relu:")])
def test_float32(name):
    """All rules on all backends to 1e-5 under the masks of float64."""
    found, failures = case(name, torch.float32), []
    for rule in RULES:
        for backend in BACKENDS:
            _judge(found, name, rule, backend, FLOAT32, failures)
    assert not failures, "\n".join(failures)
