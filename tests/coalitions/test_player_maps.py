"""Players of images: patches, superpixels, maps of one's own, and values laid back on elements."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import torch
from skimage.data import astronaut, coffee
from torch import nn

import reluxfast as rx
from reluxfast import progress
from reluxfast.coalitions import chains
from reluxfast.extras import MissingExtra
from reluxfast.player_maps import means, spread
from tests.coalitions.support import close, normal, on_device, rows


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return normal(*shape, seed=seed, dtype=torch.float64)


def network(*row: int, outputs: int = 2) -> nn.Sequential:
    """Flattened rows through one hidden layer, in float64."""

    def layers() -> nn.Sequential:
        hidden = nn.Linear(int(np.prod(row)), 12)
        return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(12, outputs)).double()

    return on_device(layers)


def photos(side: int = 48) -> torch.Tensor:
    """Two photos (2, 3, side, side), each 0..1, the second darker so that its range differs."""
    small = [image[::8, ::8][:side, :side] / 255 for image in (astronaut(), coffee())]
    return torch.tensor(np.stack(small)).permute(0, 3, 1, 2) * torch.tensor([1.0, 0.5]).view(2, 1, 1, 1)


@pytest.mark.parametrize(
    ("size", "spatial", "sizes"),
    [
        (3, (7,), (3,)),
        (2, (5, 7), (2, 2)),
        ((2, 3), (5, 7), (2, 3)),
        ((5, 1), (5, 3), (5, 1)),
        (100, (5, 7), (100, 100)),
        (1, (3, 4), (1, 1)),
        ((2, 3, 2), (4, 5, 3), (2, 3, 2)),
        ([3], (4, 4), (3, 3)),
        (np.int64(4), (6, 9), (4, 4)),
    ],
)
def test_patches_are_a_grid_in_reading_order(size, spatial, sizes):
    x = images(2, 3, *spatial)
    named = rx.patches(size).of(x)
    assert named.shape == (1, 1, *spatial) and named.dtype == torch.int64
    grid = [-(-length // side) for length, side in zip(spatial, sizes, strict=True)]
    for at in np.ndindex(*spatial):
        cell = [i // side for i, side in zip(at, sizes, strict=True)]
        assert int(named[(0, 0, *at)]) == np.ravel_multi_index(cell, grid)


@pytest.mark.parametrize("estimator", ["exact", "permutation", "leverage"])
def test_patches_are_the_players_of_every_channel(estimator):
    x, baseline = images(3, 2, 5, 7), images(2, 5, 7, seed=1)
    model = network(2, 5, 7)
    found = rx.shapley(model, x, baseline, players=rx.patches((2, 4)), estimator=estimator)
    by_hand = (torch.arange(5) // 2).view(5, 1) * 2 + torch.arange(7) // 4
    expected = rx.shapley(model, x, baseline, players=by_hand, estimator=estimator)
    assert found.values.shape == (3, 2, 6) and torch.equal(found.values, expected.values)
    close(found.values.sum(-1), found.output - found.base_value, 1e-12)
    assert found.options["players"].shape == (1, 2, 5, 7)
    laid = found.on_elements()
    assert laid.shape == (3, 2, 2, 5, 7)
    for at in np.ndindex(5, 7):
        each = found.values[..., int(by_hand[at])]
        assert torch.equal(laid[(..., *at)], each.unsqueeze(-1).expand(3, 2, 2))


def test_series_and_volumes():
    for row, size in (((2, 9), 4), ((1, 4, 3, 5), 2)):
        x = images(2, *row)
        found = rx.shapley(network(*row), x, players=rx.patches(size), estimator="permutation")
        assert found.on_elements().shape == (2, 2, *row)
        close(found.values.sum(-1), found.output - found.base_value, 1e-12)


def test_superpixels_are_regions_of_their_image():
    x = photos()
    named = rx.superpixels(20).of(x)
    assert named.shape == (2, 1, 48, 48) and named.dtype == torch.int64
    counts = [len(each.unique()) for each in named]
    assert all(8 <= count <= 40 for count in counts) and not torch.equal(named[0], named[1])
    # The same each time, whichever images stand beside it, and whatever its scale and offset.
    assert torch.equal(rx.superpixels(20).of(x), named)
    assert torch.equal(rx.superpixels(20).of(x[1:]), named[1:])
    assert torch.equal(rx.superpixels(20).of(x * 64 - 8), named)
    # Pixels of a region are more alike than those of an image.
    for image, regions in zip(x, named[:, 0], strict=True):
        inner = [
            image[:, regions == region].var(1, correction=0) * (regions == region).sum() for region in regions.unique()
        ]
        assert torch.stack(inner).sum() < 0.6 * 48 * 48 * image.flatten(1).var(1, correction=0).sum()
    assert rx.superpixels(60).of(x).amax() > named.amax()
    assert not torch.equal(rx.superpixels(20, 0.1).of(x), named)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_superpixels_of_any_channels_and_of_flat_images(channels):
    x = photos()[:, :1].repeat(1, channels, 1, 1)
    assert len(rx.superpixels(9).of(x).unique()) > 1
    flat = rx.superpixels(9).of(torch.ones(1, channels, 12, 12))
    assert flat.shape == (1, 1, 12, 12) and bool((flat >= 0).all())
    assert rx.superpixels(9).of(x[:0]).shape == (0, 1, 48, 48)


def test_superpixels_as_players():
    x = photos()
    model = network(3, 48, 48)
    found = rx.shapley(model, x, players=rx.superpixels(12), n_evaluations=500)
    close(found.values.sum(-1), found.output - found.base_value, 1e-12)
    named = rx.superpixels(12).of(x).expand(2, 3, 48, 48)
    assert torch.equal(found.options["players"], named)
    again = rx.shapley(model, x, players=named, n_evaluations=500)
    assert torch.equal(found.values, again.values)


def ragged() -> torch.Tensor:
    """Maps (3, 2, 8) of three rows with 4, 2 and 6 players, named with gaps."""
    column = torch.arange(8)
    maps = torch.stack([column // 2 * 10 - 5, column % 2 * 7, torch.tensor([3, 0, 5, 1, 4, 2, 3, 0]) + 100])
    return maps.unsqueeze(1).expand(3, 2, 8)


@pytest.mark.parametrize("estimator", ["exact", "permutation", "leverage"])
def test_rows_with_players_of_their_own(estimator):
    x, background = images(3, 2, 8), images(4, 2, 8, seed=1)
    model, players = network(2, 8), ragged()
    found = rx.shapley(model, x, background, players=players, estimator=estimator, n_evaluations=400)
    assert found.values.shape == (3, 2, 6)
    counts = [4, 2, 6]
    close(found.values.sum(-1), found.output - found.base_value, 1e-12)
    for row, count in enumerate(counts):
        assert bool((found.values[row, :, count:] == 0).all()) and bool((found.values[row, :, :count] != 0).all())
        # Draws are keyed by a row's number in the call: as the row-th row of any call it is the same row.
        beside = rx.shapley(model, x, background, players=players[row], estimator=estimator, n_evaluations=400)
        assert torch.equal(found.values[row, :, :count], beside.values[row])
        assert torch.equal(found.output, beside.output) and torch.equal(found.base_value, beside.base_value)
        if estimator == "permutation":
            assert torch.equal(found.standard_error[row, :, :count], beside.standard_error[row])
            assert bool((found.standard_error[row, :, count:] == 0).all())
            assert int(found.options["pairs"][row]) == int(beside.options["pairs"][row])
        counted = found.n_evaluations if isinstance(found.n_evaluations, int) else int(found.n_evaluations[row])
        assert counted == beside.n_evaluations


def test_one_estimator_for_all_rows():
    """Exact values take 14 evaluations of the row with 4 players, and 65534 of the one with 16."""
    x, model = images(2, 16), network(16)
    maps = torch.stack([torch.arange(16) // 4, torch.arange(16)])
    for order in ([0, 1], [1, 0]):
        found = rx.shapley(model, x, players=maps[order])
        assert found.options["estimator"] == "permutation" and found.options["pairs"].tolist() == [32, 32]
        assert bool((found.standard_error[order.index(0), :, :4] > 0).all())
    assert rx.shapley(model, x, players=maps, n_evaluations=1 << 16).options["estimator"] == "exact"


def test_facts_of_rows_that_differ():
    x, model = images(2, 16), network(16)
    maps = torch.stack([torch.zeros(16, dtype=torch.int64), torch.arange(16) // 4])
    for order in ([0, 1], [1, 0]):
        found = rx.shapley(model, x, players=maps[order], estimator="leverage")
        assert found.options["coalitions"].tolist() == [[2, 16][i] for i in order]
    found = rx.shapley(model, x, players=maps[[1, 1]], estimator="leverage")
    assert found.options["coalitions"] == 16


def interrupted_at(call, model):
    """The model as a function that is interrupted at one of its calls, and the batch sizes of these."""
    calls = []

    def impatient(batch):
        calls.append(len(batch))
        if len(calls) == call:
            raise KeyboardInterrupt
        return model(batch)

    return impatient, calls


# Calls of f on three rows with 4, 2 and 6 players, 16 at a time: 1 and 12, 1 and 4, 1 and 20.
@pytest.mark.parametrize(
    ("at", "pairs", "spent"),
    [
        (5, [0, 0, 0], [1, 0, 0]),
        (14, [32, 0, 0], [193, 0, 0]),
        (16, [32, 0, 0], [193, 1, 0]),
        (19, [32, 32, 0], [193, 65, 0]),
        (40, [32, 32, 32], [193, 65, 321]),
    ],
)
def test_an_interrupt_ends_the_run(monkeypatch, at, pairs, spent):
    monkeypatch.setattr(chains, "_CALLS", 1 << 10)
    model, (impatient, calls) = network(2, 8), interrupted_at(at, network(2, 8))
    options = {"players": ragged(), "estimator": "permutation", "batch_size": 16}
    found = rx.shapley(impatient, images(3, 2, 8), **options)
    whole = rx.shapley(lambda batch: model(batch), images(3, 2, 8), **options)
    assert whole.options["interrupted"] is False
    # After an interrupt f is asked for nothing more.
    assert len(calls) == min(at, 39) and found.options["interrupted"] is (at < 40)
    assert found.options["pairs"].tolist() == pairs
    assert torch.as_tensor(found.n_evaluations).tolist() == spent
    for row, count in enumerate([4, 2, 6]):
        done, begun = pairs[row] > 0, spent[row] > 0
        for values, expected in ((found.values, whole.values), (found.standard_error, whole.standard_error)):
            assert torch.equal(values[row], expected[row]) if done else bool(values[row, :, :count].isnan().all())
            assert bool((values[row, :, count:] == 0).all())
        for values, expected in ((found.output, whole.output), (found.base_value, whole.base_value)):
            assert torch.equal(values[row], expected[row]) if begun else bool(values[row].isnan().all())


def test_an_interrupted_row_keeps_its_pairs(monkeypatch):
    monkeypatch.setattr(chains, "_JOBS", 16)
    impatient, _ = interrupted_at(7, network(2, 8))
    options = {"players": ragged(), "estimator": "permutation", "tolerance": 1e-9, "batch_size": 16}
    found = rx.shapley(impatient, images(3, 2, 8), n_evaluations=2000, **options)
    assert found.options["pairs"].tolist() == [10, 0, 0] and found.options["converged"] is False
    close(found.values[0].sum(-1), found.output[0] - found.base_value[0], 1e-12)


def test_rows_that_were_not_begun_have_not_converged():
    model, (impatient, _) = network(2, 8), interrupted_at(5, network(2, 8))
    options = {"players": ragged(), "estimator": "permutation", "tolerance": 1e9, "batch_size": 16}
    found = rx.shapley(impatient, images(3, 2, 8), **options)
    assert found.options["pairs"].tolist() == [8, 0, 0]
    assert found.options["interrupted"] is True and found.options["converged"] is False
    assert rx.shapley(lambda batch: model(batch), images(3, 2, 8), **options).options["converged"] is True


@pytest.mark.parametrize(("estimator", "at"), [("permutation", 1), ("exact", 3), ("leverage", 3)])
def test_an_interrupt_that_leaves_nothing_is_raised(estimator, at):
    impatient, _ = interrupted_at(at, network(2, 8))
    with pytest.raises(KeyboardInterrupt):
        rx.shapley(impatient, images(3, 2, 8), players=ragged(), estimator=estimator)


@pytest.mark.parametrize("method", ["shapley", "lime"])
@pytest.mark.parametrize("players", [ragged, lambda: None], ids=["own", "shared"])
def test_one_bar_for_all_rows(monkeypatch, method, players):
    bars = []

    class Recorded(progress.tqdm):
        def __init__(self, *args, **options):
            shown = options["disable"] is not True
            super().__init__(*args, **{**options, "disable": not shown, "file": io.StringIO()})
            bars.extend([self] * shown)

    monkeypatch.setattr(progress, "tqdm", Recorded)
    x, model, own = images(3, 2, 8), network(2, 8), players is ragged
    options = {"estimator": "permutation"} if method == "shapley" else {}
    getattr(rx, method)(model, x, players=players(), **options)
    shown = [(bar.desc, bar.unit, bar.total, round(bar.n, 9)) for bar in bars]
    expected = [(method, "row", 3, 3)] if own else [("shapley", "pair", 96, 96)] if method == "shapley" else []
    assert shown == expected


def test_rows_with_players_of_their_own_on_elements():
    x, players = images(3, 2, 8), ragged()
    found = rx.shapley(network(2, 8), x, players=players)
    laid = found.on_elements()
    assert laid.shape == (3, 2, 2, 8)
    for row in range(3):
        names = players[row].unique()
        for i, name in enumerate(names):
            there = laid[row][:, players[row] == name]
            assert torch.equal(there, found.values[row, :, i : i + 1].expand_as(there))


@pytest.mark.parametrize("method", ["kernel_shap", "lime", "feature_ablation"])
def test_other_methods_take_players_of_each_row(method):
    x, model = images(3, 2, 8), network(2, 8)
    found = getattr(rx, method)(model, x, players=ragged())
    for row, count in enumerate([4, 2, 6]):
        alone = getattr(rx, method)(model, x, players=ragged()[row])
        close(found.values[row, :, :count], alone.values[row], 1e-12)
        assert bool((found.values[row, :, count:] == 0).all())


def test_each_row_explains_its_own_target():
    x, model = images(3, 2, 8), network(2, 8, outputs=3)
    every = rx.shapley(model, x, players=ragged())
    mixed = rx.shapley(model, x, target=[2, 0, 1], players=ragged())
    expected = every.values[torch.arange(3), torch.tensor([2, 0, 1])]
    assert mixed.values.shape == (3, 6) and torch.equal(mixed.values, expected)
    close(mixed.values.sum(-1), mixed.output[[0, 1, 2], [2, 0, 1]] - mixed.base_value, 1e-12)


def test_maps_of_one_s_own_may_have_any_form():
    x, model = images(3, 2, 4), network(2, 4)
    columns = torch.tensor([7, -1, 7, 30])
    expected = rx.shapley(model, x, players=columns.expand(2, 4))
    assert expected.values.shape == (3, 2, 3)
    forms = [
        columns,
        columns.cpu().numpy(),
        columns.tolist(),
        columns.to(torch.int8),
        columns.view(1, 4),
        columns.view(1, 1, 4),
    ]
    forms += [columns.expand(3, 1, 4), columns.expand(3, 2, 4)]
    for form in forms:
        found = rx.shapley(model, x, players=form)
        assert torch.equal(found.values, expected.values)
        assert torch.equal(found.on_elements(), expected.on_elements())
    assert rx.shapley(model, x, players=5).values.shape == (3, 2, 1)
    assert rx.shapley(model, x, players=np.array([0, 0, 1, 1], dtype=np.uint16)).values.shape == (3, 2, 2)


def test_a_single_row_with_a_map_of_its_own():
    x, model = images(1, 2, 4), network(2, 4)
    columns = torch.tensor([0, 0, 1, 2])
    alone, shared = (rx.shapley(model, x, players=columns.expand(form)) for form in ((1, 2, 4), (2, 4)))
    assert torch.equal(alone.values, shared.values)


def test_no_rows():
    model = network(2, 4)
    for players in (rx.patches(2), torch.zeros(0, 2, 4, dtype=torch.int64), None):
        found = rx.shapley(model, images(0, 2, 4), players=players)
        assert found.values.shape[:2] == (0, 2) and found.on_elements().shape == (0, 2, 2, 4)


@pytest.mark.parametrize(
    ("players", "message"),
    [
        (torch.zeros(2, 2, 4, dtype=torch.int64), r"shape of a row, \(2, 4\), or of all rows, got \(2, 2, 4\)"),
        (torch.zeros(3, 4, dtype=torch.int64), r"shape of a row, \(2, 4\), or of all rows, got \(3, 4\)"),
        (torch.zeros(2, 4), "players must hold integers .* got torch.float32"),
        (torch.zeros(2, 4, dtype=torch.bool), "players must hold integers .* got torch.bool"),
        (np.zeros((2, 4)), "players must hold integers .* got float64"),
        ([["a"] * 4] * 2, "players must hold integers .* got <U1"),
        (rx.patches((2, 2)), r"players needs a patch size for each of 1 dimensions, got \(2, 2\)"),
        (rx.superpixels(4), r"x must hold images \(N, C, H, W\) for superpixels, got \(3, 2, 4\)"),
    ],
)
def test_players_that_are_refused(players, message):
    with pytest.raises(rx.InvalidInput, match=message):
        rx.shapley(network(2, 4), images(3, 2, 4), players=players)


def test_patches_and_superpixels_that_are_refused():
    for size in (0, -1, 2.5, None, True, (), (2, 0), (2, True), "ab"):
        with pytest.raises(rx.InvalidInput, match="size must be a positive int, or one for each dimension"):
            rx.patches(size)
    for count in (0, 2.5, True, None):
        with pytest.raises(rx.InvalidInput, match="n_segments must be a positive int"):
            rx.superpixels(count)
    for compactness in (0, -1.0, True, "1", float("nan")):
        with pytest.raises(rx.InvalidInput, match="compactness must be a number above 0"):
            rx.superpixels(4, compactness)
    for players, name in ((rx.patches(2), "patches"), (rx.superpixels(2), "superpixels")):
        with pytest.raises(rx.InvalidInput, match=rf"x must hold images \(N, C, ...\) for {name}, got \(2, 6\)"):
            rx.shapley(network(6), rows(2, 6).double(), players=players)


def test_superpixels_of_images_that_are_not_finite():
    x = photos()
    x[1, 0, 3, 4] = float("nan")
    with pytest.raises(rx.InvalidInput, match="x must be finite for superpixels, got NaN or infinity"):
        rx.superpixels(4).of(x)


def test_superpixels_without_scikit_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(MissingExtra, match="superpixels needs scikit-image, which is not installed"):
        rx.superpixels(4).of(photos())


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_methods_that_answer_for_elements_refuse_players(method):
    options = {"window": 2} if method == "occlusion" else {}
    x, model = images(2, 1, 6, 6), network(1, 6, 6)
    with pytest.raises(rx.InvalidInput, match=f"players have no meaning for {method}, which answers for each element"):
        getattr(rx, method)(model, x, players=rx.patches(2), **options)
    found = getattr(rx, method)(model, x, **options)
    assert torch.equal(found.on_elements(), found.values)


def test_spread_shares_and_means_gather():
    players = torch.tensor([[3, 1, 3, 3], [0, 0, 0, 0]])
    values = torch.tensor([[[4.0, 9.0]], [[8.0, 0.0]]])  # (N, K, n), the second row's players padded
    assert spread(values, players).tolist() == [[[9, 4, 9, 9]], [[8, 8, 8, 8]]]
    assert spread(values, players, shared=True).tolist() == [[[3, 4, 3, 3]], [[2, 2, 2, 2]]]
    gathered = means(torch.tensor([[1.0, 2, 3, 5], [1, 2, 3, 6]]), players, 2)
    assert gathered[0].tolist() == [2, 3] and gathered[1, 0] == 3 and bool(gathered[1, 1].isnan())
    assert spread(values[:0], players[:1]).shape == (0, 1, 4)
