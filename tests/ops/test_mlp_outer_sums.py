"""mlp_outer_sums against its statement in numpy, and the promises of its kernels."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
import torch

from reluxfast import errors, ops
from tests.device import BACKENDS, KIND
from tests.ops.outer_sums_statement import (
    SHAPES,
    Shape,
    assert_close,
    assert_exact,
    assert_independent,
    call,
    mlp_outer_sums,
    tensors,
)
from tests.ops.statement import array
from tests.ops.test_mlp_chains import rows_alone as rows_alone

# Those that have a kernel for it.
ANSWERS = [name for name in BACKENDS if name in ("reference", "cpp", "triton")]
DTYPES = [torch.float32, torch.float64]
SMALL = Shape(2, 3, 4, 6, (5, 3))


def _takes(name: str, shape: Shape, dtype: torch.dtype) -> bool:
    """Triton's kernel is for float32; many rows take long in its interpreter."""
    small = shape.groups * shape.highs * shape.lows <= 300 or KIND != "cpu"
    return name != "triton" or (dtype == torch.float32 and small)


CALLS = [(n, s, d) for n, s, d in product(ANSWERS, SHAPES, DTYPES) if _takes(n, s, d)]


@pytest.mark.parametrize(("name", "shape", "dtype"), CALLS, ids=str)
def test_values(name, shape, dtype):
    with ops.backend(name):
        assert_exact(shape, dtype)
        assert_close(shape, dtype)


@pytest.mark.parametrize("name", ANSWERS)
def test_strides_of_every_kind(name):
    given = call(SMALL, 4, exact=True)

    def strided(x):
        if isinstance(x, list):
            return [strided(one) for one in x]
        return torch.stack([x, torch.full_like(x, 99)], dim=-1)[..., 0]

    arguments = strided(tensors(given, torch.float32))
    assert not any(x.is_contiguous() for x in arguments[:2])
    with ops.backend(name):
        np.testing.assert_array_equal(array(ops.mlp_outer_sums(*arguments)), mlp_outer_sums(*given))


@pytest.mark.parametrize("name", ANSWERS)
def test_nan_stays(name):
    high, low, weights, biases = tensors(call(SMALL, 5, exact=True), torch.float32)
    low[0, 1, 2] = torch.nan
    with ops.backend(name):
        y = ops.mlp_outer_sums(high, low, [w.fill_(1) for w in weights], biases)
    assert y[0, :, 1].isnan().all() and y[1].isfinite().all() and y[0, :, [0, 2, 3]].isfinite().all()


@pytest.mark.parametrize(("highs", "lows"), [(0, 4), (3, 0), (0, 0)])
@pytest.mark.parametrize("name", ANSWERS)
def test_sizes_of_zero(name, highs, lows):
    high, low, *layers = tensors(call(SMALL, 6, exact=True), torch.float32)
    with ops.backend(name):
        assert ops.mlp_outer_sums(high[:, :highs], low[:, :lows], *layers).shape == (2, highs, lows, 3)
        assert ops.mlp_outer_sums(high[:0], low[:0], *layers).shape == (0, 3, 4, 3)


@pytest.mark.usefixtures("rows_alone")
@pytest.mark.parametrize(("name", "shape", "dtype"), [c for c in CALLS if c[0] != "reference"], ids=str)
def test_same_bits_alone_and_in_company(name, shape, dtype):
    assert_independent(name, shape, dtype)


# The layers' own checks are those of mlp_chains.
REFUSED = [
    (lambda h, low, *n: (h.half(), low, *n), "high must be float32 or float64, got torch.float16; convert it with"),
    (lambda h, low, *n: (h[0], low, *n), "high must have shape (M, P, H), H at least 1, got (3, 6)"),
    (lambda h, low, *n: (h[..., :0], low, *n), "high must have shape (M, P, H), H at least 1, got (2, 3, 0)"),
    (lambda h, low, *n: (h, low.double(), *n), "low must have the dtype of high, torch.float32, got torch.float64"),
    (lambda h, low, *n: (h, low[:1], *n), "low must have shape (M, Q, H), M and H those of high, 2 and 6, got (1"),
    (lambda h, low, *n: (h, low[..., 1:], *n), "low must have shape (M, Q, H), M and H those of high, 2 and 6, got"),
    (lambda h, low, *n: (h, low[0], *n), "low must have shape (M, Q, H), M and H those of high, 2 and 6, got (4, 6)"),
    (lambda h, low, w, b: (h, low, [], b), "weights must hold 1 to 5 tensors, got 0"),
    (lambda h, low, w, b: (h, low, w * 3, b), "weights must hold 1 to 5 tensors, got 6"),
    (lambda h, low, w, b: (h, low, w[1:], b[1:]), "weights[0] must have shape (H, 6), H at least 1, got (3, 5)"),
    (
        lambda h, low, w, b: (h, low, w, [b[0].double(), b[1]]),
        "biases[0] must have the dtype of high, torch.float32, got",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_refuses(change, message):
    said = []
    for name in ANSWERS:
        with ops.backend(name), pytest.raises(RuntimeError, match=re.escape(message)) as raised:
            ops.mlp_outer_sums(*change(*tensors(call(SMALL, 7, exact=True), torch.float32)))
        said.append(str(raised.value))
    # torch puts the place in the source before a compiled kernel's message.
    assert all(words.endswith(said[0]) for words in said)


def test_a_derivative_is_refused():
    high, *rest = tensors(call(SMALL, 8, exact=True), torch.float32)
    with pytest.raises(RuntimeError, match=r"mlp_outer_sums has no derivative.*torch\.no_grad"):
        ops.mlp_outer_sums(high.requires_grad_(), *rest).sum().backward()


@pytest.mark.skipif("triton" not in ANSWERS, reason="Triton has no kernels for tensors of this device")
@pytest.mark.parametrize(
    ("shape", "dtype", "reason"),
    [
        (SMALL, torch.float64, "its kernel for mlp_outer_sums computes in float32, got torch.float64"),
        (Shape(1, 1, 1, 5, (257, 2)), torch.float32, "takes up to 256 units in each layer behind the first, got 257"),
    ],
    ids=str,
)
def test_triton_refuses_what_it_does_not_take(shape, dtype, reason):
    with ops.backend("triton"), pytest.raises(errors.BackendUnavailable, match=re.escape(reason)):
        ops.mlp_outer_sums(*tensors(call(shape, 1, exact=True), dtype))
