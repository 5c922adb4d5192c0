"""Settings that every test shares: one thread, one seed, and which backends this machine has."""

from __future__ import annotations

import os

import pytest
import torch

from reluxfast.ops.backend import available_backends

# Triton reads it when the kernels are imported. With a GPU they are tested compiled.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Says which backends are tested and why the others are not."""
    return [f"backend {name}: {reason or 'tested'}" for name, reason in available_backends().items()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `backend` runs once for each backend that takes CPU tensors."""
    if "backend" not in metafunc.fixturenames:
        return
    names = [name for name, reason in available_backends("cpu").items() if reason is None]
    if metafunc.module.__name__.split(".")[1] != "ops" and "triton" in names:
        # Its interpreter is slow: whole networks are walked in tests/triton alone.
        names.remove("triton")
    metafunc.parametrize("backend", names)


@pytest.fixture(autouse=True)
def _one_thread_one_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
