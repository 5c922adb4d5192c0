"""Options of the micro-benchmarks, and what stands beside their numbers."""

from __future__ import annotations

import pytest
import torch

from reluxfast.benchmarks import rows


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--tiny` and `--device`."""
    group = parser.getgroup("reluxfast micro-benchmarks")
    group.addoption("--tiny", action="store_true", help="small shapes and two rounds: a smoke test, no measurement")
    group.addoption("--device", default="cpu", help="where the ops run (%(default)s)")


def pytest_configure(config: pytest.Config) -> None:
    """Without the plugin every benchmark would be an error of its own."""
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError(
            "benchmarks/micro needs pytest-benchmark; install it by pip install 'reluxfast[bench]' and leave "
            "-p no:benchmark out"
        )


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict) -> None:
    """Adds the commit, versions, threads and precision flags to the JSON file."""
    machine_info["reluxfast"] = rows.environment(torch.device(config.getoption("--device")))
