"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from reluxfast import ops
from reluxfast.balance import Balance, BalanceRow
from reluxfast.composites import RELU_RULES, Layer
from reluxfast.composites import composite as named
from reluxfast.errors import InvalidInput
from reluxfast.graph import Graph
from reluxfast.methods.lrp_layers import chosen_layers
from reluxfast.methods.numbers import flag
from reluxfast.methods.run import Outcome, Run
from reluxfast.relevance.lrp.assign import assign
from reluxfast.relevance.lrp.gates import STORAGES
from reluxfast.relevance.lrp.plan import Assignment
from reluxfast.relevance.lrp.signals import RELEVANCE, Account
from reluxfast.rules import Rule

Chosen = str | Rule | Callable[[Layer], Rule | None]


def lrp(
    run: Run,
    composite: Chosen = "epsilon_plus_flat",
    layer_rules: Mapping[str, Rule] | None = None,
    fallback: str | None = None,
    products: str | None = None,
    start: str | nn.Module | None = None,
    return_layers: bool | str | nn.Module | Sequence[str | nn.Module] = False,
    balance: bool = False,
    gates: str = "full",
    create_graph: bool = False,
    fold_batch_norm: bool = True,
    layer_inputs: bool = False,
) -> Outcome:
    """Layer-wise relevance propagation (Bach et al. 2015, doi 10.1371/journal.pone.0130140): the logit, handed back
    from layer to layer until it lies at the input.

    Args:
        composite: which rule each layer gets: one of `composites()`, `composite(name, ...)`, one rule of
            `reluxfast.rules` for all convolutions and linear maps, or a function layer -> rule.
        layer_rules: module path -> rule, above the composite.
        fallback: None: a node without an LRP rule is an error; "gradient": it is walked by its derivative.
        products: where relevance of a product of two values goes: "signal" (to the one that is no gate), "half" (half
            to each); None: products are nodes without a rule.
        start: a module or its path whose value is explained instead of the model's output; `target` then names its
            elements: None all of them, an int a channel or neuron, a tuple an element (or all behind it). `output` is
            that value.
        return_layers: True: the relevance at every node; or modules or their paths: the relevance at their values, by
            path.
        balance: whether to say node by node where relevance went: on, to the bias, to the stabiliser.
        gates: what is kept of the forward pass: "full" precision; "uint8": bytes, where a gate lies in [0, 1] (2e-4 to
            8e-3 of the map's norm away on VGG-16 and ResNet-50); "mask": moreover one bit for the gates a / (a + ε) of
            the epsilon rule, as if ε were 0 where a > 0 (2e-3 to 3e-3 at ε = 1e-6, more with a larger one).
        create_graph: whether values can be differentiated with respect to x and the model's parameters; runs on the
            reference backend.
        fold_batch_norm: whether a batch norm behind a convolution or linear map is computed as part of it and follows
            its rule; False: every batch norm is a layer with a rule of its own (kind "batch_norm" of a composite, or
            by path).
        layer_inputs: whether `return_layers` means the values that layers take, a list where several, in the place of
            those that they return.

    Returns:
        values like x; they sum to the logit less what biases and stabilisers took.
    """
    flag("balance", balance)
    flag("create_graph", create_graph)
    flag("fold_batch_norm", fold_batch_norm)
    flag("layer_inputs", layer_inputs)
    if layer_inputs and isinstance(return_layers, bool):
        raise InvalidInput("layer_inputs", "needs return_layers to name layers", f"return_layers={return_layers}")
    if gates not in STORAGES:
        raise InvalidInput("gates", f"must be one of {', '.join(STORAGES)}", repr(gates))
    if create_graph and not torch.is_grad_enabled():
        raise InvalidInput("create_graph", "needs gradients enabled", "torch.no_grad or torch.inference_mode")
    if start is not None:
        run = run.starting_at(start)
    given = {"layer_rules": layer_rules, "fallback": fallback, "products": products, "fold_batch_norm": fold_batch_norm}
    layers: bool | dict = return_layers
    if not isinstance(return_layers, bool):
        layers = chosen_layers(run, return_layers, fold_batch_norm, layer_inputs)
    outcome = _relevance(run, composite, given, layers, balance, gates, create_graph)
    if start is not None:
        outcome.explained = run.selected(outcome.output)
    return outcome


def _relevance(
    run: Run, composite: Chosen, given: dict[str, Any], layers: bool | dict, balance: bool, gates: str, graph: bool
) -> Outcome:
    if isinstance(composite, str) and composite in RELU_RULES:
        others = given | {"return_layers": layers, "balance": balance, "create_graph": graph, "gates": gates}
        return _by_relu_rule(run, composite, others)
    rules = assignment(run.engine.graph, composite, gates=gates, **given)
    if run.seed is not None:
        rules = replace(rules, start=RELEVANCE)
    if not graph:
        return _walked(run, rules, layers, balance)
    with ops.backend("reference"):
        outcome = _walked(run.differentiable(), rules, layers, balance)
    outcome.attached = True
    return outcome


