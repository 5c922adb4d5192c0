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
    with pytest.warns(UserWarning, match="4 x 6 pixels and is resized to 8 x 8, which distorts it"):
        assert read_inputs(picture, (1, 8, 8)).shape == (1, 1, 8, 8)
    with pytest.warns(UserWarning, match="4 x 6 pixels and is resized to 5 x 7"):
        assert read_inputs(picture, (3, None, None), size=(5, 7)).shape == (1, 3, 5, 7)


def test_a_crop_keeps_the_proportions_and_the_centre(picture):
    with pytest.warns(UserWarning, match="resized to 2 x 2, its longer side being cut at both ends"):
        x = read_inputs(picture, (3, 2, 2), fit="crop")
    wanted = Image.fromarray(RGB[:, 1:5]).resize((2, 2), Image.Resampling.BILINEAR)
    # The filter reaches a pixel beyond the cut; squashed columns would be off by 4.5 of 255.
    assert (x[0] - torch.from_numpy(np.asarray(wanted, dtype=np.float32) / 255).permute(2, 0, 1)).abs().max() < 3 / 255


@pytest.mark.parametrize(("size", "distorted"), [((2, 3), False), ((3, 4), False), ((40, 61), True)])
def test_less_than_a_pixel_is_no_distortion(picture, size, distorted):
    with pytest.warns(UserWarning, match="resized") as found:
        read_inputs(picture, (3, None, None), size=size)
    assert ("distorts" in str(found[0].message)) is distorted


def test_an_image_of_the_right_size_is_said_nothing_about(picture, recwarn):
    read_inputs(picture, (3, 4, 6))
    assert not recwarn.list


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_8_bits_are_refused(tmp_path, mode):
    path = tmp_path / "deep.tiff"
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    Image.fromarray(np.full((4, 4), 1000, kind)).save(path)
    with pytest.raises(InvalidInput, match=r"8 bits per channel.*npy"):
        read_inputs(path, (1, 4, 4))


@pytest.mark.parametrize("kind", [">f4", np.float16, np.longdouble])
def test_every_float_array_is_read(tmp_path, kind):
    np.save(tmp_path / "x.npy", np.arange(4, dtype=kind).reshape(1, 4))
    assert read_inputs(tmp_path / "x.npy", (4,)).tolist() == [[0, 1, 2, 3]]


def test_an_empty_batch_and_a_broken_image_are_named(tmp_path, picture):
    np.save(tmp_path / "x.npy", np.zeros((0, 4)))
    with pytest.raises(InvalidInput, match="at least one row"):
        read_inputs(tmp_path / "x.npy", (4,))
    (tmp_path / "half.png").write_bytes(picture.read_bytes()[:45])
    with pytest.raises(InvalidInput, match="broken file"):
        read_inputs(tmp_path / "half.png", (3, 4, 6))
    with pytest.raises(InvalidInput, match="fit must be one of squash, crop"):
        read_inputs(picture, (3, 4, 6), fit="stretch")


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
    with pytest.raises(InvalidInput, match=r"absent\.npy' must exist"):
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
