"""Steps of a relevance walk that have no gate: derivatives, what is carried along, what is passed on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from reluxfast.relevance.lrp.signals import MULTIPLIER, RELEVANCE, RelevanceStep, per_signal
from reluxfast.relevance.steps import Step
from reluxfast.rules import BetaSmooth, DeconvNet, GuidedBackprop, Rule


@dataclass
class DerivativeStep(RelevanceStep):
    """R_in = Jᵀ R.

    Attributes:
        inner: the operation as the gradient walk has it.
        exact: whether each result is 0 or an element of an operand, so that a multiplier may pass in the same way.
    """

    inner: Step | None = None
    exact: bool = False

    @property
    def native(self) -> str:
        """The form in which relevance leaves by itself."""
        return self.form if self.exact else RELEVANCE

    @property
    def reads(self):
        return self.inner.reads

    def forward(self, frame):
        y = self.inner.forward(frame)
        if self.name in frame.keeps and self.form == MULTIPLIER:
            if not self.exact:
                frame.saved[self._key("y")] = y
            self._keep_operands(frame, self.native)
        return y

    def reverse(self, frame, g):
        if self.form == MULTIPLIER and not self.exact:
            g = per_signal(frame.saved[self._key("y")], g) * g
        return [self._hand(frame, n, t, self.native, owned) for n, t, owned in self.inner.reverse(frame, g)]

    def _taken(self, frame, g, incoming, outgoing):
        return incoming - outgoing, torch.zeros_like(incoming)


@dataclass
class ReLUStep(DerivativeStep):
    """A ReLU under a rule of its own: GuidedBackprop, DeconvNet or BetaSmooth.

    Attributes:
        rule: which.
    """

    rule: Rule | None = None

    def forward(self, frame):
        if self.name in frame.keeps and isinstance(self.rule, BetaSmooth):
            frame.saved[self._key("slope")] = torch.sigmoid(self.rule.beta * frame.values[self.inputs[0]])
        return super().forward(frame)

    def reverse(self, frame, g):
        if self.form == MULTIPLIER:
            g = per_signal(frame.saved[self._key("y")], g) * g
        if isinstance(self.rule, GuidedBackprop):
            return self.inner.reverse(frame, g.clamp(min=0))
        r = g.clamp(min=0) if isinstance(self.rule, DeconvNet) else per_signal(frame.saved[self._key("slope")], g) * g
        return [(self.inputs[0], r, True)]


@dataclass
class CarryStep(RelevanceStep):
    """Relevance stays with the elements it belongs to, multiplier or not: reshapes, concatenation, pool winners.

    Attributes:
        inner: the operation as the gradient walk has it.
        unchanged: whether relevance, as such, passes without a factor (multiples by a constant).
    """

    inner: Step | None = None
    unchanged: bool = False

    @property
    def reads(self):
        return self.inner.reads

    def forward(self, frame):
        if self.name in frame.keeps:
            self._keep_operands(frame, self.form)
        return self.inner.forward(frame)

    def reverse(self, frame, g):
        if self.unchanged and self.form == RELEVANCE:
            return [(self.inputs[0], g, False)]
        return [
            (n, t, owned) if isinstance(t, dict) else self._hand(frame, n, t, self.form, owned)
            for n, t, owned in self.inner.reverse(frame, g)
        ]


@dataclass
class ItemOfStep(RelevanceStep):
    """One of several results; where the others carry relevance, so does it."""

    inner: Step | None = None

    def forward(self, frame):
        y = self.inner.forward(frame)
        if self.name in frame.keeps and self._converts():
            frame.saved[self._key("y")] = y
        return y

    def _converts(self) -> bool:
        return self.form == MULTIPLIER and self.hands.get(self.inputs[0]) == RELEVANCE

    def reverse(self, frame, g):
        if self._converts():
            g = per_signal(frame.saved[self._key("y")], g) * g
        return self.inner.reverse(frame, g)


@dataclass
class PassStep(RelevanceStep):
    """Relevance is handed on unchanged: R_x = R_y.

    Attributes:
        inner: the operation as the gradient walk has it.
        ratio: whether y is 0 where x is, so that a multiplier may pass as y / x.
    """

    inner: Step | None = None
    ratio: bool = True

    @property
    def native(self) -> str:
        """The form in which relevance leaves by itself."""
        return MULTIPLIER if self.ratio and self.form == MULTIPLIER else RELEVANCE

    @property
    def reads(self):
        return self.inner.reads

    def forward(self, frame):
        x = frame.values[self.inputs[0]]
        y: Any = self.inner.forward(frame)
        if self.name in frame.keeps and self.form == MULTIPLIER:
            kept = torch.where(x == 0, x.new_zeros(()), y / x) if self.ratio else y
            frame.saved[self._key("factor")] = kept
            self._keep_operands(frame, self.native)
        return y

    def reverse(self, frame, g):
        if self.form == MULTIPLIER:
            g = per_signal(frame.saved[self._key("factor")], g) * g
        return [self._hand(frame, self.inputs[0], g, self.native, self.form == MULTIPLIER)]


@dataclass
class ProductStep(RelevanceStep):
    """y = a b of two values: relevance goes to one of them, or half to each.

    Attributes:
        inner: the operation as the gradient walk has it.
        signal: the operand that gets all; None: half each.
    """

    inner: Step | None = None
    signal: str | None = None

    @property
    def reads(self):
        return self.inner.reads

    def forward(self, frame):
        if self.name in frame.keeps:
            self._keep_operands(frame, self.form)
            frame.saved[self._key("shapes")] = {n: frame.values[n].shape[1:] for n in self.inputs}
        return self.inner.forward(frame)

    def reverse(self, frame, g):
        share = 0.5 if self.signal is None else 1.0
        if self.form == MULTIPLIER:
            signals = self.inner.reverse(frame, g)
        else:
            shapes = frame.saved[self._key("shapes")]
            signals = [(n, g.sum_to_size(g.shape[0], *shapes[n]), False) for n in self.inputs]
        chosen = [s for s in signals if self.signal in (None, s[0])]
        return [self._hand(frame, n, share * t if share != 1 else t, self.form, False) for n, t, _ in chosen]
