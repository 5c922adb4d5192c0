"""Operations without parameters under the norm rule."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reluxfast.ops.layout import is_dense
from reluxfast.relevance.frame import Frame, may_write
from reluxfast.relevance.lrp.gates import Denominator, GatedStep, applied
from reluxfast.relevance.lrp.signals import MULTIPLIER, RELEVANCE, per_signal, row_sums
from reluxfast.relevance.steps import AddStep, Step


@dataclass
class SumStep(GatedStep):
    """An operation without parameters under the norm rule: c_in = opᵀ(v / s(y) ⊙ c), with the ReLU behind it.

    Attributes:
        inner: the operation as the gradient walk has it.
        epsilon: of the stabiliser; None: LRP-0.
    """

    inner: Step | None = None
    epsilon: float | None = 1e-6

    @property
    def native(self) -> str:
        return MULTIPLIER

    @property
    def reuses_first(self) -> bool:
        return isinstance(self.inner, AddStep)

    @property
    def reads(self):
        return self.inner.reads

    def forward(self, frame):
        y, residual, fresh = self._operands(frame)
        if self.name not in frame.keeps:
            return self._value(y, residual, fresh)[0]
        self._keep_operands(frame, MULTIPLIER)
        denominator = Denominator(residual, (1.0, 0.0 if residual is None else 1.0), epsilon=self.epsilon)
        v, gates = self._made(frame, y, [denominator], residual, fresh)
        frame.saved[self.gates_key] = (gates,)
        return v

    def _operands(self, frame) -> tuple[torch.Tensor, torch.Tensor | None, bool]:
        """y, what is still to be added to it, and whether its memory may be reused."""
        if isinstance(self.inner, AddStep):
            a, b = (frame.values[n] for n in self.inputs)
            # What is kept or accounted for must outlive this step.
            free = self.in_place and RELEVANCE not in self.hands.values() and frame.account is None
            return a, b, free and may_write() and is_dense(a)
        y = self.inner.forward(frame)
        memory = y.untyped_storage().data_ptr()
        operands = (frame.values[n] for n in self.inputs)
        shared = any(isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() == memory for x in operands)
        return y, None, not shared and may_write() and is_dense(y)

    def reverse(self, frame, g, skip=None, owned=False):
        u, owned = applied(frame.saved[self.gates_key][0][0], g, skip, owned)
        handed = self.inner.reverse(frame, u)
        return [self._hand(frame, n, t, MULTIPLIER, own) for n, t, own in handed]

    def _taken(self, frame, g, incoming, outgoing):
        if self.epsilon is None:
            # What a derivative does not hand on: shifts, and curvature.
            return incoming - outgoing, torch.zeros_like(incoming)
        u, _ = applied(frame.saved[self.gates_key][0][0], g, None, False)
        inner = Frame(frame.rows, frame.rule, values=frame.values)
        y = self.inner.forward(inner)
        signed = self.epsilon * torch.where(y >= 0, 1.0, -1.0).to(y.dtype)
        relevance, lost = self._relevance(frame, self.name, g, self.form), torch.zeros_like(incoming)
        if self.gated:
            shut = per_signal(frame.values[self.name], g) == 0
            lost, relevance = row_sums(relevance * shut), relevance.masked_fill(shut, 0)
        absorbed = row_sums(u * per_signal(signed, u) + relevance * per_signal(y + signed == 0, u))
        return row_sums(u * per_signal(y, u)) - outgoing + lost, absorbed
