"""Whether a network treats every row by itself: the same row beside two different others must give the same values."""

from __future__ import annotations

import torch

from reluxfast.errors import UnsupportedNode
from reluxfast.relevance.frame import Frame
from reluxfast.relevance.maps import channels_last
from reluxfast.relevance.plan import Plan

# Kernels repeat their bits for one batch shape; where some do not, rounding stays far below this share of the scale.
_ROUNDING = 1e-4


def check_rows(plan: Plan, rows: list[tuple[tuple[int, ...], torch.device]], dtype: torch.dtype) -> None:
    """Refuses a network whose rows influence each other.

    Args:
        plan: what to run, on a few made-up rows.
        rows: row shape and device of each input.
        dtype: of the inputs.

    Raises:
        UnsupportedNode: naming the first operation that mixes rows.
    """
    batch = plan.graph.batch or 2
    if batch < 2:
        return
    generator = torch.Generator().manual_seed(0)
    one, other = {}, {}
    for name, (shape, device) in zip(plan.graph.inputs, rows, strict=True):
        x = torch.randn((batch, *shape), generator=generator, dtype=dtype, device="cpu")
        y = torch.randn((batch, *shape), generator=generator, dtype=dtype, device="cpu")
        y[0] = x[0]
        one[name], other[name] = (_laid_out(v.to(device)) for v in (x, y))
    frames = Frame(batch, values=one), Frame(batch, values=other)
    last_read = plan.last_reads()
    for i, step in enumerate(plan.steps):
        a, b = (step.forward(frame) for frame in frames)
        if isinstance(a, torch.Tensor) and step.node.batch_dim is not None:
            dim = step.node.batch_dim
            if _differ(a.select(dim, 0), b.select(dim, 0)):
                raise UnsupportedNode(
                    step.node.op,
                    "the operation mixes the rows of the batch, so a row has no attribution of its own",
                    step.node.module_path,
                    step.node.source,
                    remedy="Keep rows apart (batch_first=True for attention), or give the whole set as one row",
                )
        for frame, value in zip(frames, (a, b), strict=True):
            frame.values[step.name] = value
            for name in [n for n in frame.values if last_read.get(n, -1) <= i]:
                del frame.values[name]


def _laid_out(x: torch.Tensor) -> torch.Tensor:
    return channels_last(x) if x.dim() in (4, 5) else x


def _differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    if torch.equal(a, b) or not a.numel() or not a.is_floating_point():
        return not a.is_floating_point() and not torch.equal(a, b)
    a, b = a.double(), b.double()
    if not torch.equal(a.isfinite(), b.isfinite()):
        return True
    gap = (a - b).nan_to_num(0.0, 0.0, 0.0).abs().max()
    return bool(gap > _ROUNDING * a.nan_to_num(0.0, 0.0, 0.0).abs().max())
