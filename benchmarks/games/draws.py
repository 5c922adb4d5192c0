"""The orders and background rows that the engine draws, for those who are given them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reluxfast.coalitions import designs
from reluxfast.errors import InvalidInput


@dataclass(frozen=True)
class Draws:
    """Pairs of orders and their reverses, one behind the other.

    Attributes:
        orders: (N, P, n) int64, P even.
        backgrounds: (N, P) int64 numbers of the background rows that absent players are taken from.
    """

    orders: Tensor
    backgrounds: Tensor


def of_engine(rows: int, orders: int, players: int, backgrounds: int, seed: int, device: torch.device) -> Draws:
    """What `rx.shapley` walks for a budget of that many orders: whole rounds of background rows, if there is one."""
    count = checked(orders) // 2
    numbers, pairs = torch.arange(rows), range(count - count % backgrounds if count >= backgrounds else count)
    first = designs.orders("antithetic", seed, numbers, pairs, players).long()
    met = designs.background_rows(seed, numbers, pairs, backgrounds).long()
    both = torch.stack([first, first.flip(-1)], 2).flatten(1, 2)
    return Draws(both.to(device), met.repeat_interleave(2, 1).to(device))


def checked(orders: int) -> int:
    """The number of orders, which come in pairs."""
    if orders < 2 or orders % 2:
        rule = "must be an even number from 2 on, as an order comes with its reverse"
        raise InvalidInput("orders", rule, orders, f"Pass {max(2, orders + orders % 2)}")
    return orders
