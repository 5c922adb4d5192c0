"""How many orders a provider needs."""

from __future__ import annotations

import math
from collections.abc import Callable


def orders_for(error: Callable[[int], float], wanted: float, most: int) -> tuple[int, float]:
    """How many orders, `most` at most, bring the error to `wanted`, and the error they have; orders come in pairs.

    Squared errors fall with the number of orders, so that one look at an error says about where to look next. What is
    returned lies above `wanted` only where `most` orders do, where 14 looks did not find out, or where the error is no
    finite number.
    """
    orders, too_few = min(16, most), 0
    best: tuple[int, float] | None = None
    for _ in range(14):
        looked, found = orders, error(orders)
        if not math.isfinite(found):
            break
        needed = 2 * math.ceil(orders * (found / wanted) ** 2 / 2)
        if found <= wanted:
            best = orders, found
            if orders <= max(2, too_few + 2, 1.1 * too_few) or found > 0.95 * wanted:
                break
            # Background rows that are not yet used equally often keep the error above what the root says.
            orders = needed if too_few < needed < orders else 2 * round((too_few + orders) / 4)
            orders = max(orders, too_few + 2)
        else:
            too_few = max(too_few, orders)
            if orders == most:
                break
            orders = min(most, max(needed, too_few + 2) if best is None else 2 * round((too_few + best[0]) / 4))
            if best is not None and orders in (too_few, best[0]):
                break
    return best or (looked, found)
