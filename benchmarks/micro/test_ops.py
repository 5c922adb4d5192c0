"""Every op on every backend that is there, beside the plain torch calls it replaces; wrong values fail, untimed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import lru_cache

import pytest
import torch

from reluxfast import ops
from reluxfast.benchmarks.micro import works
from reluxfast.benchmarks.micro.works import Values, Work
from reluxfast.errors import BackendUnavailable
from reluxfast.ops._register import WITHOUT_TRITON

DTYPES = ("float32", "bfloat16", "float64")
TORCH = "torch"
# Seconds for each benchmark, and the fewest and most rounds that are made of them.
SECONDS, LEAST, MOST = 0.1, 3, 200


def providers(op: str, device: torch.device) -> Iterator[str]:
    """Backends with a kernel or a definition of the op on the device, then plain torch."""
    for backend, lack in ops.available_backends(device).items():
        # On the CPU Triton's kernels are interpreted.
        if lack is not None or (backend == "triton" and device.type == "cpu"):
            continue
        if op not in WITHOUT_TRITON or backend in ("reference", "cpp"):
            yield backend
    yield TORCH


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One benchmark for each op, shape, dtype and provider."""
    device = torch.device(metafunc.config.getoption("--device"))
    tiny = metafunc.config.getoption("--tiny")
    found = [
        pytest.param(work, name, provider, id=f"{work.name} {_size(work)} {name} {provider}")
        for name in DTYPES
        for work in works.all_works(tiny, works.DTYPES[name], device)
        for provider in providers(work.op, device)
    ]
    metafunc.parametrize(("work", "dtype", "provider"), found)


def _size(work: Work) -> str:
    return "x".join(str(n) for n in work.shape)


# The providers of one work follow each other.
@lru_cache(maxsize=1)
def drawn(work: Work) -> tuple[Values, works.Expected]:
    """The work's inputs and what the op must make of them."""
    torch.manual_seed(0)
    inputs = work.draw()
    return inputs, works.expected(work, inputs)


def test_op(benchmark, request, work, dtype, provider):
    device, tiny = torch.device(request.config.getoption("--device")), request.config.getoption("--tiny")
    inputs, want = drawn(work)
    plain = provider == TORCH
    with torch.no_grad(), nullcontext() if plain else ops.backend(provider):
        call = (work.plain if plain else work.ours)(*works.copied(inputs))
        before = [(tensor, tensor.clone()) for tensor in call.changes]

        def restore() -> None:
            for tensor, values in before:
                tensor.copy_(values)

        try:
            (works.check_plain if plain else works.check_op)(work, call.run(), want.values)
        except BackendUnavailable as error:
            pytest.skip(str(error))
        target = _finished(call.run, device)
        restore()
        rounds = 2 if tiny else min(MOST, max(LEAST, int(SECONDS / _seconds(target))))
        benchmark.group = f"{work.name} {_size(work)} {dtype}"
        benchmark.pedantic(target, setup=restore, rounds=rounds, warmup_rounds=1)
    _note(benchmark, work, dtype, provider, device, want.moved)


def _finished(run: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """The call with the end of its work on the device: what a host clock may be read around."""

    def finished() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return finished


def _seconds(target: Callable[[], None]) -> float:
    start = time.perf_counter()
    target()
    return time.perf_counter() - start


def _note(benchmark, work: Work, dtype: str, provider: str, device: torch.device, moved: int) -> None:
    found = {"op": work.op, "variant": work.variant, "provider": provider, "dtype": dtype, "shape": list(work.shape)}
    found |= {"device": device.type, "threads": torch.get_num_threads(), "bytes": moved}
    # With --benchmark-disable there are no times.
    if benchmark.stats is not None:
        median = benchmark.stats.stats.median
        found["gb_per_s"] = moved / median / 1e9
        if work.flop:
            found |= {"flop": work.flop, "gflop_per_s": work.flop / median / 1e9}
    benchmark.extra_info.update(found)
