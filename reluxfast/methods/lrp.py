"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from reluxfast.composites import RELU_RULES, Layer
from reluxfast.composites import composite as named
from reluxfast.errors import InvalidInput
from reluxfast.methods.run import Outcome, Run
from reluxfast.relevance.lrp.assign import assign
from reluxfast.rules import Rule


def lrp(
    run: Run,
    composite: str | Rule | Callable[[Layer], Rule | None] = "epsilon_plus_flat",
    layer_rules: Mapping[str, Rule] | None = None,
    fallback: str | None = None,
) -> Outcome:
    """Layer-wise relevance propagation (Bach et al. 2015, doi 10.1371/journal.pone.0130140): the logit, handed back
    from layer to layer until it lies at the input.

    Args:
        composite: which rule each layer gets: one of `composites()`, `composite(name, ...)`, one rule of
            `reluxfast.rules` for all convolutions and linear maps, or a function layer -> rule.
        layer_rules: module path -> rule, above the composite.
        fallback: None: a node without an LRP rule is an error; "gradient": it is walked by its derivative.

    Returns:
        values like x; they sum to the logit less what biases and stabilisers took.
    """
    if isinstance(composite, str) and composite in RELU_RULES:
        if layer_rules or fallback:
            raise InvalidInput(
                "layer_rules", f"and fallback have no meaning under {composite}", layer_rules or fallback
            )
        walked = run.walk(composite, progress="lrp")
        values = [_times_logit(run, walked.output, g) for g in run.input_signals(walked)]
        return Outcome(values, walked.output)
    chosen = named(composite) if isinstance(composite, str) else composite
    rules = tuple(assign(run.engine.graph, chosen, layer_rules, fallback).items())
    walked = run.walk("gradient", progress="lrp", rules=rules)
    relevance = run.engine.plan(run.native, None, rules).relevance
    values = [
        walked.signals[name] if name in relevance else run.over_classes(x) * walked.signals[name]
        for name, x in zip(run.engine.graph.inputs, run.inputs, strict=True)
    ]
    return Outcome(values, walked.output)


def _times_logit(run: Run, output: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    logit = run.selected(output)
    return logit.view(*logit.shape, *[1] * (g.dim() - logit.dim())) * g
