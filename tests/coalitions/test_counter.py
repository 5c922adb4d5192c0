"""Random numbers by counting: bits that depend on nothing but what they are keyed by."""

from __future__ import annotations

import itertools

import pytest
import torch

from reluxfast.coalitions.counter import BACKGROUNDS, PERMUTATIONS, permutations, uniforms
from reluxfast.coalitions.designs import background_rows, orders
from reluxfast.ops.philox import draws


def test_bits_belong_to_the_seed_the_row_and_the_unit():
    rows, units = torch.tensor([3, 0, 7]), torch.tensor([5, 1])
    whole = draws(11, PERMUTATIONS, rows, units, 9)
    assert whole.shape == (3, 2, 9) and int(whole.min()) >= 0 and int(whole.max()) < 2**32
    for (i, row), (j, unit) in itertools.product(enumerate(rows), enumerate(units)):
        assert torch.equal(draws(11, PERMUTATIONS, row[None], unit[None], 9)[0, 0], whole[i, j])
    # Fewer draws are the first of more.
    assert torch.equal(draws(11, PERMUTATIONS, rows, units, 5), whole[..., :5])
    others = [draws(12, PERMUTATIONS, rows, units, 9), draws(11, BACKGROUNDS, rows, units, 9)]
    others += [draws(11, PERMUTATIONS, rows + 1, units, 9), draws(11, PERMUTATIONS, rows, units + 1, 9)]
    for other in others:
        assert not (other == whole).any()
    assert torch.equal(draws(11 + 2**64, PERMUTATIONS, rows, units, 9), whole)
    assert torch.equal(draws(11 - 2**64, PERMUTATIONS, rows, units, 9), whole)
    assert not torch.equal(draws(11 + 2**32, PERMUTATIONS, rows, units, 9), whole)


def test_all_orders_are_equally_likely():
    found = permutations(0, PERMUTATIONS, torch.arange(60), range(400), 4).flatten(0, 1)
    assert torch.equal(found.sort(-1).values, torch.arange(4, dtype=torch.int32).expand_as(found))
    counts = torch.unique(found, dim=0, return_counts=True)[1].double()
    assert len(counts) == 24
    # χ² with 23 degrees of freedom: 99.9 % below 49.7.
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 49.7


def test_uniform_numbers():
    u = uniforms(0, PERMUTATIONS, torch.arange(50), torch.arange(50), 40)
    assert 0 < float(u.min()) and float(u.max()) < 1
    assert abs(float(u.mean()) - 0.5) < 4 * (1 / 12 / u.numel()) ** 0.5
    assert abs(float(u.var()) - 1 / 12) < 1e-3


def test_backgrounds_are_used_in_turn():
    rows = torch.arange(5)
    found = background_rows(3, rows, range(0, 12), 4)
    for turn in found.view(5, 3, 4).unbind(1):
        assert torch.equal(turn.sort(-1).values, torch.arange(4, dtype=torch.int32).expand(5, 4))
    assert torch.equal(found[:, :4], found[:, 4:8]) and not torch.equal(found[0], found[1])
    assert torch.equal(background_rows(3, rows[2:4], range(6, 9), 4), found[2:4, 6:9])


@pytest.mark.parametrize("design", ["antithetic", "orthogonal", "plain"])
def test_orders_do_not_depend_on_how_they_are_cut(design):
    rows = torch.arange(4)
    whole = orders(design, 5, rows, range(0, 25), 7)
    assert torch.equal(whole.sort(-1).values, torch.arange(7, dtype=torch.int32).expand_as(whole))
    assert torch.equal(orders(design, 5, rows[1:3], range(4, 17), 7), whole[1:3, 4:17])
    assert len(torch.unique(whole.flatten(0, 1), dim=0)) > 90


def test_orthogonal_orders_spread_players_evenly():
    """Mean squared correlation of the positions of a block with those of independent orders: far below theirs."""

    def overlap(design):
        found = orders(design, 1, torch.arange(200), range(0, 8), 9).argsort(-1).double() - 4
        products = found @ found.transpose(1, 2)
        return float(products[:, ~torch.eye(8, dtype=torch.bool)].square().mean())

    assert overlap("orthogonal") < 0.35 * overlap("antithetic")
