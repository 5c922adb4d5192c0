"""Images: Zennit's pixels and colours."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from reluxfast.compat.zennit.colours import _NAMED
from reluxfast.compat.zennit.image import gridify, imgify, imsave, interval_norm_bounds, palette
from tests import peers  # noqa: F401  zennit can be imported behind it

pytest.importorskip("PIL", reason="Pillow is not installed: no images are made")
theirs = importlib.import_module("zennit.image")


@pytest.fixture(autouse=True)
def _bytes_for_pillow(monkeypatch):
    """Pillow 13 takes no arrays as palettes."""
    made = theirs.palette
    monkeypatch.setattr(theirs, "palette", lambda *given: made(*given).tobytes())


def signed(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def same(found, expected) -> None:
    assert found.mode == expected.mode and found.size == expected.size
    assert np.array_equal(np.asarray(found), np.asarray(expected))
    assert np.array_equal(np.asarray(found.convert("RGB")), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("level", [1.0, 0.5, 2.0, 0.0])
@pytest.mark.parametrize("cmap", [*_NAMED, "fff,000", "80:f00,a0:0f0,00f", "f00, 0f0, c:00f", "012345,8:abcdef,fff"])
def test_palette(cmap, level):
    expected = np.frombuffer(theirs.palette(cmap, level), np.uint8).reshape(256, 3)
    found = palette(cmap, level)
    assert found.dtype == np.uint8 and np.array_equal(found, expected)


def test_palette_of_matplotlib():
    assert palette("viridis").shape == (256, 3) and len(np.unique(palette("viridis"), axis=0)) > 250


@pytest.mark.parametrize("cmap", ["nothing", "fff", "ff,000", "80:fff,40:000,fff", ""])
def test_palettes_that_are_none(cmap):
    for function in (theirs.palette, palette):
        with pytest.raises(RuntimeError):
            function(cmap)


@pytest.mark.parametrize(
    "options",
    [{}, {"symmetric": True}, {"cmap": "coldnhot", "level": 2.0}, {"vmin": -1.0, "vmax": 1.5}, {"vmax": 0.3}],
)
@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (5, 7, 1), (3, 5, 7), (5, 7, 3)])
def test_image(shape, options):
    same(imgify(signed(*shape), **options), theirs.imgify(signed(*shape), **options))


@pytest.mark.parametrize("grid", [True, (2, 4), [3, 1], (1, 2)])
@pytest.mark.parametrize("shape", [(5, 4, 6), (5, 1, 4, 6), (5, 3, 4, 6), (5, 4, 6, 3)])
def test_grid(shape, grid):
    array = signed(*shape)
    for options in ({}, {"gridfill": 200}, {"symmetric": True, "cmap": "seismic"}):
        same(imgify(array, grid=grid, **options), theirs.imgify(array, grid=grid, **options))
    rows = None if grid is True else grid
    for fill in (None, 0.5):
        expected = theirs.gridify(array, rows, fill)
        found = gridify(array, rows, fill)
        assert found.dtype == expected.dtype and np.array_equal(found, expected)


def test_tensors_and_bytes():
    same(imgify(torch.from_numpy(signed(5, 7)).requires_grad_()), theirs.imgify(signed(5, 7)))
    array = (signed(5, 7) * 40).astype(np.uint8)
    same(imgify(array), theirs.imgify(array))


def test_a_constant_is_black():
    assert np.asarray(imgify(np.full((2, 3), 4.0))).max() == 0


def test_bounds():
    array = signed(3, 4, 5)
    for options in ({}, {"symmetric": True}, {"dim": (0, 2)}):
        for found, expected in zip(
            interval_norm_bounds(array, **options), theirs.interval_norm_bounds(array, **options), strict=True
        ):
            assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (signed(4), {}),
        (signed(2, 4, 5), {}),
        (signed(2, 3, 4, 5), {}),
        (signed(4, 5), {"grid": True}),
        (signed(2, 2, 4, 5), {"grid": True}),
        (signed(2, 4, 5), {"grid": (1, 2, 3)}),
    ],
)
def test_wrong_shapes(array, options):
    for function in (theirs.imgify, imgify):
        with pytest.raises(TypeError):
            function(array, **options)


def test_saved(tmp_path):
    from PIL import Image

    array = signed(4, 3, 5, 6)
    imsave(tmp_path / "ours.png", array, grid=(2, 2), symmetric=True, writer_params={"optimize": True})
    theirs.imsave(tmp_path / "theirs.png", array, grid=(2, 2), symmetric=True)
    same(Image.open(tmp_path / "ours.png"), Image.open(tmp_path / "theirs.png"))
    imsave(tmp_path / "named", signed(5, 6), format="png")
    assert Image.open(tmp_path / "named").format == "PNG"
