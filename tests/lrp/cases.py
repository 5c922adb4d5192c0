"""Rules and composites, ours and the oracle's, side by side."""

from __future__ import annotations

from typing import Any

import reluxfast as rx
from tests.oracles import lrp as oracle

BOX = {"low": -5.0, "high": 5.0}
COMPOSITES = [name for name in rx.composites() if name not in ("guided_backprop", "deconvnet")]


def composites(name: str) -> tuple[Any, Any]:
    """The composite of that name, ours and the oracle's."""
    arguments = BOX if name == "epsilon_gamma_box" else {}
    return rx.composite(name, **arguments), oracle.composite(name, **arguments)


def as_oracle(rule: rx.rules.Rule) -> oracle.rules.Rule:
    """The oracle's rule of the same name and arguments."""
    fields = {name: getattr(rule, name) for name in rule.__dataclass_fields__}
    if "split" in fields:
        whole = {"Gamma": "generalised", "ZPlus": "signed"}[type(rule).__name__]
        fields["form"] = whole if fields.pop("split") else "positive_input"
    return getattr(oracle.rules, type(rule).__name__)(**fields)
