"""Gates: what a rule's step keeps on the way forward, and multiplies its signal by on the way back.

A gate is kept in full, as a byte where it provably lies in [0, 1], or as the bits of the ReLU where it is 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from reluxfast import ops
from reluxfast.ops.layout import is_channels_last
from reluxfast.relevance.frame import Frame, may_write
from reluxfast.relevance.lrp.signals import MULTIPLIER, RelevanceStep
from reluxfast.relevance.steps import in_order

# "full": exact to rounding. "uint8": to 1/510, where a gate lies in [0, 1]. "mask": moreover a / (a + ε) becomes 1.
STORAGES = ("full", "uint8", "mask")
_EVERYWHERE = (-math.inf, math.inf)
_RELU = (0.0, math.inf)


@dataclass(frozen=True)
class Bits:
    """A gate of zeros and ones, as `ops.relu_pack` packs it.

    Attributes:
        mask: the bits.
        period: number of elements.
        last: whether their order is channels-last.
    """

    mask: torch.Tensor
    period: int
    last: bool


Gate = torch.Tensor | Bits | None


def applied(gate: Gate, g: torch.Tensor, skip: torch.Tensor | None, owned: bool) -> tuple[torch.Tensor, bool]:
    """gate ⊙ (g + skip), and whether it is memory of its own; into g if that is `owned`. None is a gate of ones."""
    if gate is None:
        if skip is None:
            return g, owned
        return (g.add_(skip) if owned and may_write() else g + skip), True
    g, owned = in_order(g, gate.last if isinstance(gate, Bits) else is_channels_last(gate), owned)
    if isinstance(gate, Bits):
        if owned and may_write():
            ops.gate_(g, gate.mask, skip, 1, gate.period)
        else:
            g = ops.gate(g, gate.mask, skip, 1, gate.period)
    elif owned and may_write():
        ops.soft_gate_(g, gate, skip)
    else:
        g = ops.soft_gate(g, gate, skip)
    return g, True


@dataclass(frozen=True)
class Denominator:
    """D of one gate or two: f z + f' d.

    Attributes:
        d: like z; None: D is f z.
        factors: f, f' of each gate.
        branches: of each gate: 0 all, 1 where y > 0, 2 where y < 0.
        epsilon: of the stabiliser; None: of LRP-0, whose gate is v / z.
    """

    d: torch.Tensor | None = None
    factors: Sequence[float] = (1.0, 0.0)
    branches: Sequence[int] = (0,)
    epsilon: float | None = 1e-6

    def is_sum(self, residual: torch.Tensor | None) -> bool:
        """Whether D is z, plus the residual if there is one, for one gate alone."""
        wanted = (1.0, 0.0 if residual is None else 1.0)
        return self.d is residual and tuple(self.factors) == wanted and tuple(self.branches) == (0,)


@dataclass
class GatedStep(RelevanceStep):
    """A step with gates, and with the ReLU behind it if there is one.

    Attributes:
        bounds: lo, hi of the clamp that is part of this step, or None.
        gated: whether that clamp lets no relevance through where it is shut (its derivative), as such or not.
        storage: one of `STORAGES`.
        unit: whether the gates lie in [0, 1] if the step ends in a ReLU.
    """

    bounds: tuple[float, float] | None = None
    gated: bool = False
    storage: str = "full"
    unit: bool = False
    makes_fresh = True
    takes_skip = True

    @property
    def gates_key(self) -> str:
        """Where a frame keeps this step's gates."""
        return self._key("gates")

    def reusable(self, frame):
        gates = frame.saved.get(self.gates_key, ((),))[0]
        return [gate for gate in gates if isinstance(gate, torch.Tensor)]

    def _value(
        self, y: torch.Tensor, residual: torch.Tensor | None, fresh: bool, pack: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The clamped sum alone, with its bits if asked for; `fresh`: y's memory may be reused."""
        lo, hi = self.bounds or _EVERYWHERE
        if self.bounds is None and residual is None:
            return y, None
        if fresh:
            return y, ops.relu_pack_(y, residual=residual, lo=lo, hi=hi, pack=pack)
        return ops.relu_pack(y, residual=residual, lo=lo, hi=hi, pack=pack)

    def _made(
        self,
        frame: Frame,
        y: torch.Tensor,
        denominators: Sequence[Denominator],
        residual: torch.Tensor | None,
        fresh: bool,
    ) -> tuple[torch.Tensor, list[Gate]]:
        """The clamped sum of y and the residual, and the gates for it in order; `fresh`: y may be written into."""
        if len(denominators) == 1 and self.form == MULTIPLIER:
            zero = denominators[0].epsilon is None
            of_itself = denominators[0].is_sum(residual)
            if zero and self.bounds is None:
                return self._value(y, residual, fresh)[0], [None]
            if self.bounds == _RELU and of_itself and (zero or self.storage == "mask"):
                v, mask = self._value(y, residual, fresh, pack=True)
                return v, [Bits(mask, v.numel(), is_channels_last(v))]
        gates: list[Gate] = []
        v = y
        for i, found in enumerate(denominators):
            last = i + 1 == len(denominators)
            v, *made = self._packed(frame, y, found, residual, fresh and last)
            gates += made[: len(found.branches)]
        return v, gates

    def _packed(
        self, frame: Frame, y: torch.Tensor, found: Denominator, residual: torch.Tensor | None, fresh: bool
    ) -> tuple:
        lo, hi = self.bounds or _EVERYWHERE
        quantise = self.storage != "full" and self.unit and self.bounds is not None and self.form == MULTIPLIER
        options = {
            "d": found.d,
            "residual": residual,
            "factors": found.factors,
            "branches": found.branches,
            "epsilon": found.epsilon or 0.0,
            "lo": lo,
            "hi": hi,
            "numerator": 0 if self.form == MULTIPLIER else 2 if self.gated else 1,
        }
        if fresh:
            out = [frame.spare.take(y, torch.uint8 if quantise else y.dtype) for _ in found.branches]
            return y, *ops.soft_gate_pack_(y, **options, out=out)
        return ops.soft_gate_pack(y, **options, quantise=quantise)
