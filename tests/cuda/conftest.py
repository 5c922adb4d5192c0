"""The emulated CUDA kernels, compiled once per session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cuda import build, calls


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory) -> Path:
    """A folder that all workers of this session share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder


@pytest.fixture(scope="session")
def needs_compiler() -> None:
    if build.compiler() is None:
        pytest.skip("the emulation of CUDA kernels needs g++")


@pytest.fixture(scope="session")
def emulated(session_folder, needs_compiler):
    """The module of emulated kernels."""
    return calls.load_module(build.emulated_kernels(session_folder, "plain"))
