"""write_coalitions: rows of a batch in which the absent players of a coalition have their values from a background.

    out[m, e] = x[row, e]              where ranks[order, labels[e]] < below
    out[m, e] = background[base, e]    elsewhere              (row, base, order, below) = jobs[m]

`ranks` holds the position of each player in an order, so that `below` = s is the coalition of the first s of them; a
mask is 0 for present and 1 for absent players, and `below` = 1. Elements are moved bit for bit; into half types they
are rounded once. A row is d elements in any order, the same one for all tensors: an image may be channels-last.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reluxfast.ops._register import check_dtype, register

_HALF_TYPES = (torch.float16, torch.bfloat16)


def _check_shape(name: str, value: Tensor, right: bool, shape: str) -> None:
    torch._check(right, lambda: f"{name} must have shape {shape}, got {tuple(value.shape)}")


def _check(out: Tensor, x: Tensor, background: Tensor, labels: Tensor, ranks: Tensor, jobs: Tensor) -> None:
    check_dtype("x", x)
    _check_shape("x", x, x.dim() == 2, "(N, d)")
    d = x.shape[1]
    _check_shape(
        "background", background, background.dim() == 2 and background.shape[1] == d, f"(B, d) with x's d, {d}"
    )
    _check_shape("labels", labels, labels.dim() == 1 and labels.shape[0] == d, f"(d,) with x's d, {d}")
    _check_shape("ranks", ranks, ranks.dim() == 2, "(P, n)")
    _check_shape("jobs", jobs, jobs.dim() == 2 and jobs.shape[1] == 4, "(M, 4)")
    count = jobs.shape[0]
    _check_shape(
        "out",
        out,
        out.dim() == 2 and out.shape[0] == count and out.shape[1] == d,
        f"(M, d) with jobs' M and x's d, ({count}, {d})",
    )
    torch._check(
        background.dtype == x.dtype, lambda: f"background must have the dtype of x, {x.dtype}, got {background.dtype}"
    )
    torch._check(
        out.dtype == x.dtype or (x.dtype == torch.float32 and out.dtype in _HALF_TYPES),
        lambda: (
            f"out must have the dtype of x, {x.dtype}, or be float16 or bfloat16 where x is float32, got {out.dtype}; "
            "convert x and background first"
        ),
    )
    for name, value in (("labels", labels), ("ranks", ranks), ("jobs", jobs)):
        torch._check(
            value.dtype == torch.int32,
            lambda name=name, value=value: f"{name} must be int32, got {value.dtype}; convert it with .int()",
        )
    tensors = {"out": out, "background": background, "labels": labels, "ranks": ranks, "jobs": jobs}
    for name, value in tensors.items():
        torch._check(
            value.device == x.device,
            lambda name=name, value=value: f"{name} must be on the device of x, {x.device}, got {value.device}",
        )
    for name, value in {"x": x, **tensors}.items():
        remedy = "make it with torch.empty(M, d)" if name == "out" else f"call {name}.contiguous() first"
        torch._check(
            value.is_contiguous(),
            lambda name=name, value=value, remedy=remedy: (
                f"{name} must be contiguous, got shape {tuple(value.shape)} with strides {tuple(value.stride())}; "
                f"{remedy}"
            ),
        )
    torch._check(
        count == 0 or d == 0 or (x.shape[0] > 0 and background.shape[0] > 0 and ranks.numel() > 0),
        lambda: (
            "x, background and ranks must not be empty where out is not, got shapes "
            f"{tuple(x.shape)}, {tuple(background.shape)} and {tuple(ranks.shape)}"
        ),
    )


def _check_range(what: str, values: Tensor, size: str, count: int) -> None:
    low, high = int(values.min()), int(values.max())
    torch._check(
        low >= 0 and high < count,
        lambda: f"{what} must lie between 0 and {size} - 1 = {count - 1}, got {low if low < 0 else high}",
    )


def write_coalitions_inplace_reference(
    out: Tensor, x: Tensor, background: Tensor, labels: Tensor, ranks: Tensor, jobs: Tensor
) -> None:
    """Writes every element of out by definition, after checking the values of indices."""
    _check(out, x, background, labels, ranks, jobs)
    if out.numel() == 0:
        return
    row, base, order, below = jobs.long().unbind(1)
    _check_range("labels", labels, "n", ranks.shape[1])
    _check_range("rows in jobs", row, "N", x.shape[0])
    _check_range("bases in jobs", base, "B", background.shape[0])
    _check_range("orders in jobs", order, "P", ranks.shape[0])
    present = ranks[order] < below[:, None]
    out.copy_(torch.where(present[:, labels.long()], x[row], background[base]))


register(
    "write_coalitions_",
    "(Tensor(a!) out, Tensor x, Tensor background, Tensor labels, Tensor ranks, Tensor jobs) -> ()",
    write_coalitions_inplace_reference,
    _check,
    True,
)
