"""Shapley values: exact, from random orders, or by least squares over drawn coalitions."""

from __future__ import annotations

from typing import Any

from reluxfast.coalitions.designs import DESIGNS
from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.exact import evaluations, exact, refuse_too_costly
from reluxfast.coalitions.leverage import leverage
from reluxfast.coalitions.permutation import Sampling, sampled
from reluxfast.coalitions.request import GameRequest
from reluxfast.errors import InvalidInput
from reluxfast.methods.numbers import count, flag, fraction, one_of, positive, whole

ESTIMATORS = ("auto", "exact", "permutation", "leverage")
BACKGROUND_MODES = ("cycle", "all")
# Evaluations a row that "auto" spends on exact values even where the budget is smaller.
_EXACT_UP_TO = 4096
# Evaluations a row and player of "leverage" without a budget.
_LEVERAGE_PER_PLAYER = 64


def shapley(
    request: GameRequest,
    estimator: str = "auto",
    n_evaluations: int | None = None,
    tolerance: float | None = None,
    design: str = "antithetic",
    background_mode: str = "cycle",
    seed: int = 0,
    shared_orders: bool = False,
    first_pair: int | None = None,
    allow_tf32: bool = False,
) -> Estimate:
    """Shapley values φ_i = Σ_{S⊆N∖i} s!(n-s-1)!/n! · [v(S∪i) - v(S)] of v(S) = E_b f(x_S, b_{N∖S}).

    Args:
        estimator: "exact": every coalition, up to 20 players, 26 if `n_evaluations` allows it; "permutation": random
            orders (Castro et al. 2009), with standard errors; "leverage": paired LeverageSHAP (Musco and Witter 2025),
            without standard errors, at equal evaluations with 0.3 to 3 times the mean squared error of permutation, by
            model and baseline (measured on trained networks); "auto": exact where that takes at most
            max(n_evaluations, 4096) evaluations for every row, else permutation.
        n_evaluations: evaluations of f per row at most (on average, for leverage), in whole pairs, and in whole rounds
            of background rows; default 32 pairs, or 64 per player for leverage.
        tolerance: rows stop when their largest standard error over the range of their values is below; for sampled
            orders.
        design: of orders. "antithetic": pairs of an order and its reverse, exact where players interact in pairs at
            most; "orthogonal": blocks of n - 1 such pairs with orthogonal scores (Mitchell et al. 2022); "plain".
        background_mode: "cycle": each pair meets one background row, each used equally often; "all": each meets
            all of them.
        seed: of counter-based draws keyed by (seed, row, pair): the same whatever the batching.
        shared_orders: all rows take the orders and background rows of the first: what differs between rows then is not
            what they drew. Errors are those of each row by itself.
        first_pair: number of the first pair (order, if plain) that is drawn, for work split over processes: the result
            keeps its float64 state, to be joined with others' by `rx.merge`. None: 0, and no state.
        allow_tf32: products behind the first layer of a multilayer perceptron may use TF32 along sampled orders in
            float32, on CUDA devices that have it; elsewhere nothing changes. Values of all orders are then off by
            about 3e-4 of their norm, 1e-3 at worst, and single marginals by 1e-3 (simulated with rounded operands on
            65 random networks, not measured on a device); they still sum to output - base_value.

    Returns:
        values that sum to output - base_value; standard_error over pairs for sampled orders; options["pairs"] (N,).
        Errors are upper bounds where draws are spread evenly: for orthogonal orders, and where background rows are met
        in turn; `tolerance` then samples for longer than it would have to.
        Whether Ctrl-C ended the sampling of orders is options["interrupted"]: rows that it did not get to are NaN.
    """
    one_of("estimator", estimator, ESTIMATORS)
    one_of("design", design, DESIGNS)
    one_of("background_mode", background_mode, BACKGROUND_MODES)
    positive("n_evaluations", n_evaluations)
    fraction("tolerance", tolerance)
    whole("seed", seed)
    flag("shared_orders", shared_orders)
    count("first_pair", first_pair)
    flag("allow_tf32", allow_tf32)
    chosen = _chosen(request, estimator, n_evaluations, {"tolerance": tolerance, "first_pair": first_pair})
    facts: dict[str, Any] = {"estimator": chosen, "path": request.path}
    n, backgrounds = request.players.count, request.backgrounds
    if chosen == "exact":
        if estimator == "exact":
            refuse_too_costly(n, backgrounds, n_evaluations)
        game = request.game(evaluations(n, backgrounds))
        cube = request.cube(game)
        facts["path"] = cube.path
        found = exact(game, cube, request.bars)
    elif chosen == "leverage":
        budget = n_evaluations or _LEVERAGE_PER_PLAYER * n * backgrounds
        game = request.game(budget)
        found = leverage(game, budget, seed)
    else:
        how = Sampling(design, seed, background_mode == "all", n_evaluations, tolerance, shared_orders, first_pair)
        game = request.game(n_evaluations or how.usual(n, backgrounds))
        chains = request.chains(game, allow_tf32)
        facts["path"] = chains.path
        found = sampled(game, chains, how, request.bars)
    found.facts = {**facts, **found.facts}
    return found


def _chosen(request: GameRequest, estimator: str, budget: int | None, sampling: dict[str, Any]) -> str:
    """The estimator; options of sampled orders that are not None settle what "auto" is, and fit no other."""
    n, backgrounds = request.most_players, request.backgrounds
    given = {name: value for name, value in sampling.items() if value is not None}
    if estimator == "auto":
        fits = n <= 40 and evaluations(n, backgrounds) <= max(budget or 0, _EXACT_UP_TO)
        estimator = "exact" if fits and "first_pair" not in given else "permutation"
        given.pop("tolerance", None)
    for name, value in given.items():
        if estimator != "permutation":
            raise InvalidInput(name, f"has no meaning for the {estimator} estimator", value, "Leave it out")
    return estimator
