"""Ceilings of the machine: what they count, and that they are the fastest of what was tried."""

from __future__ import annotations

import json

import pytest
import torch

from reluxfast.benchmarks import rates
from reluxfast.benchmarks.rates import Rates, measure
from tests.device import DEVICE

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_dtype_has_rates(dtype):
    found = measure(torch.device(DEVICE), dtype, tiny=True)
    # More than one operation or byte in a microsecond, and less than any machine does.
    assert 1e6 < found.gemm_flop_per_s < 1e16 and 1e6 < found.copy_bytes_per_s < 1e14


@pytest.fixture
def clock(monkeypatch):
    """Every call is run and takes the next of these times, whatever it really took; nothing was measured before."""
    monkeypatch.setattr(rates, "_seen", {})
    times: list[float] = []

    def seconds(call, device):
        call()
        return times.pop(0)

    monkeypatch.setattr(rates, "_seconds", seconds)
    return times


def test_two_flop_for_each_multiply_add_and_two_bytes_for_each_byte_copied(clock):
    clock += [0.5, 0.25, 1.0, 0.125, 0.5, 2.0]
    found = measure(CPU, torch.float32, tiny=True)
    side, size = rates.TINY_SIDES[0], rates.TINY_COPY_BYTES
    assert found == Rates(2 * side**3 / 0.25, 2 * size / 0.125)
    assert json.loads(json.dumps(found.plain())) == {
        "gemm_flop_per_s": found.gemm_flop_per_s,
        "copy_bytes_per_s": found.copy_bytes_per_s,
    }


@pytest.fixture
def sides(monkeypatch):
    """Sizes for a stopped clock."""
    monkeypatch.setitem(rates.SIDES, "cpu", (8, 16, 32))
    monkeypatch.setitem(rates.COPY_BYTES, "cpu", 1 << 10)


@pytest.mark.usefixtures("sides")
def test_the_fastest_size_counts(clock):
    clock += [1e-6] * 3 + [1e-6] * 3 + [1e-4] * 3 + [1.0] * 3
    assert measure(CPU, torch.float32).gemm_flop_per_s == pytest.approx(2 * 16**3 / 1e-6)
    assert not clock


@pytest.mark.usefixtures("sides")
def test_a_slow_machine_multiplies_small_matrices(clock):
    # 8 x 8 x 8 in 0.04 s: three times 16 x 16 x 16 would take 0.96 s, and is not tried.
    clock += [0.04] * 3 + [1.0] * 3
    assert measure(CPU, torch.float32).gemm_flop_per_s == pytest.approx(2 * 8**3 / 0.04)
    assert not clock


def test_what_is_multiplied_and_copied_is_large_and_in_the_dtype(monkeypatch):
    made = []
    monkeypatch.setattr(rates, "_seen", {})
    monkeypatch.setattr(rates, "_least_seconds", lambda call, device: made.append(call()) or 1.0)
    measure(CPU, torch.bfloat16)
    product, copy = made
    assert product.shape == (512, 512) and product.dtype == copy.dtype == torch.bfloat16
    assert copy.nbytes == 256 << 20  # read and written: 512 MB, more than caches hold
    assert copy.min() == copy.max() == 1


def test_the_highest_seen_so_far_counts(clock, monkeypatch):
    clock += [0.5, 0.25, 1.0, 0.125, 0.5, 2.0]
    first = measure(CPU, torch.float32, tiny=True)
    assert measure(CPU, torch.float32, tiny=True) == first  # not measured again so soon
    monkeypatch.setattr(rates, "_LASTS_S", 0.0)
    clock += [1.0, 0.125, 1.0, 0.5, 0.5, 2.0]
    second = measure(CPU, torch.float32, tiny=True)
    assert second.gemm_flop_per_s == 2 * first.gemm_flop_per_s and second.copy_bytes_per_s == first.copy_bytes_per_s
    clock += [4.0] * 6
    assert measure(CPU, torch.float64, tiny=True).gemm_flop_per_s < first.gemm_flop_per_s  # another dtype: its own


def test_draws_of_others_stay_what_they_are():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    measure(CPU, torch.float32, tiny=True)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("convolutions, inside", [("tf32", "tf32"), ("ieee", "none")])
def test_products_on_a_gpu_have_the_precision_of_convolutions(convolutions, inside):
    convolution, product = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = convolution.fp32_precision, product.fp32_precision
    try:
        convolution.fp32_precision, product.fp32_precision = convolutions, "none"
        with rates._precision_of_convolutions(torch.device("cuda")):
            assert product.fp32_precision == inside
        assert product.fp32_precision == "none"
        with rates._precision_of_convolutions(CPU):
            assert product.fp32_precision == "none"
    finally:
        convolution.fp32_precision, product.fp32_precision = before
