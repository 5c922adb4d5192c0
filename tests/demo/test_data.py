"""The demo's images: right shapes, nothing held out seen in training, what is missing is named."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from reluxfast.demo import data
from reluxfast.extras import MissingExtra


def test_digits_are_split_without_loss_or_overlap():
    split = data.digits(seed=3)
    assert split.train_x.shape == (1347, 1, 8, 8) and split.test_x.shape == (450, 1, 8, 8)
    assert split.train_x.min() == 0 and split.train_x.max() == 1
    everything = torch.cat([split.train_x, split.test_x]).flatten(1)
    assert len(everything.unique(dim=0)) == len(everything), "digits are all different, so a doubled one was leaked"
    assert split.test_y.unique().tolist() == list(range(10))


def test_training_crops_do_not_touch_the_held_out_windows(monkeypatch):
    """Photos are replaced by maps of their own coordinates, so that a crop tells where it was cut."""

    def coordinates(name):
        rows, columns = np.meshgrid(np.arange(150), np.arange(225), indexing="ij")
        return np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.float32)

    monkeypatch.setattr(data, "photo", coordinates)
    split = data.photo_crops(seed=0, train_per_photo=300, test_per_photo=50)
    assert split.train_x.shape == (1200, 3, 32, 32) and split.test_x.shape == (200, 3, 32, 32)
    for label, (top, left) in enumerate(data.PHOTOS.values()):
        bottom, right = top + data.HELD_OUT_SIZE, left + data.HELD_OUT_SIZE
        for x, y, inside in ((split.train_x, split.train_y, False), (split.test_x, split.test_y, True)):
            rows, columns = x[y == label, 0], x[y == label, 1]
            seen = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
            assert bool(seen.all()) if inside else not bool(seen.any())


def test_photos_are_the_same_for_the_same_seed_and_others_for_another():
    first, again, other = (data.photo_crops(seed, 5, 3) for seed in (0, 0, 1))
    assert torch.equal(first.train_x, again.train_x) and torch.equal(first.test_x, again.test_x)
    assert not torch.equal(first.train_x, other.train_x)


def test_a_photo_is_halved_by_means():
    from skimage import data as photos

    full = photos.chelsea()
    small = data.photo("chelsea")
    assert small.shape == (150, 225, 3)
    assert np.allclose(small[3, 7], full[6:8, 14:16].reshape(4, 3).mean(0) / 255, atol=1e-6)


def test_a_mosaic_is_in_reading_order():
    windows = torch.arange(4.0)[:, None, None, None].expand(4, 3, 2, 2)
    assert data.mosaic(windows)[0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


@pytest.mark.parametrize(
    ("module", "package", "call"),
    [
        ("sklearn.datasets", "scikit-learn", data.digits),
        ("skimage.data", "scikit-image", data.held_out_windows),
    ],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, module, package, call):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"the demo needs {package}.*pip install 'reluxfast\[demo\]'"):
        call()
