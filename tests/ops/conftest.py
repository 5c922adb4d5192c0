"""Uninitialised memory is filled for every test of an op: NaN in floating tensors, the largest value in others."""

from __future__ import annotations

import math

import pytest
import torch

from reluxfast import ops
from tests.device import BACKENDS


@pytest.fixture(autouse=True)
def poisoned_memory():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert math.isnan(torch.empty(3)[0]) and torch.empty(3, dtype=torch.uint8)[0] == 255
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(params=[name for name in BACKENDS if name in ("reference", "cpp")])
def answers(request):
    """Answers calls with one backend of those that have every op, the ones without a Triton kernel too."""
    with ops.backend(request.param):
        yield request.param
