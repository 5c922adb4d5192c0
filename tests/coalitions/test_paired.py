"""Games whose rows have background rows of their own; given orders, blocks of elements, calls that are not filled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluxfast as rx
from reluxfast.captured import captured
from reluxfast.coalitions import permutation
from reluxfast.coalitions.masks import values_each, values_of
from reluxfast.coalitions.models import FunctionModel, RowOrder
from reluxfast.coalitions.players import Players
from reluxfast.coalitions.request import GameRequest
from reluxfast.coalitions.windows import Windows, occluded
from reluxfast.methods import COALITION_METHODS, ablation
from reluxfast.sources import Source, captured_source
from tests.coalitions.support import close, normal
from tests.coalitions.test_paths import made

PATHS = ["two layers", "residual", "relu first", "function"]
ORDERS = {
    "exact": {"estimator": "exact"},
    "antithetic": {"estimator": "permutation", "n_evaluations": 300},
    "plain": {"estimator": "permutation", "n_evaluations": 300, "design": "plain", "background_mode": "all"},
    "leverage": {"estimator": "leverage", "n_evaluations": 200},
}


def asked(name, paired=True, target=None, width=None):
    """A request with three rows that each have their own background row, and the function of a batch."""
    model, x, _, _ = made("two layers" if name == "function" else name, torch.float64)
    background = normal(3, *x.shape[1:], seed=7).double()
    x[1, 3] = background[1, 3]
    order = RowOrder(tuple(x.shape[1:]), False)
    if name == "function":
        source = Source(FunctionModel(lambda batch: model(batch), order, False), "function")
    else:
        source = captured_source(captured(model, (x,)), order)
    # Few players, so that all coalitions can be listed.
    labels = torch.arange(x.shape[1], device=x.device) % min(x.shape[1], width or 7)
    chosen = None if target is None else torch.tensor(target, device=x.device)
    return GameRequest(
        source.model,
        order,
        x,
        background,
        Players.of(labels),
        int(labels.max()) + 1,
        0,
        lambda: chosen,
        64,
        path=source.path,
        ways=source.ways,
        paired=paired,
    )


def one_row(request, row):
    """The same for one row by itself."""
    chosen = request.choose()
    own = None if chosen is None else chosen[row : row + 1]
    values = {**vars(request), "x": request.x[row : row + 1], "background": request.background[row : row + 1]}
    return GameRequest(**{**values, "first_row": row, "choose": lambda: own, "paired": False, "made": None})


@pytest.mark.parametrize("target", [None, [0, 2, 1]], ids=["all outputs", "one of each row"])
@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    ("method", "options"),
    [*(("shapley", o) for o in ORDERS.values()), ("feature_ablation", {}), ("kernel_shap", {}), ("lime", {})],
    ids=[*ORDERS, "ablation", "kernel", "lime"],
)
def test_equals_rows_by_themselves(method, options, name, target):
    request = asked(name, target=target)
    found = COALITION_METHODS[method](request, **options)
    for row in range(3):
        alone = one_row(request, row)
        expected = COALITION_METHODS[method](alone, **options)
        close(found.values[row], expected.values[0], 1e-10)
        close(request.made.base[row], alone.made.base[0], 1e-12)
        assert torch.equal(found.n_evaluations[row], expected.n_evaluations[0])


@pytest.mark.parametrize(
    ("name", "options"),
    [("two layers", ORDERS["exact"]), ("two layers", ORDERS["antithetic"]), ("residual", ORDERS["antithetic"])],
)
def test_players_that_stay_get_nothing(name, options):
    for request in (asked(name, width=1000), asked(name, width=1000, target=[0, 2, 1])):
        values = COALITION_METHODS["shapley"](request, **options).values
        assert bool((values[1, 3] == 0).all()) and bool((values[0, 3] != 0).any())


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("name", PATHS)
def test_given_orders(name, paired, monkeypatch):
    """The mean of marginals that are written down one by one; however units are batched."""
    request = asked(name, paired)
    game = request.game(50)
    n, orders = game.n, torch.stack([torch.randperm(request.players.count, device="cpu") for _ in range(5)])
    found = permutation.along(game, request.chains(game, False), orders)
    total = 0
    for order in orders.tolist():
        present = np.zeros((n + 1, n), dtype=bool)
        for place, player in enumerate(order):
            present[place + 1 :, player] = True
        steps = values_of(game, present).diff(dim=1)
        total = total + steps[:, torch.tensor(order).argsort()]
    close(found.values, total / 5, 1e-10)
    close(found.values.sum(1), game.full - game.base, 1e-11)
    assert found.facts["orders"].tolist() == [5, 5, 5]


@pytest.mark.parametrize("paired", [True, False])
def test_a_coalition_of_each_row(paired):
    game = asked("function", paired).game(50)
    present = torch.rand(20, game.n, generator=torch.Generator("cpu").manual_seed(0), device="cpu") < 0.5
    rows = torch.arange(20, device="cpu") % 3
    found = values_each(game, rows, present)
    expected = values_of(game, present.numpy())[rows.to(game.x.device), torch.arange(20, device=game.x.device)]
    close(found, expected, 1e-12)


def test_ablation_in_stretches(monkeypatch):
    expected = ablation.feature_ablation(asked("function")).values
    monkeypatch.setattr(ablation, "_TABLE", 20)
    close(ablation.feature_ablation(asked("function")).values, expected, 1e-12)


def test_windows_over_a_block():
    """What is outside stays; a block that a row holds twice is hidden twice."""
    x = normal(2, 3, 4, seed=1).double()
    rest = normal(2, 5, seed=2).double()
    rows = torch.cat([rest[:, :2], x.flatten(1), rest[:, 2:]], 1)
    weight = normal(17, seed=3).double()

    def f(batch: torch.Tensor) -> torch.Tensor:
        return (batch * weight).sum(1).sin()

    order = RowOrder((17,), False)
    windows = Windows((3, 4), (2, 3), (1, 2))
    place = torch.arange(12, device=x.device) + 2
    players = windows.players(place, 17)
    assert players.count == int(windows.labels.max()) + 2
    model, background = FunctionModel(f, order, False), torch.zeros_like(rows[:1])
    request = GameRequest(model, order, rows, background, players, players.count, 0, lambda: None, 64)
    found = occluded(request.game(10), windows)[:, :, 0]

    def within(batch: torch.Tensor, row: int) -> torch.Tensor:
        many = len(batch)
        whole = [rest[row, :2].expand(many, -1), batch.flatten(1), rest[row, 2:].expand(many, -1)]
        return f(torch.cat(whole, 1))

    for row in range(2):
        expected = rx.occlusion(lambda b, row=row: within(b, row), x[row : row + 1], window=(2, 3), stride=(1, 2))
        close(found[row].view(3, 4), expected.values[0], 1e-12)

    twice = torch.stack([place, torch.arange(12, device=x.device) + 14])
    both = windows.players(twice, 26)
    assert both.count == players.count - 1 + 1 and torch.equal(both.labels[twice[0]], both.labels[twice[1]])
    assert Windows((3, 4), (3, 4), (1, 1)).players(place - 2, 12).count == 1


def test_calls_that_are_not_filled_up():
    sizes = []

    def f(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return batch.sum(1)

    x = normal(2, 5, seed=0)
    order = RowOrder((5,), False)
    for padded, expected in ((True, [256, 256]), (False, [3, 10])):
        sizes.clear()
        players = Players.each(torch.arange(5, device=x.device))
        model = FunctionModel(f, order, False, padded)
        request = GameRequest(model, order, x, torch.zeros_like(x[:1]), players, 5, 0, lambda: None, 64)
        close(ablation.feature_ablation(request).values[..., 0], x, 1e-6)
        assert sizes == expected
