"""Every test of an op runs with uninitialised memory filled: NaN in floating tensors, the largest value in others."""

from __future__ import annotations

import math

import pytest
import torch


@pytest.fixture(autouse=True)
def poisoned_memory():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert math.isnan(torch.empty(3)[0]) and torch.empty(3, dtype=torch.uint8)[0] == 255
    yield
    torch.use_deterministic_algorithms(before)
