"""pytorch-grad-cam beside us, with singular vectors whose sign it does not leave to chance.

Importing this module skips the test module that does so where pytorch-grad-cam is not installed.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from reluxfast.benchmarks.torchvision_operators import operators_of_torchvision

pytest.importorskip("cv2", reason="opencv is not installed: nothing is compared with pytorch-grad-cam")
pytest.importorskip("ttach", reason="ttach is not installed: nothing is compared with pytorch-grad-cam")


operators_of_torchvision()  # pytorch-grad-cam imports it

theirs = pytest.importorskip(
    "pytorch_grad_cam", reason="pytorch-grad-cam is not installed: nothing is compared with it"
)
their_targets = importlib.import_module("pytorch_grad_cam.utils.model_targets")
their_image = importlib.import_module("pytorch_grad_cam.utils.image")
_svd = importlib.import_module("pytorch_grad_cam.utils.svd_on_activations")


@contextmanager
def signed_components():
    """Its first principal components get the sign of its own rule for them, which is also ours."""
    users = [m for name, m in sys.modules.items() if name.startswith("pytorch_grad_cam") and m is not _svd]
    users = [m for m in users if getattr(m, "get_2d_projection", None) is _svd.get_2d_projection]
    assert len(users) >= 5
    for module in users:
        module.get_2d_projection = _svd.get_2d_projection_with_sign_correction
    try:
        yield
    finally:
        for module in users:
            module.get_2d_projection = _svd.get_2d_projection


def assert_same_map(ours: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Shape, dtype, and values relative to the largest; a map of zeros must be one exactly."""
    assert isinstance(ours, np.ndarray) and ours.dtype == expected.dtype and ours.shape == expected.shape
    assert np.isfinite(expected).all() and expected.max() > 0.5, "the comparison would be one of nothing"
    error = np.abs(ours - expected).max() / np.abs(expected).max()
    assert error <= tolerance, f"relative error {error:.3g} above {tolerance:.3g}"
