"""Exponents: known ones are found, with the error that the scatter gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reluxfast.benchmarks.fits import fits, fits_text, line
from tests.benchmarks.rows_for_tests import IMAGES, point, sweeps


def _batches(times: dict[int, float], sweep: str = "batch", **changes) -> list[dict]:
    return [
        row
        for batch, ms in times.items()
        for row in point("net/gradient", {**IMAGES, "batch": batch}, {"reluxfast cpp": ms}, sweep=sweep, **changes)
    ]


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 1.0, 3.0])
def test_exact_powers(power):
    values = (1, 2, 5, 30)
    exponent, error, r2 = line(values, [7.0 * value**power for value in values])
    assert exponent == pytest.approx(power, abs=1e-12) and error < 1e-12 and r2 == pytest.approx(1)


def test_the_standard_error_is_that_of_repeated_draws():
    generator = np.random.default_rng(0)
    values = np.array([1.0, 2, 4, 8, 16])
    draws = [line(values, values**1.5 * np.exp(generator.normal(0, 0.1, 5))) for _ in range(2000)]
    exponents, errors, r2 = (np.array(column) for column in zip(*draws, strict=True))
    assert exponents.mean() == pytest.approx(1.5, abs=0.01)
    assert math.sqrt((errors**2).mean()) == pytest.approx(exponents.std(), rel=0.05)
    assert 0.98 < r2.mean() < 0.999


def test_r2_by_hand():
    _, _, r2 = line((1, math.e, math.e**2), (1, math.e**2, math.e**2))
    assert r2 == pytest.approx(0.75)


def test_every_axis_of_a_sweep_is_fitted():
    found = {(fit.case, fit.axis, fit.provider): fit for fit in fits(sweeps())}
    assert found["resnet18/guided_backprop", "batch", "captum channels_last"].exponent == pytest.approx(1.02)
    size = found["resnet18/guided_backprop", "size", "reluxfast cpp"]
    assert size.exponent == pytest.approx(1.9) and size.values == (64, 96, 160, 224) and "size" not in size.fixed
    assert found["mlp/shapley", "orders", "masked batch"].exponent == pytest.approx(1.3)
    assert {axis for _, axis, _ in found} == {"batch", "size", "depth", "players", "orders"}


def test_fewer_than_three_values_are_no_series():
    assert fits(_batches({1: 1.0, 2: 2.0})) == [] and fits_text(_batches({1: 1.0, 2: 2.0})) == ""
    assert len(fits(_batches({1: 1.0, 2: 2.0, 4: 4.0}))) == 1


def test_rows_of_other_settings_are_not_mixed():
    rows = _batches({1: 1.0, 2: 2.0}) + _batches({4: 4.0}, functional=True)
    assert fits(rows) == []
    (four,) = _batches({4: 4.0})
    assert fits(_batches({1: 1.0, 2: 2.0}) + [{**four, "axes": {**four["axes"], "size": 32}}]) == []
    assert fits(_batches({1: 1.0, 2: 2.0}) + [{**four, "status": "wrong"}]) == []


def test_of_points_timed_twice_the_own_sweep_counts():
    rows = _batches({1: 1.0, 2: 2.0, 4: 4.0}) + _batches({4: 40.0}, "") + _batches({4: 50.0}, "depth")
    (fit,) = fits(rows)
    assert fit.median_ms == (1.0, 2.0, 4.0)
    (fit,) = fits(_batches({4: 40.0}, "") + _batches({1: 1.0, 2: 2.0}) + _batches({4: 4.0}, ""))
    assert fit.median_ms == (1.0, 2.0, 4.0) and fit.p80_ms[2] == pytest.approx(4 * 1.03)


def test_text():
    text = fits_text(_batches({1: 1.0, 2: 4.0, 4: 16.0}))
    head, _, row = text.splitlines()
    assert "exponent" in head and row.split()[-6:] == ["reluxfast", "cpp", "1.00-16.0", "2.00", "0.00", "1.000"]
