"""Settings that every test shares: one thread, one seed, one device, and which backends this machine has.

RELUXFAST_TEST_DEVICE names the device on which tests make their tensors (default cpu); RELUXFAST_TEST_SHARD=i/n runs
every n-th test from the i-th on.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import nullcontext

import pytest
import torch

from reluxfast.ops.backend import available_backends
from tests.device import BACKENDS, DEVICE, FAST_BACKENDS, KIND

# What a machine with a GPU may lack, and the tests that go without it there.
_NEEDS = {
    "hypothesis": [
        "ops/test_packing.py",
        "oracles/test_lrp_zoo.py",
        "lrp/test_zoo.py",
        "lrp/test_random_networks.py",
        "relevance/test_random_nets.py",
        "relevance/test_maps.py",
    ],
    "captum": ["methods/test_captum.py", "methods/test_cam.py"],
    "scipy": ["coalitions/test_statistics.py", "methods/test_expected_gradients.py"],
    "shap": ["coalitions/test_shap_agrees.py", "coalitions/test_to_shap.py"],
    "sklearn": [
        "coalitions/test_shap_agrees.py",
        "coalitions/test_sklearn.py",
        "coalitions/test_statistics.py",
        "coalitions/test_to_shap.py",
    ],
    "skimage": ["coalitions/test_player_maps.py"],
}
_LACKS = [package for package in _NEEDS if importlib.util.find_spec(package) is None]
# On the host whatever the device: estimators of scikit-learn, results in shap's hands, the resident set.
_OF_THE_HOST = [f"coalitions/test_{name}.py" for name in ("memory", "shap_agrees", "sklearn", "to_shap", "selection")]
# Adapters of peers that a machine with a GPU does not have, and the tables that need all of them.
_OF_THE_HOST += ["compat/captum", "compat/shap", "compat/test_memory.py", "compat/test_untouched.py"]
_OF_THE_HOST.append("benchmarks/test_constructs.py")
_ELSEWHERE = [] if KIND == "cpu" else _OF_THE_HOST
collect_ignore = [*(file for package in _LACKS for file in _NEEDS[package]), *_ELSEWHERE]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Says which backends are tested and why the others are not, and what is left out."""
    backends = [f"backend {name}: {reason or 'tested'}" for name, reason in available_backends(KIND).items()]
    lacking = [f"{package} is not installed: left out {', '.join(_NEEDS[package])}" for package in _LACKS]
    return [*backends, *lacking, *(f"about the CPU: left out {file}" for file in _ELSEWHERE)]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the tests of this process's shard."""
    part, _, parts = os.environ.get("RELUXFAST_TEST_SHARD", "0/1").partition("/")
    keep = items[int(part) :: int(parts)]
    kept = set(keep)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = keep


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `backend` runs once for each backend of the device."""
    if "backend" in metafunc.fixturenames:
        of_an_op = metafunc.module.__name__.split(".")[1] == "ops"
        metafunc.parametrize("backend", BACKENDS if of_an_op else FAST_BACKENDS)


@pytest.fixture(autouse=True)
def _one_thread_one_seed_one_device():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with nullcontext() if DEVICE == "cpu" else torch.device(DEVICE):
        yield
    torch.set_num_threads(threads)
