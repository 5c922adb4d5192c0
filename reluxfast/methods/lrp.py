"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from reluxfast.balance import Balance, BalanceRow
from reluxfast.composites import RELU_RULES, Layer
from reluxfast.composites import composite as named
from reluxfast.errors import InvalidInput
from reluxfast.methods.run import Outcome, Run
from reluxfast.relevance.lrp.assign import assign
from reluxfast.relevance.lrp.steps import Account
from reluxfast.rules import Rule


def lrp(
    run: Run,
    composite: str | Rule | Callable[[Layer], Rule | None] = "epsilon_plus_flat",
    layer_rules: Mapping[str, Rule] | None = None,
    fallback: str | None = None,
    return_layers: bool = False,
    balance: bool = False,
) -> Outcome:
    """Layer-wise relevance propagation (Bach et al. 2015, doi 10.1371/journal.pone.0130140): the logit, handed back
    from layer to layer until it lies at the input.

    Args:
        composite: which rule each layer gets: one of `composites()`, `composite(name, ...)`, one rule of
            `reluxfast.rules` for all convolutions and linear maps, or a function layer -> rule.
        layer_rules: module path -> rule, above the composite.
        fallback: None: a node without an LRP rule is an error; "gradient": it is walked by its derivative.
        return_layers: whether to return the relevance at every node.
        balance: whether to say node by node where relevance went: on, to the bias, to the stabiliser.

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
    walked = run.walk("gradient", progress="lrp", rules=rules, account=return_layers or balance)
    relevance = run.engine.plan(run.native, None, rules).relevance
    values = [
        walked.signals[name] if name in relevance else run.over_classes(x) * walked.signals[name]
        for name, x in zip(run.engine.graph.inputs, run.inputs, strict=True)
    ]
    outcome = Outcome(values, walked.output)
    if return_layers or balance:
        accounts = _joined(walked.accounts, run)
        outcome.layers = {name: a.relevance for name, a in accounts.items()} if return_layers else None
        outcome.balance = _balance(run, dict(rules), accounts, values, walked.output) if balance else None
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
    for name, account in accounts.items():
        node = run.engine.graph.nodes[name]
        rule = rules.get(name)
        rows.append(
            BalanceRow(
                name,
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


def _times_logit(run: Run, output: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    logit = run.selected(output)
    return logit.view(*logit.shape, *[1] * (g.dim() - logit.dim())) * g
