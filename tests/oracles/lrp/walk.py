"""The reverse walk over a tape: relevance of every cell, and where each node's relevance went."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tests.oracles.lrp.composites import Composite
from tests.oracles.lrp.node import Node
from tests.oracles.lrp.operations import GATES
from tests.oracles.lrp.record import Tape
from tests.oracles.lrp.rules import Gate, Gradient, Pass, Product, Rule, Share


class Refused(ValueError):
    """A node that relevance arrives at has no rule."""


class Step(NamedTuple):
    """What one node did with its relevance; `relevance` has the output's shape, the others are numbers."""

    node: Node
    rule: Rule | None
    relevance: Tensor
    to_inputs: float
    to_bias: float
    to_stabiliser: float
    rest: float


def walk(
    tape: Tape,
    composite: Composite,
    seed: dict[int, float],
    layer_rules: dict[str, Rule] | None = None,
    fallback: str | None = None,
    product: str | None = None,
) -> tuple[Tensor, list[Step]]:
    """Relevance of every cell `(count + 1,)` and the steps in execution order, from `seed`: cell -> relevance.

    Rules by precedence: `layer_rules` by path, `composite`, `product` for products ("signal", "half"), `fallback`
    ("gradient"). A node that no relevance reaches needs no rule.
    """
    layer_rules = layer_rules or {}
    unknown = set(layer_rules) - {n.path for n in tape.nodes}
    if unknown:
        raise ValueError(f"layer_rules: no node at {sorted(unknown)}; folded batch norms have none")
    relevance = torch.zeros(tape.count + 1, dtype=torch.float64)
    reached = torch.zeros(tape.count + 1, dtype=torch.bool)
    for cell, value in seed.items():
        relevance[cell] += value
        reached[cell] = True
    steps = []
    for node in reversed(tape.nodes):
        r = relevance[node.output_cells]
        if not reached[node.output_cells].any():
            steps.append(Step(node, None, r, 0.0, 0.0, 0.0, 0.0))
            continue
        rule = layer_rules.get(node.path) or composite(node)
        if rule is None and node.kind == "product" and product is not None:
            rule = Product(product)
        if rule is None and fallback == "gradient":
            rule = Gradient()
        if rule is None:
            raise Refused(f"no rule for {node}")
        share = _share(node, rule, r, tape)
        cells = torch.cat([c.flatten() for c in node.cells])
        constant = float(share.inputs[cells == 0].sum())
        relevance.index_add_(0, cells, share.inputs)
        reached[cells] |= share.inputs != 0 if isinstance(rule, Product) else True
        reached[0] = False
        to_inputs = float(share.inputs.sum()) - constant
        steps.append(Step(node, rule, r, to_inputs, share.bias + constant, share.stabiliser, share.rest))
    return relevance, steps[::-1]


def _share(node: Node, rule: Rule, r: Tensor, tape: Tape) -> Share:
    if isinstance(rule, Pass):
        return _passed(node, r)
    if isinstance(rule, Gate):
        return _by_signal(r, rule.gated(node.inputs[0], r, node.high).flatten())
    if isinstance(rule, Product):
        return _shared_product(node, rule.split, r, tape)
    if node.affine is not None:
        return rule.share(node.affine, r.flatten())
    if isinstance(rule, Gradient) and node.kind == "activation":
        return _by_signal(r, Gate("gradient").gated(node.inputs[0], r, node.high).flatten())
    if isinstance(rule, Gradient) and node.inputs:
        return _by_signal(r, _derivative(node, r))
    raise Refused(f"{type(rule).__name__} needs an affine node, not {node}")


def _by_signal(r: Tensor, inputs: Tensor) -> Share:
    return Share(inputs, 0.0, 0.0, float(r.sum() - inputs.sum()))


def _passed(node: Node, r: Tensor) -> Share:
    """R copied; where the input was broadcast, the copies' relevance adds up."""
    if len(node.inputs) != 1:
        raise Refused(f"Pass needs one input, not {node}")
    shape = node.inputs[0].shape
    if torch.broadcast_shapes(shape, r.shape) != r.shape:
        raise Refused(f"Pass needs an output of the input's shape, not {node}")
    return Share(r.sum_to_size(shape).flatten(), 0.0, 0.0)


def _shared_product(node: Node, split: str, r: Tensor, tape: Tape) -> Share:
    weights = (0.5, 0.5)
    if split == "signal":
        gates = [_is_gate(c, tape) for c in node.cells]
        if sum(gates) != 1:
            raise Refused(f"one operand must be a gate, {gates} are, at {node}")
        weights = tuple(float(not g) for g in gates)
    parts = [w * r.sum_to_size(v.shape).flatten() for w, v in zip(weights, node.inputs, strict=True)]
    return Share(torch.cat(parts), 0.0, 0.0)


def _is_gate(cells: Tensor, tape: Tape) -> bool:
    made = [n for n in tape.nodes if torch.isin(n.output_cells, cells).any()]
    return len(made) == 1 and made[0].op in GATES


def _derivative(node: Node, r: Tensor) -> Tensor:
    with torch.enable_grad():
        leaves = [v.clone().requires_grad_() for v in node.inputs]
        result = node.function(*(v * 1.0 for v in leaves))
        outputs = [v for v in torch.utils._pytree.tree_leaves(result) if isinstance(v, Tensor)]
        flat = torch.cat([v.flatten().double() for v in outputs])
        if not flat.requires_grad:
            return torch.zeros(sum(v.numel() for v in leaves), dtype=r.dtype)
        found = torch.autograd.grad(flat, leaves, r.flatten(), allow_unused=True)
    return torch.cat(
        [
            torch.zeros(v.numel(), dtype=r.dtype) if g is None else g.flatten()
            for v, g in zip(leaves, found, strict=True)
        ]
    )
