"""Shapley values from random orders of the players, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from reluxfast.coalitions.chains import Chains
from reluxfast.coalitions.designs import background_rows, orders
from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.game import Game
from reluxfast.coalitions.moments import Moments
from reluxfast.coalitions.samples import Samples
from reluxfast.errors import InvalidInput
from reluxfast.progress import Bar, Bars, progress_bar

# Pairs per row where neither a budget nor a tolerance is given.
DEFAULT_PAIRS = 32
# Evaluations per row at which a tolerance gives up where no budget is given.
_MOST_EVALUATIONS = 1 << 20
# Pairs at the first look at the error; each next look is at half as many more.
_FIRST_LOOK = 8


@dataclass(frozen=True)
class Sampling:
    """How orders are drawn.

    Attributes:
        design: one of `designs.DESIGNS`.
        seed: any int.
        every_background: whether each unit is averaged over all background rows, instead of taking one in turn.
        budget: evaluations per row at most, or None.
        tolerance: largest standard error over the range of the values at which a row is done, or None.
        shared: whether all rows take the orders and background rows of row 0.
        first: number of the first unit, whose estimate then keeps its samples; None: 0, and nothing is kept.
    """

    design: str
    seed: int
    every_background: bool
    budget: int | None
    tolerance: float | None
    shared: bool = False
    first: int | None = None

    @property
    def antithetic(self) -> bool:
        """Whether a unit is an order with its reverse."""
        return self.design != "plain"

    def usual(self, n: int, backgrounds: int) -> int:
        """Evaluations per row where no budget is given, about."""
        return 2 * DEFAULT_PAIRS * n * (backgrounds if self.every_background else 1)


def sampled(game: Game, chains: Chains, how: Sampling, bars: Bars = progress_bar) -> Estimate:
    """Mean over units of the marginals of each player, and sd / √units.

    The unit is a pair of an order and its reverse (an order alone if plain). Each row stops for itself, at numbers of
    units that follow from n, B and the options. An interrupt (Ctrl-C) ends the sampling; what was found is returned.

    Raises:
        InvalidInput: the budget does not suffice for one unit.
    """
    rows, n, count = game.rows, game.n, game.backgrounds
    backgrounds = count if how.every_background else 1
    cost = (2 if how.antithetic else 1) * (n - 1) * backgrounds
    step = 1 if how.every_background else count
    most = _units(how, n, cost, step)
    if how.first is not None and how.first + most > 1 << 32:
        rule = f"must leave numbers below 2**32 for {most} pairs"
        raise InvalidInput("first_pair", rule, how.first, "Take another seed")
    moments = Moments(rows, n, game.full.shape[1], game.x.device)
    interrupted = False
    open_rows = torch.arange(rows, device=game.x.device)
    looks = [most] if how.tolerance is None else _looks(most, step)
    with bars(total=rows * most, desc="shapley", unit="pair" if how.antithetic else "order") as bar:
        try:
            done = 0
            for look in looks:
                _sample(partial(_pairs, game, chains, how), chains, open_rows, range(done, look), moments, bar)
                done = look
                if how.tolerance is not None:
                    open_rows = open_rows[_above(moments, open_rows, how.tolerance)]
                if not len(open_rows):
                    break
        except KeyboardInterrupt:
            interrupted = True
    drawn = ((how.seed % (1 << 64), how.first or 0, moments.count),)
    played = game.players.labels, game.background, game.chosen
    samples = Samples(moments, game.full - game.base, cost, drawn, *played)
    facts = {"pairs" if how.antithetic else "orders": moments.count, "interrupted": interrupted}
    if how.tolerance is not None:
        facts["converged"] = not interrupted and not len(open_rows)
    kept = None if how.first is None else samples
    return Estimate(samples.values(), moments.standard_error, samples.n_evaluations, facts, kept)


def along(game: Game, chains: Chains, orders: torch.Tensor, bars: Bars = progress_bar) -> Estimate:
    """Mean over given orders (U, n), which all rows share, of the marginals of each player; and sd / √U."""
    rows, (units, n) = game.rows, orders.shape
    orders = orders.to(game.x.device, torch.int32)
    moments = Moments(rows, n, game.full.shape[1], game.x.device)

    def walk(some: torch.Tensor, stretch: range) -> torch.Tensor:
        order = orders[stretch.start : stretch.stop].expand(len(some), -1, -1).contiguous()
        return _over_background(game, chains, some, order, False)

    with bars(total=rows * units, desc="shapley", unit="order") as bar:
        _sample(walk, chains, torch.arange(rows, device=game.x.device), range(units), moments, bar)
    spent = torch.full_like(game.numbers, units * (n - 1) * game.backgrounds + 1)
    return Estimate(moments.mean, moments.standard_error, spent, {"orders": moments.count})


def _units(how: Sampling, n: int, cost: int, step: int) -> int:
    if n == 1:
        return 1
    block = math.lcm(step, n - 1) if how.design == "orthogonal" else step
    budget = _MOST_EVALUATIONS if how.budget is None and how.tolerance is not None else how.budget
    if budget is None:
        return -(-DEFAULT_PAIRS // block) * block
    most = (budget - 1) // cost
    if most < 1:
        kind = "antithetic pair" if how.antithetic else "order"
        raise InvalidInput("n_evaluations", f"must be at least {cost + 1}, one {kind} of {n} players", how.budget)
    for whole in (block, n - 1 if how.design == "orthogonal" else step, step):
        if most >= whole:
            return most // whole * whole
    return most


def _looks(most: int, step: int) -> list[int]:
    found, at = [], _FIRST_LOOK
    while not found or found[-1] < most:
        look = min(most, -(-at // step) * step)
        found.append(look)
        at = max(look + 1, look * 3 // 2)
    return found


def _sample(
    walk: Callable[[torch.Tensor, range], torch.Tensor],
    chains: Chains,
    rows: torch.Tensor,
    units: range,
    moments: Moments,
    bar: Bar,
) -> None:
    """Adds units of some rows, as `walk` gives them, to the moments, all rows of a stretch of units before the next."""
    width = max(1, min(len(units), chains.at_once() // max(1, len(rows))))
    height = max(1, chains.at_once() // width)
    for start in range(units.start, units.stop, width):
        stretch = range(start, min(start + width, units.stop))
        for some in rows.split(height) if len(rows) else ():
            moments.add(some, walk(some, stretch))
            bar.update(len(some) * len(stretch))


def _pairs(game: Game, chains: Chains, how: Sampling, rows: torch.Tensor, units: range) -> torch.Tensor:
    numbers = game.numbers[:1] * 0 if how.shared else game.numbers[rows]
    first = how.first or 0
    units = range(first + units.start, first + units.stop)
    order = orders(how.design, how.seed, numbers, units, game.n).expand(len(rows), -1, -1)
    if not how.every_background:
        cycle = background_rows(how.seed, numbers, units, game.backgrounds).expand(len(rows), -1)
        return chains.pairs(rows, game.met(rows, cycle), order, how.antithetic)
    return _over_background(game, chains, rows, order, how.antithetic)


def _over_background(
    game: Game, chains: Chains, rows: torch.Tensor, order: torch.Tensor, antithetic: bool
) -> torch.Tensor:
    """Marginals along orders (R, G, n), each averaged over all background rows that its row meets."""
    total, (r, g, _) = None, order.shape
    # Calls span background rows where one of them does not fill them.
    step = max(1, chains.at_once() // max(1, r * g))
    for some in torch.arange(game.backgrounds, dtype=order.dtype, device=order.device).split(step):
        back = game.met(rows, some.repeat(r, g))
        found = chains.pairs(rows, back, order.repeat_interleave(len(some), 1), antithetic)
        for of_one in found.unflatten(1, (g, len(some))).unbind(2):
            total = of_one.to(torch.float64, copy=True) if total is None else total.add_(of_one)
    return total / game.backgrounds


def _above(moments: Moments, rows: torch.Tensor, tolerance: float) -> torch.Tensor:
    """Which of the rows have an error above the tolerance, relative to the range of their values if they have one."""
    error, mean = moments.standard_error[rows], moments.mean[rows]
    spread = mean.amax(1) - mean.amin(1)
    largest = error.amax(1)
    tiny = spread <= 1e-12 * mean.abs().amax(1).clamp_min(1)
    # An error that is not known yet is above.
    return ~(torch.where(tiny, largest, largest / spread) < tolerance).all(-1)
