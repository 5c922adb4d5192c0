"""Memory that nobody wrote shows, and launches are counted."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from reluxfast.ops.backend import available_backends
from tests.ops.conftest import poisoned_memory as poisoned_memory


@pytest.fixture
def binding() -> ModuleType:
    """reluxfast.ops.triton_binding, whose import needs triton."""
    reason = available_backends("cpu")["triton"]
    if reason is not None:
        pytest.skip(reason)
    return importlib.import_module("reluxfast.ops.triton_binding")


@pytest.fixture
def launches(binding: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Name and number of programs of each launch, so that no test passes on another backend's answer."""
    found = []
    for module in (
        binding.gate_kernel,
        binding.relu_pack_kernel,
        binding.max_pool_kernels,
        binding.mlp_chains_kernels,
        binding.mlp_outer_sums_kernel,
        binding.soft_gate_kernel,
        binding.soft_gate_pack_kernel,
        binding.write_coalitions_kernel,
    ):

        def counted(kernel, programs, *arguments, real=module.launch, **constants):
            found.append((kernel.__name__.strip("_").removesuffix("_kernel"), programs))
            return real(kernel, programs, *arguments, **constants)

        monkeypatch.setattr(module, "launch", counted)
    return found