def assignment(
    graph: Graph,
    composite: Chosen = "epsilon_plus_flat",
    layer_rules: Mapping[str, Rule] | None = None,
    fallback: str | None = None,
    products: str | None = None,
    gates: str = "full",
    fold_batch_norm: bool = True,
) -> Assignment:
    """What the options of `lrp` mean for a graph."""
    chosen = named(composite) if isinstance(composite, str) else composite
    found = assign(graph, chosen, layer_rules, fallback, products, fold_batch_norm)
    return Assignment(tuple(found.items()), gates, fold_batch_norm)


def _by_relu_rule(run: Run, composite: str, others: dict[str, Any]) -> Outcome:
    neutral = {"gates": "full", "fold_batch_norm": True}
    for name, value in others.items():
        if value != neutral[name] if name in neutral else value:
            raise InvalidInput(name, f"has no meaning under {composite}", repr(value))
    walked = run.walk(composite, progress="lrp", logit=True)
    return Outcome(run.input_signals(walked), walked.output)


def _walked(run: Run, rules: Assignment, layers: bool | dict, balance: bool) -> Outcome:
    chosen = None if isinstance(layers, bool) else layers
    everywhere = layers is True
    graph = run.engine.graph
    stops = frozenset(graph.explained).union(*chosen.values()) if chosen else None
    walked = run.walk("gradient", stops=stops, progress="lrp", rules=rules, account=everywhere or balance)
    relevance = run.engine.plan(run.native, stops, rules).relevance
    found = dict(zip(graph.explained, run.inputs, strict=True)) | walked.layers

    def at(name: str) -> torch.Tensor:
        return walked.signals[name] if name in relevance else run.over_classes(found[name]) * walked.signals[name]

    outcome = Outcome([at(name) for name in graph.explained], walked.output)
    if chosen is not None:
        at_layers = {path: [at(name) for name in names] for path, names in chosen.items()}
        outcome.layers = {path: values if len(values) > 1 else values[0] for path, values in at_layers.items()}
    if everywhere or balance:
        accounts = _joined(walked.accounts, run)
        if everywhere:
            outcome.layers = {name: a.relevance for name, a in accounts.items()}
        if balance:
            outcome.balance = _balance(run, dict(rules.rules), accounts, outcome.values, walked.output)
    return outcome


def _joined(accounts: list[tuple[int, int, dict[str, Account]]], run: Run) -> dict[str, Account]:
    """Accounts of all rows (and classes): (N, ...) or (N, K, ...)."""
    by_name: dict[str, dict[int, list[Account]]] = {}
    for first, times, found in accounts:
        for name, account in found.items():
            by_name.setdefault(name, {}).setdefault(first, []).append(_per_row(account, times, run.classes))
    order = [name for name in run.engine.graph.nodes if name in by_name]
    joined = {}
    for name in order:
        rows = [_merged(pieces, 1) for _, pieces in sorted(by_name[name].items())]
        joined[name] = _merged(rows, 0)
    return joined


def _per_row(account: Account, times: int, classes: int | None) -> Account:
    if classes is None:
        return account

    def turned(v: torch.Tensor) -> torch.Tensor:
        return v.unflatten(0, (times, -1)).transpose(0, 1)

    return _mapped(turned, account)


def _merged(pieces: list[Account], dim: int) -> Account:
    if len(pieces) == 1:
        return pieces[0]
    return _mapped(lambda *parts: torch.cat(parts, dim), *pieces)


def _mapped(function: Callable[..., torch.Tensor], *accounts: Account) -> Account:
    """Field by field."""
    several = isinstance(accounts[0].relevance, list)
    relevance = (
        [function(*parts) for parts in zip(*(a.relevance for a in accounts), strict=True)]
        if several
        else function(*(a.relevance for a in accounts))
    )
    return Account(
        accounts[0].ruled,
        relevance,
        function(*(a.incoming for a in accounts)),
        {name: function(*(a.outgoing[name] for a in accounts)) for name in accounts[0].outgoing},
        function(*(a.bias for a in accounts)),
        function(*(a.absorbed for a in accounts)),
    )


def _balance(
    run: Run, rules: dict[str, Rule | None], accounts: dict[str, Account], values: list, output: torch.Tensor
) -> Balance:
    rows = []
    for account in accounts.values():
        node, rule = account.ruled, rules.get(account.ruled.name)
        rows.append(
            BalanceRow(
                node.name,
                node.op,
                node.module_path,
                "" if rule is None else type(rule).__name__,
                account.incoming,
                sum(account.outgoing.values(), torch.zeros_like(account.incoming)),
                account.bias,
                account.absorbed,
            )
        )
    logit = run.selected(output).double()
    at_input = sum(v.double().flatten(logit.dim()).sum(-1) for v in values)
    return Balance(rows, logit, at_input)
