"""Images that ship with scikit-learn and scikit-image, split so that nothing held out was seen in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reluxfast.extras import need

# Photo, and the window held out of it (top, left) in the half-size photo: its main subject.
PHOTOS = {"astronaut": (20, 60), "chelsea": (40, 90), "coffee": (8, 72), "rocket": (40, 112)}
HELD_OUT_SIZE = 96
CROP = 32


@dataclass(frozen=True)
class Split:
    """Training and held-out images with their classes.

    Attributes:
        train_x, test_x: float32 `(N, C, H, W)` in [0, 1], or `(N, F)`.
        train_y, test_y: int64 `(N,)`.
        classes: the name of each class.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: tuple[str, ...]


def digits(seed: int = 0) -> Split:
    """The 1797 handwritten digits of scikit-learn, 8x8, split 75/25 at random by `seed`."""
    data = need("sklearn.datasets", "scikit-learn", "demo", "the demo").load_digits()
    x = torch.from_numpy(data.images.astype(np.float32) / 16).unsqueeze(1)
    y = torch.from_numpy(data.target.astype(np.int64))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    cut = len(x) * 3 // 4
    train, test = order[:cut], order[cut:]
    return Split(x[train], y[train], x[test], y[test], tuple(str(d) for d in range(10)))


def breast_cancer(seed: int = 0) -> tuple[Split, tuple[str, ...]]:
    """The 569 tumours of scikit-learn, 30 measurements each, split 75/25 at random by `seed`; names of the columns."""
    data = need("sklearn.datasets", "scikit-learn", "demo", "the demo").load_breast_cancer()
    x, y = torch.from_numpy(data.data.astype(np.float32)), torch.from_numpy(data.target.astype(np.int64))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    cut = len(x) * 3 // 4
    train, test = order[:cut], order[cut:]
    classes = tuple(str(name) for name in data.target_names)
    return Split(x[train], y[train], x[test], y[test], classes), tuple(str(name) for name in data.feature_names)


def photo(name: str) -> np.ndarray:
    """One photo of scikit-image at half size (means of 2x2 pixels), float32 `(H, W, 3)` in [0, 1]."""
    image = getattr(need("skimage.data", "scikit-image", "demo", "the demo"), name)().astype(np.float32) / 255
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    return image[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))


def held_out_windows() -> Tensor:
    """The window held out of each photo, float32 `(4, 3, 96, 96)` in [0, 1], one per class."""
    size = HELD_OUT_SIZE
    windows = [photo(name)[top : top + size, left : left + size] for name, (top, left) in PHOTOS.items()]
    return _channels_first(windows)


def photo_crops(seed: int = 0, train_per_photo: int = 600, test_per_photo: int = 100) -> Split:
    """32x32 crops of four photos; test crops lie inside the held-out windows, training crops do not touch them."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list] = {"train_x": [], "train_y": [], "test_x": [], "test_y": []}
    for label, (name, (top, left)) in enumerate(PHOTOS.items()):
        image = photo(name)
        train = _corners_outside(rng, image.shape, top, left, train_per_photo)
        span = HELD_OUT_SIZE - CROP
        test = rng.integers((top, left), (top + span + 1, left + span + 1), (test_per_photo, 2))
        for kind, corners in (("train", train), ("test", test)):
            parts[f"{kind}_x"] += [image[i : i + CROP, j : j + CROP] for i, j in corners]
            parts[f"{kind}_y"] += [label] * len(corners)
    train_x, test_x = _channels_first(parts["train_x"]), _channels_first(parts["test_x"])
    return Split(train_x, torch.tensor(parts["train_y"]), test_x, torch.tensor(parts["test_y"]), tuple(PHOTOS))


def _channels_first(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def _corners_outside(rng: np.random.Generator, shape: tuple[int, ...], top: int, left: int, count: int) -> np.ndarray:
    rows, columns = np.meshgrid(np.arange(shape[0] - CROP + 1), np.arange(shape[1] - CROP + 1), indexing="ij")
    inside_rows = (rows > top - CROP) & (rows < top + HELD_OUT_SIZE)
    inside_columns = (columns > left - CROP) & (columns < left + HELD_OUT_SIZE)
    allowed = np.argwhere(~(inside_rows & inside_columns))
    return allowed[rng.choice(len(allowed), count, replace=False)]


def mosaic(windows: Tensor) -> Tensor:
    """Four images `(4, 3, h, w)`, in reading order, as one 2x2 picture `(3, 2h, 2w)`."""
    return torch.cat([torch.cat([windows[0], windows[1]], 2), torch.cat([windows[2], windows[3]], 2)], 1)
