"""Reading inputs from images and arrays."""

from __future__ import annotations

import builtins
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from reluxfast.errors import InvalidInput
from reluxfast.extras import MissingExtra
from reluxfast.input_file import read_inputs

RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(RGB).save(path)
    return path


def test_an_image_keeps_its_pixels(picture):
    x = read_inputs(picture, (3, None, None))
    assert x.shape == (1, 3, 4, 6) and x.dtype == torch.float32
    assert torch.equal(x[0], torch.from_numpy(RGB.transpose(2, 0, 1).astype(np.float32) / 255))


def test_mean_and_std_are_per_channel(picture):
    plain = read_inputs(picture, (3, None, None), torch.float64)
    x = read_inputs(picture, (3, None, None), torch.float64, mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 4.0])
    for channel, (mean, std) in enumerate(((0.1, 1), (0.2, 2), (0.3, 4))):
        # Rounding of one subtraction and one division in float64.
        assert (x[0, channel] - (plain[0, channel] - mean) / std).abs().max() < 1e-15


def test_an_image_takes_the_models_size_and_channels(picture):
    assert read_inputs(picture, (1, 8, 8)).shape == (1, 1, 8, 8)
    assert read_inputs(picture, (3, None, None), size=(5, 7)).shape == (1, 3, 5, 7)


@pytest.mark.parametrize("rows", [None, 2])
def test_an_array_is_one_row_or_a_batch(tmp_path, rows):
    array = np.random.default_rng(0).random((3, 4, 5) if rows is None else (rows, 3, 4, 5))
    np.save(tmp_path / "x.npy", array)
    x = read_inputs(tmp_path / "x.npy", (3, 4, None), torch.float64)
    assert torch.equal(x, torch.from_numpy(array if rows else array[None]))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 4), np.uint8), r"floating-point.*uint8.*astype"),
        (np.zeros((3, 4, 5)), r"\(N, 3, 4, 4\).*\(1, 3, 4, 5\)"),
        (np.zeros((4, 4)), r"\(N, 3, 4, 4\).*\(4, 4\)"),
    ],
)
def test_a_wrong_array_is_named(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InvalidInput, match=message):
        read_inputs(tmp_path / "x.npy", (3, 4, 4))


class Touch:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (builtins.open, (self.marker, "w"))


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    marker = tmp_path / "it-ran"
    np.save(tmp_path / "x.npy", np.array([Touch(marker)], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput, match="allow_pickle=False"):
        read_inputs(tmp_path / "x.npy", (3, 4, 4))
    assert not marker.exists()


def test_wrong_files_and_numbers_are_named(tmp_path, picture):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InvalidInput, match="Pillow reads"):
        read_inputs(tmp_path / "text.png", (3, None, None))
    with pytest.raises(FileNotFoundError, match="absent"):
        read_inputs(tmp_path / "absent.npy", (3, 4, 4))
    with pytest.raises(InvalidInput, match="mean must hold one number or one for each of the 3 channels"):
        read_inputs(picture, (3, None, None), mean=[0.1, 0.2])
    with pytest.raises(InvalidInput, match="std must be positive"):
        read_inputs(picture, (3, None, None), std=[0.0])
    with pytest.raises(InvalidInput, match=r"\.npy array for this model"):
        read_inputs(picture, (30,))


def test_missing_pillow_is_named(picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtra, match=r"pillow.*reluxfast\[images\]"):
        read_inputs(picture, (3, None, None))
