"""The reverse rules of ReLU as autograd functions.

With `z` the pre-activation, `g` the signal arriving at the ReLU's output and bounds `lo < z < hi`:

    gradient         g_in = g * 1[lo < z < hi]
    guided_backprop  g_in = g * 1[lo < z < hi] * 1[g > 0]       (Springenberg et al. 2015)
    deconvnet        g_in = g * 1[g > 0]                        (Zeiler and Fergus 2014)

A bounded ReLU whose lower bound is not 0 is no ReLU: it keeps the gradient in every rule. Everything else in the
network keeps its gradient as torch defines it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tests.zoo.kit import Kit

RULES = ("gradient", "guided_backprop", "deconvnet")


class _Rule(torch.autograd.Function):
    """y = min(max(z, lo), hi), NaN kept; reverse as above."""

    @staticmethod
    def forward(ctx, z: Tensor, lo: float, hi: float, rule: str) -> Tensor:
        ctx.save_for_backward(z)
        ctx.bounds, ctx.rule = (lo, hi), rule
        return z.clamp(lo, hi)

    @staticmethod
    def backward(ctx, g: Tensor):
        (z,), (lo, hi) = ctx.saved_tensors, ctx.bounds
        open_gate, positive = (z > lo) & (z < hi), g > 0
        keep = {
            "gradient": open_gate,
            "guided_backprop": open_gate & positive,
            "deconvnet": positive,
        }[ctx.rule]
        return torch.where(keep, g, torch.zeros_like(g)), None, None, None


class RuleActivation(nn.Module):
    """min(max(z, lo), hi) walked back by a rule."""

    def __init__(self, lo: float, hi: float, rule: str):
        super().__init__()
        if rule not in RULES:
            raise ValueError(f"unknown rule {rule!r}")
        self.lo, self.hi, self.rule = lo, hi, rule if lo == 0 else "gradient"

    def forward(self, z: Tensor) -> Tensor:
        return _Rule.apply(z, self.lo, self.hi, self.rule)


def rule_kit(rule: str) -> Kit:
    """The kit that builds a zoo model whose ReLUs follow `rule`."""
    return Kit(
        relu=lambda: RuleActivation(0.0, math.inf, rule),
        relu6=lambda: RuleActivation(0.0, 6.0, rule),
        hardtanh=lambda lo, hi: RuleActivation(lo, hi, rule),
    )
