"""Which rule of the engine each node of a captured network gets from the `module.rule` of its layers."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from torch import nn

from reluxfast import rules
from reluxfast.compat.captum import lrp_rules
from reluxfast.compat.captum.errors import NoRule, WrongRule
from reluxfast.compat.captum.lrp_rules import EPSILON
from reluxfast.graph import Graph, Node
from reluxfast.relevance.lrp.kinds import kind_of, short_name
from reluxfast.rules import Rule

_NAMES = ("EpsilonRule", "GammaRule", "Alpha1_Beta0_Rule", "IdentityRule")
# A rule of one of these is not looked at: relevance passes.
_PASSING = (nn.ReLU, nn.Dropout, nn.Tanh)
_MAPS = ("convolution", "linear")
# Operations that hand their operand on as it is.
_UNCHANGED = "dropout feature_dropout alpha_dropout feature_alpha_dropout clone alias contiguous to".split()
# What a class overrides to propagate in a way of its own.
_HOOKS = (
    "_manipulate_weights",
    "_create_backward_hook_input",
    "_create_backward_hook_output",
    "backward_hook_activation",
    "forward_hook",
    "forward_hook_weights",
    "forward_pre_hook_activations",
)
_DEFAULTS: dict[str, Rule] = {
    "convolution": rules.Epsilon(EPSILON, bias="kept"),
    "linear": rules.Epsilon(EPSILON, bias="kept"),
    "batch_norm": rules.Epsilon(EPSILON),
    "max_pool": rules.Epsilon(EPSILON),
    "sum": rules.Norm(EPSILON),
    "activation": rules.Pass(),
    "shift": rules.Pass(),
}


def check_rules(model: nn.Module) -> None:
    """Refuses what is set as `module.rule` and is no propagation rule.

    Raises:
        TypeError: names the module.
    """
    for path, module in model.named_modules():
        rule = getattr(module, "rule", None)
        if rule is not None and not isinstance(rule, _bases()):
            where = f"{path!r}, {type(module).__name__}"
            must = "must be one of the rules inherited from class PropagationRule"
            raise WrongRule("rule", must, f"{rule!r} (of module {where})", f"There are: {', '.join(_NAMES)}")


def node_rules(model: nn.Module, graph: Graph) -> dict[str, Rule | None]:
    """Value -> rule of the node that makes it, as the rules of the model's layers are now.

    A layer is a module without others inside. What has no `rule` gets Captum's default, written out or as a layer.

    Args:
        model: the captured model.
        graph: its graph.

    Raises:
        TypeError: a rule that is not known, or that its layer cannot follow.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    nodes = [node for node in graph if node.inputs]
    sizes = Counter(_call(node) for node in nodes if kind_of(node) != "carry")
    found = {}
    for node in nodes:
        module = modules.get(node.module_path)
        given = _given(module)
        if given is None:
            found[node.name] = _DEFAULTS.get(kind_of(node))
        elif sizes[_call(node)] > 1:
            why = f"is for a single operation, and this module has {sizes[_call(node)]}"
            raise _refused(_name_of(given), node, why, "Write them as modules, each with a rule")
        elif kind_of(node) == "carry" and sizes[_call(node)]:
            found[node.name] = None  # a reshape or padding in front of the operation that the rule is for
        else:
            found[node.name] = _translated(given, node, module)
    return found


def _given(module: nn.Module | None) -> Any:
    """The rule that was set for a layer; None: it has none, or its rule is without effect."""
    if module is None or type(module) in _PASSING or next(module.children(), None) is not None:
        return None
    return getattr(module, "rule", None)


def _translated(given: Any, node: Node, module: nn.Module) -> Rule | None:
    name, kind = _name_of(given), kind_of(node)
    if name == "IdentityRule":
        if kind in ("carry", "scale", "max_pool") and short_name(node) not in _UNCHANGED:
            remedy = "Leave it out: relevance stays with its element"
            raise _refused(name, node, "is for operations that do not move or scale elements", remedy)
        return rules.Pass()
    epsilon = given.STABILITY_FACTOR
    if name == "EpsilonRule" or (kind not in _MAPS and getattr(module, "weight", None) is None):
        return rules.Epsilon(epsilon, bias="kept")
    bias = "zero" if given.set_bias_to_zero else "kept"
    if kind not in _MAPS:
        raise _refused(name, node, "is for convolutions and linear maps", "Set EpsilonRule() or IdentityRule() there")
    if name == "GammaRule":
        return rules.Gamma(given.gamma, split=False, epsilon=epsilon, bias=bias)
    return rules.ZPlus(split=False, epsilon=epsilon, bias=bias)


def _refused(name: str, node: Node, why: str, remedy: str) -> NoRule:
    return NoRule(node.op, f"{name} {why}", node.module_path, node.source, "lrp", remedy)


def _name_of(rule: Any) -> str:
    """Which of the four rules it is: of one of their classes, or of a class that propagates as it does.

    Raises:
        TypeError: none of them.
    """
    for source in _sources():
        for name in _NAMES:
            known = getattr(source, name)
            same = isinstance(rule, known) and (
                type(rule) is known
                or all(getattr(type(rule), hook, None) is getattr(known, hook, None) for hook in _HOOKS)
            )
            if same and not (name == "EpsilonRule" and isinstance(rule, source.IdentityRule)):
                return name
    raise WrongRule(
        "rule",
        f"must be one of {', '.join(_NAMES)}; what a class of its own does with relevance is not known here",
        f"{type(rule).__module__}.{type(rule).__qualname__}",
        "Explain the model with rx.lrp and a rule of reluxfast.rules",
    )


def _sources() -> list[Any]:
    """Modules that define rules: ours, and Captum's if anybody has loaded it."""
    theirs = sys.modules.get("captum.attr._utils.lrp_rules")
    return [lrp_rules] if theirs is None else [lrp_rules, theirs]


def _bases() -> tuple[type, ...]:
    return tuple(source.PropagationRule for source in _sources())


def _call(node: Node) -> tuple[str, int]:
    """The innermost module call that a node belongs to."""
    return node.modules[-1] if node.modules else ("", 0)
