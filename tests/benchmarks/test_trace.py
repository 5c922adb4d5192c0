"""Memory and operations of one call: sums that can be done by hand, and a quiet standard error."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import reluxfast as rx
from reluxfast import ops
from reluxfast.benchmarks import memory, trace
from reluxfast.benchmarks.case import Conditions
from reluxfast.benchmarks.maps.problem import CASES
from reluxfast.benchmarks.trace import Trace, allocated_bytes, difference, traced
from tests.device import DEVICE, KIND

CPU = torch.device("cpu")
MB = 1_000_000


def trace_of(call) -> Trace:
    return traced(call, CPU)[1]


def made(*megabytes: int) -> list[torch.Tensor]:
    return [torch.ones(MB * size, dtype=torch.uint8) for size in megabytes]


def test_the_peak_is_the_largest_sum_of_what_lives_at_once():
    def call():
        kept = made(40, 40)
        del kept[0]
        return kept + made(40)

    values, found = traced(call, CPU)
    assert found == Trace(80 * MB, 3) and len(values) == 2
    assert trace_of(lambda: made(40, 40, 40)[0]).peak_bytes == 120 * MB
    assert trace_of(lambda: None) == Trace(0, 0)


@pytest.mark.parametrize("size", [20, 60])
def test_what_was_there_before_does_not_count(size):
    traced_before = trace_of(lambda: made(40))  # the profiler remembers addresses of blocks freed since
    kept = made(40)
    assert trace_of(lambda: kept[0][:10]).peak_bytes == 0

    def call():
        kept.clear()
        return made(size)

    assert traced_before.peak_bytes == 40 * MB
    assert trace_of(call).peak_bytes == size * MB


def test_operators_count_once_and_views_never():
    x, w = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    assert trace_of(lambda: F.relu(F.conv2d(x, w)).add_(1)).ops == 3
    assert trace_of(lambda: x.view(2, -1)[:, ::2].unsqueeze(0).transpose(0, 1)).ops == 0
    assert trace_of(lambda: x.transpose(1, 2).reshape(2, -1)).ops == 1  # a copy
    assert trace_of(lambda: x.contiguous().to(torch.float32).flatten()).ops == 0
    assert trace_of(lambda: F.linear(x, torch.ones(5, 8), torch.ones(5))).ops == 3  # both weights and the product
    assert trace_of(lambda: ops.relu_pack(x)).ops == 1


def test_operators_of_the_backward_pass_count():
    x = torch.randn(4, 5, requires_grad=True)
    # relu, sum; ones as the signal, its copies to the shape of the sum's input are a view, the ReLU's gate
    assert trace_of(lambda: torch.autograd.grad(x.relu().sum(), x)[0]).ops == 4


def test_calls_of_compiled_graphs_have_no_count():
    def call():
        with torch.profiler.record_function("## Call CompiledFxGraph abc ##"):
            return torch.ones(1000)

    assert trace_of(call) == Trace(4000, None)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_rearranged_operands_of_convolutions_are_seen(layout):
    x, w = (t.to(memory_format=layout) for t in (torch.randn(1, 16, 64, 64), torch.randn(16, 16, 3, 3)))
    with torch.no_grad():
        found = trace_of(lambda: F.conv2d(x, w, padding=1))
    # At least the result; oneDNN may keep another layout of it, of the images and of the weights for the while.
    assert x.nbytes <= found.peak_bytes <= 3 * x.nbytes + 4 * w.nbytes
    assert found.ops == 1


@pytest.mark.parametrize("method", ["gradient", "epsilon_plus"])
def test_engine_and_autograd(method):
    p = CASES[f"digits/{method}"].make({"batch": 16, "size": 32, "dtype": "float32"}, Conditions())
    explainer = rx.Explainer(p.model, p.x)
    name, options = ("gradient", {}) if method == "gradient" else ("lrp", {"composite": method})

    def explain():
        return explainer.attribute(p.x, p.target, name, **options).values

    def differentiate():
        x = p.x.detach().requires_grad_(True)
        return torch.autograd.grad(p.model(x).gather(1, p.target[:, None]).sum(), x)[0]

    expected = explain()
    values, engine = traced(explain, CPU)
    assert torch.equal(values, expected)
    autograd = trace_of(differentiate)
    saved = memory.saved_by_autograd(p.model, p.x)
    assert saved < autograd.peak_bytes < 4 * saved
    assert values.nbytes < engine.peak_bytes < autograd.peak_bytes
    # Three convolutions, three ReLUs, two pools, a mean and a product each way.
    assert engine.ops >= 16 and autograd.ops >= 20


def test_nothing_reaches_standard_error(capfd):
    x = torch.randn(1, 3, 8, 8)
    trace_of(lambda: F.relu(x))
    (kept,) = made(4)
    holder = [kept]
    del kept
    trace_of(holder.clear)  # frees what the profiler never saw
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_errors_come_through_and_leave_everything_as_it_was(capfd):
    def call():
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trace_of(call)
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"
    assert trace_of(lambda: made(2)[0]) == Trace(2 * MB, 1)


def test_what_stays_allocated():
    before = allocated_bytes(CPU)
    if before is None:
        pytest.skip("this C library has no mallinfo2 (glibc 2.33 or later has)")
    holder = made(8)
    cycle = [holder.pop()]
    cycle.append(cycle)
    assert difference(allocated_bytes(CPU), before) == pytest.approx(8 * MB, rel=0.02)
    del cycle  # garbage, until somebody collects it
    assert abs(difference(allocated_bytes(CPU), before)) < 0.02 * 8 * MB


def test_unknown_differences():
    assert difference(3, 1) == 2 and difference(None, 1) is None and difference(1, None) is None


def event(name: str, device: torch.autograd.DeviceType, annotation: bool = False) -> SimpleNamespace:
    return SimpleNamespace(name=lambda: name, device_type=lambda: device, is_user_annotation=lambda: annotation)


def test_kernels_are_what_ran_on_the_gpu():
    host, gpu = torch.autograd.DeviceType.CPU, torch.autograd.DeviceType.CUDA
    events = [event("aten::relu", host), event("cudaLaunchKernel", host), event("relu_kernel", gpu)]
    events += [event("Memcpy DtoD (Device -> Device)", gpu), event("Memset (Device)", gpu), event("[memory]", gpu)]
    events += [event("mine", gpu, annotation=True), event("gate_kernel", gpu)]
    assert trace._kernels(events) == 2


@pytest.mark.skipif(KIND != "cuda", reason="needs a GPU")
def test_memory_and_kernels_of_a_gpu(capfd):
    device = torch.device(DEVICE)
    x = torch.ones(10 * MB, device=device)

    def call():
        kept = [x + 1, x + 2]
        del kept[0]
        return kept[0].relu()

    _, found = traced(call, device)
    assert found.peak_bytes == pytest.approx(80 * MB, rel=0.06)  # the caching allocator rounds up
    assert found.ops == 3
    assert allocated_bytes(device) >= x.nbytes
    assert capfd.readouterr().err == ""
