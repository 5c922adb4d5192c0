"""accumulate_moments_: adds vectors, one after the other, to the count, mean and squared deviations of each row.

For every r and, in ascending order, every g (Welford 1962), each operation rounded by itself in float64:

    count += 1
    deviation = units[r, g] - mean
    mean += deviation / count
    m2 += deviation (units[r, g] - mean)                     count, mean and m2 are those of row rows[r]

so that the bits do not depend on how units are spread over calls, nor on what else is in a call.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reluxfast.ops._register import register


def _check(count: Tensor, mean: Tensor, m2: Tensor, rows: Tensor, units: Tensor) -> None:
    torch._check(units.dim() == 4, lambda: f"units must have shape (R, G, n, K), got {tuple(units.shape)}")
    torch._check(
        units.dtype in (torch.float32, torch.float64),
        lambda: f"units must be float32 or float64, got {units.dtype}; convert it with .double()",
    )
    torch._check(count.dim() == 1, lambda: f"count must have shape (N,), got {tuple(count.shape)}")
    state = (count.shape[0], units.shape[2], units.shape[3])
    for name, value in (("mean", mean), ("m2", m2)):
        torch._check(
            value.shape == state,
            lambda name=name, value=value: (
                f"{name} must have shape (N, n, K) with count's N and units' n and K, {state}, got {tuple(value.shape)}"
            ),
        )
    torch._check(
        rows.dim() == 1 and rows.shape[0] == units.shape[0],
        lambda: f"rows must have shape (R,) with units' R, ({units.shape[0]},), got {tuple(rows.shape)}",
    )
    typed = {"count": (count, torch.int64), "mean": (mean, torch.float64), "m2": (m2, torch.float64)}
    for name, (value, dtype) in {**typed, "rows": (rows, torch.int64)}.items():
        remedy = "convert it with .long()" if name == "rows" else f"make it with torch.zeros(..., dtype={dtype})"
        torch._check(
            value.dtype == dtype,
            lambda name=name, dtype=dtype, value=value, remedy=remedy: (
                f"{name} must be {str(dtype).removeprefix('torch.')}, got {value.dtype}; {remedy}"
            ),
        )
        torch._check(
            value.device == units.device,
            lambda name=name, value=value: f"{name} must be on the device of units, {units.device}, got {value.device}",
        )
    for name, (value, dtype) in typed.items():
        torch._check(
            value.is_contiguous(),
            lambda name=name, dtype=dtype, value=value: (
                f"{name} must be contiguous to be changed in place, got shape {tuple(value.shape)} with strides "
                f"{tuple(value.stride())}; make it with torch.zeros(..., dtype={dtype})"
            ),
        )


def _check_rows(rows: Tensor, count: int) -> None:
    ascending = rows.sort().values
    again = ascending[1:] == ascending[:-1]
    # One look at the device, not three.
    if not bool(((ascending < 0) | (ascending >= count)).any() | again.any()):
        return
    for row in rows[(rows < 0) | (rows >= count)][:1].tolist():
        raise RuntimeError(f"rows must lie between 0 and N - 1 = {count - 1}, got {row}")
    raise RuntimeError(
        f"rows must be distinct, got {int(ascending[1:][again][0])} more than once; give all units of a row together"
    )


def accumulate_moments_inplace_reference(count: Tensor, mean: Tensor, m2: Tensor, rows: Tensor, units: Tensor) -> None:
    """Adds the units by definition, after checking the values of rows."""
    _check(count, mean, m2, rows, units)
    _check_rows(rows, count.shape[0])
    row_count, row_mean, row_m2 = count[rows], mean[rows], m2[rows]
    for unit in units.unbind(1):
        row_count += 1
        deviation = unit - row_mean
        row_mean += deviation / row_count.view(-1, 1, 1)
        # Not addcmul, which rounds once on some machines.
        row_m2 += deviation * (unit - row_mean)
    count[rows], mean[rows], m2[rows] = row_count, row_mean, row_m2


register(
    "accumulate_moments_",
    "(Tensor(a!) count, Tensor(b!) mean, Tensor(c!) m2, Tensor rows, Tensor units) -> ()",
    accumulate_moments_inplace_reference,
    _check,
    mutates=True,
    triton=False,
)
