"""What is drawn from values: sums over channels, scales, grey and colour versions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluxfast as rx
from reluxfast.errors import InvalidInput
from reluxfast.plots.labels import shown_name
from reluxfast.plots.maps import block_sums, colour, common_scale, grey, position_map, strongest_slice, unit


def test_channels_are_summed_with_their_sign():
    item = np.array([[[1.0, -2.0]], [[-1.0, 5.0]]])
    assert position_map(item).tolist() == [[0.0, 3.0]]
    assert position_map(np.array([[1.0, 2.0], [3.0, -4.0]])).tolist() == [4.0, -2.0]


def test_a_volume_shows_its_strongest_slice():
    item = np.zeros((2, 3, 2, 2))
    item[0, 0] = 5.0
    item[1, 0] = -5.0  # cancels when channels are summed
    item[0, 2] = [[1.0, -2.0], [0.0, 0.0]]
    assert strongest_slice(item) == 2
    assert position_map(item).tolist() == [[1.0, -2.0], [0.0, 0.0]]


def test_a_signed_scale_is_symmetric_and_clips_at_the_percentile():
    values = np.concatenate([np.linspace(-1, 1, 999), [1000.0]])
    scale = common_scale([values.reshape(40, 25)])
    assert scale.low == -scale.high
    assert scale.high == np.percentile(np.abs(values), 99) < 1
    assert common_scale([values], clip=100).high == 1000.0


def test_maps_without_negative_values_get_a_sequential_scale():
    scale = common_scale([np.array([0.0, 1.0, 2.0])], clip=100)
    assert (scale.low, scale.high) == (0.0, 2.0)
    assert scale.colours != common_scale([np.array([-1.0, 1.0])]).colours


@pytest.mark.parametrize("values", [np.zeros(4), np.full(4, np.nan), np.zeros(0)])
def test_a_scale_exists_where_there_is_nothing_to_see(values):
    assert common_scale([values]).high == 1.0


def test_one_strong_pixel_among_zeros_still_sets_the_scale():
    values = np.zeros(1000)
    values[3] = -2.0
    assert common_scale([values]).high == 2.0


@pytest.mark.parametrize("clip", [0, -1, 101])
def test_a_wrong_percentile_is_named(clip):
    with pytest.raises(InvalidInput, match="clip must be a percentile"):
        common_scale([np.ones(3)], clip)


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_block_sums_keep_the_total_and_each_block(block):
    heat = torch.randn(7, 5, dtype=torch.float64).numpy()
    summed = block_sums(heat, block)
    assert summed.shape == (-(-7 // block), -(-5 // block))
    assert summed[0, 0] == pytest.approx(heat[:block, :block].sum(), rel=1e-12)
    assert summed[-1, -1] == pytest.approx(heat[7 - 1 - (7 - 1) % block :, 5 - 1 - (5 - 1) % block :].sum(), rel=1e-12)


def test_grey_and_colour_fill_the_unit_range():
    image = np.stack([np.full((2, 2), c) for c in (0.0, 1.0, 2.0)])
    image[:, 0, 0] -= 1.0
    assert grey(image).min() == 0.0 and grey(image).max() == 1.0
    shown = colour(image)
    assert shown.shape == (2, 2, 3) and shown.min() == 0.0 and shown.max() == 1.0
    inside = np.linspace(0.2, 0.8, 12).reshape(3, 2, 2)
    assert np.array_equal(colour(inside), inside.transpose(1, 2, 0))
    assert colour(image[:1]).shape == (2, 2, 3)
    assert not np.isnan(grey(np.ones((1, 2, 2)))).any()


def test_every_method_has_a_name_and_methods_that_sum_to_logits_are_in_logits():
    """A method that nobody thought of here would be drawn under a wrong unit."""
    assert all(shown_name(name)[0].isupper() for name in rx.methods())
    for method in ("input_x_gradient", "lrp", "integrated_gradients", "deep_lift", "expected_gradients"):
        assert unit(method) == "logits", method
