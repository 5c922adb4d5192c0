"""Whether a network treats every row by itself: a row must give the same values at another place among other rows."""

from __future__ import annotations

from collections.abc import Callable

import torch

from reluxfast.errors import UnsupportedNode
from reluxfast.relevance.frame import Frame
from reluxfast.relevance.maps import channels_last
from reluxfast.relevance.plan import Plan

# Rounding between two batch sizes stays far below this share of a value's scale.
_ROUNDING = 1e-3


Reference = Callable[[list[torch.Tensor]], torch.Tensor]


def check_rows(
    plan: Plan,
    rows: list[tuple[tuple[int, ...], torch.dtype, torch.device]],
    reference: Reference | None = None,
) -> None:
    """Refuses a network whose rows influence each other, or whose capture computes something else than the model.

    Args:
        plan: what to run, on a few made-up rows.
        rows: row shape, dtype and device of each input.
        reference: the model itself: inputs -> output; None if there is none to compare with.

    Raises:
        UnsupportedNode: naming the first operation that mixes rows.
    """
    few, more = (plan.graph.batch,) * 2 if plan.graph.batch else (2, 3)
    if few < 2:
        return
    generator = torch.Generator().manual_seed(0)
    one, other = {}, {}
    for name, (shape, dtype, device) in zip(plan.graph.inputs, rows, strict=True):
        x, y = (_made_up((count, *shape), dtype, generator) for count in (few, more))
        y[-1] = x[0]
        one[name], other[name] = (channels_last(v.to(device)) for v in (x, y))
    expected = (
        reference([v.clone(memory_format=torch.contiguous_format) for v in one.values()])
        if reference is not None
        else None
    )
    frames = Frame(few, values=one), Frame(more, values=other)
    last_read = plan.last_reads()
    for i, step in enumerate(plan.steps):
        a, b = (step.forward(frame) for frame in frames)
        if ".empty" in step.node.op or ".new_empty" in step.node.op:
            a.zero_(), b.zero_()  # memory yet to be written is no difference
        dim = step.node.batch_dim
        if isinstance(a, torch.Tensor) and a.is_floating_point() and dim is not None:
            if _differ(a.select(dim, 0), b.select(dim, -1)):
                raise UnsupportedNode(
                    step.node.op,
                    "the operation mixes the rows of the batch (or uses their number or position), so a row has no "
                    "attribution of its own",
                    step.node.module_path,
                    step.node.source,
                    remedy="Keep rows apart (batch_first=True for attention), or give the whole set as one row",
                )
        for frame, value in zip(frames, (a, b), strict=True):
            frame.values[step.name] = value
            for name in [n for n in frame.values if last_read.get(n, -1) <= i]:
                del frame.values[name]
    found = frames[0].values[plan.output]
    if expected is not None and (found.shape != expected.shape or _differ(expected, found)):
        raise UnsupportedNode(
            "capture",
            "the captured graph does not compute what the model computes, so the forward pass behaves differently "
            "while it is traced",
            remedy="Look for branches on tensor types, flags or torch.compiler.is_compiling(), and for written views",
        )


def _made_up(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=dtype, device="cpu")
    # Integers are indices or flags: 0 and 1 are in range.
    return torch.randint(0, 2, shape, generator=generator, device="cpu").to(dtype)


def _differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    if torch.equal(a, b):
        return False
    a, b = a.double(), b.double()
    if not torch.equal(a.isfinite(), b.isfinite()):
        return True
    gap = (a - b).nan_to_num(0.0, 0.0, 0.0).abs().max()
    return bool(gap > _ROUNDING * a.nan_to_num(0.0, 0.0, 0.0).abs().max())
