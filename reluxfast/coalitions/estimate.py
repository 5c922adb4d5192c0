"""What an estimator hands back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from reluxfast.coalitions.samples import Samples


@dataclass
class Estimate:
    """Values of the players of a game.

    Attributes:
        values: (N, n, K) float64; (N, d, K) from methods that answer for each element of a row.
        standard_error: (N, n, K), or None where the estimator has none.
        n_evaluations: (N,) int64 outputs of the model for each row, those of the background not counted.
        facts: what to add to the result's options.
        samples: what sampled units said, where it can be merged.
    """

    values: torch.Tensor
    standard_error: torch.Tensor | None
    n_evaluations: torch.Tensor
    facts: dict[str, Any] = field(default_factory=dict)
    samples: Samples | None = None


def laid_out(values: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Values (N, n, K) in the order that a user sees: outputs before players, in the shape asked for."""
    return values.transpose(1, 2).reshape(shape).to(dtype).contiguous()


def one_or_each(counts: torch.Tensor) -> int | torch.Tensor:
    """The number that all rows share, or that of each row."""
    shared = counts.unique()
    return int(shared[0]) if len(shared) == 1 else counts


def unknown(players: int, like: Estimate) -> Estimate:
    """NaN for a row that an interrupt kept from being begun, in the form of another row's estimate."""
    ended = {"interrupted": True, "converged": False}
    facts = {
        name: ended[name] if name in ended else torch.zeros_like(fact) if isinstance(fact, torch.Tensor) else fact
        for name, fact in like.facts.items()
    }
    values = like.values.new_full((1, players, like.values.shape[2]), math.nan)
    return Estimate(values, values, torch.zeros_like(like.n_evaluations), facts)


def joined(parts: list[Estimate]) -> Estimate:
    """Estimates of different rows as one; where rows have fewer players than others, values of 0 follow theirs."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    flags = {"interrupted": any, "converged": all}
    device = first.values.device
    facts = {name: _fact([part.facts[name] for part in parts], device) for name in first.facts if name not in flags}
    for name, agreed in flags.items():
        found = [part.facts[name] for part in parts if name in part.facts]
        if found:
            facts[name] = agreed(found)
    return Estimate(
        _padded([part.values for part in parts]),
        None if first.standard_error is None else _padded([part.standard_error for part in parts]),
        torch.cat([part.n_evaluations for part in parts]),
        facts,
    )


def _fact(found: list[Any], device: torch.device) -> Any:
    """A fact of all rows: theirs in a row where it differs from row to row."""
    if isinstance(found[0], torch.Tensor):
        return torch.cat(found)
    return found[0] if all(fact == found[0] for fact in found) else torch.tensor(found, device=device)


def _padded(values: list[torch.Tensor]) -> torch.Tensor:
    most = max(v.shape[1] for v in values)
    return torch.cat([torch.nn.functional.pad(v, (0, 0, 0, most - v.shape[1])) for v in values])
