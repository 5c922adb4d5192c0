"""The device on which tests make their tensors, and the backends that are tested there."""

from __future__ import annotations

import os

import pytest
import torch

from reluxfast.ops.backend import available_backends

# Triton reads it when the kernels are imported. With a GPU they are tested compiled.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

DEVICE = os.environ.get("RELUXFAST_TEST_DEVICE", "cpu")
KIND = DEVICE.partition(":")[0]
BACKENDS = [name for name, reason in available_backends(KIND).items() if reason is None]
# On CPU tensors Triton's kernels run in its interpreter, which is slow: whole networks walk in tests/triton alone.
FAST_BACKENDS = [name for name in BACKENDS if KIND != "cpu" or name != "triton"]
NEEDS_CPP = pytest.mark.skipif(
    "cpp" not in BACKENDS, reason="the compiled kernels are not there for tensors of this device"
)
