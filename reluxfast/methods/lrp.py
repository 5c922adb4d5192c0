"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from reluxfast import ops
from reluxfast.balance import Balance, BalanceRow
from reluxfast.composites import RELU_RULES, Layer
from reluxfast.composites import composite as named
from reluxfast.errors import InvalidInput
from reluxfast.graph import Graph
from reluxfast.graph.fold import foldable
from reluxfast.methods.numbers import flag
from reluxfast.methods.run import Outcome, Run
from reluxfast.relevance.lrp.assign import assign
from reluxfast.relevance.lrp.gates import STORAGES
from reluxfast.relevance.lrp.plan import Assignment
from reluxfast.relevance.lrp.signals import Account
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

    Returns:
        values like x; they sum to the logit less what biases and stabilisers took.
    """
    flag("balance", balance)
    flag("create_graph", create_graph)
    if gates not in STORAGES:
        raise InvalidInput("gates", f"must be one of {', '.join(STORAGES)}", repr(gates))
    if create_graph and not torch.is_grad_enabled():
        raise InvalidInput("create_graph", "needs gradients enabled", "torch.no_grad or torch.inference_mode")
    if start is not None:
        run = run.starting_at(start)
    outcome = _relevance(run, composite, (layer_rules, fallback, products), return_layers, balance, gates, create_graph)
    if start is not None:
        outcome.explained = run.selected(outcome.output)
    return outcome


def _relevance(
    run: Run, composite: Chosen, given: tuple, layers: Any, balance: bool, gates: str, graph: bool
) -> Outcome:
    if isinstance(composite, str) and composite in RELU_RULES:
        others = dict(zip(("layer_rules", "fallback", "products"), given, strict=True))
        others |= {"return_layers": layers, "balance": balance, "create_graph": graph}
        return _by_relu_rule(run, composite, others | {"gates": "" if gates == "full" else gates})
    rules = assignment(run.engine.graph, composite, *given, gates=gates)
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
) -> Assignment:
    """What the options of `lrp` mean for a graph."""
    chosen = named(composite) if isinstance(composite, str) else composite
    return Assignment(tuple(assign(graph, chosen, layer_rules, fallback, products).items()), gates)


def _by_relu_rule(run: Run, composite: str, others: dict[str, Any]) -> Outcome:
    for name, value in others.items():
        if value:
            raise InvalidInput(name, f"has no meaning under {composite}", repr(value))
    walked = run.walk(composite, progress="lrp", logit=True)
    return Outcome(run.input_signals(walked), walked.output)


def _walked(run: Run, rules: Assignment, layers: Any, balance: bool) -> Outcome:
    chosen = None if isinstance(layers, bool) else _chosen(run, layers)
    everywhere = layers is True
    graph = run.engine.graph
    stops = frozenset(chosen.values()) | frozenset(graph.inputs) if chosen else None
    walked = run.walk("gradient", stops=stops, progress="lrp", rules=rules, account=everywhere or balance)
    relevance = run.engine.plan(run.native, stops, rules).relevance
    found = dict(zip(graph.inputs, run.inputs, strict=True)) | walked.layers

    def at(name: str) -> torch.Tensor:
        return walked.signals[name] if name in relevance else run.over_classes(found[name]) * walked.signals[name]

    outcome = Outcome([at(name) for name in graph.inputs], walked.output)
    if chosen is not None:
        outcome.layers = {path: at(name) for path, name in chosen.items()}
    if everywhere or balance:
        accounts = _joined(walked.accounts, run)
        if everywhere:
            outcome.layers = {name: a.relevance for name, a in accounts.items()}
        if balance:
            outcome.balance = _balance(run, dict(rules.rules), accounts, outcome.values, walked.output)
    return outcome


def _chosen(run: Run, layers: Any) -> dict[str, str]:
    """Path -> value; the value of a map whose batch norm is folded into it is that of the batch norm."""
    listed = [layers] if isinstance(layers, str | nn.Module) else layers
    if not isinstance(listed, list | tuple) or not all(isinstance(layer, str | nn.Module) for layer in listed):
        raise InvalidInput("return_layers", "must be True, False, or modules or their paths", repr(layers))
    graph = run.engine.graph
    folds = {source: bn for bn, source in foldable(graph, frozenset(graph.inputs)).items()}
    names = {
        layer if isinstance(layer, str) else run.path_of(layer): run.layer(layer, "return_layers") for layer in listed
    }
    before = graph.leading_to(graph.output)
    for path, name in names.items():
        if name not in before:
            raise InvalidInput("return_layers", "must lie on the way to what is explained", repr(path))
    return {path: folds.get(name, name) for path, name in names.items()}


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
