"""Cases by name, points of them, and suites."""

from __future__ import annotations

import pytest

from reluxfast.benchmarks import registry
from reluxfast.benchmarks.case import at
from reluxfast.benchmarks.registry import CASES
from reluxfast.errors import InvalidInput

NETWORKS = ("vgg16", "resnet18", "resnet50", "digits")
METHODS = (
    *("gradient", "guided_backprop", "deconvnet", "grad_cam", "integrated_gradients"),
    *("epsilon", "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_box"),
)


def test_every_network_with_every_method():
    assert {f"{network}/{method}" for network in NETWORKS for method in METHODS} <= set(CASES)
    games = {f"mlp{d}/shapley" for d in (30, 100, 784)} | {f"mlp{n}/exact" for n in (12, 16, 20)} | {"resnet18/patches"}
    assert games <= set(CASES)
    for name, case in CASES.items():
        assert case.name == name and case.group in ("maps", "games") and case.about and case.axes


def test_select():
    assert [c.name for c in registry.select(["vgg16/epsilon"])] == ["vgg16/epsilon"]
    assert {c.name for c in registry.select(["vgg16"])} == {f"vgg16/{m}" for m in METHODS}
    assert "resnet50/guided_backprop" in {c.name for c in registry.select(["*/guided_backprop"])}
    with pytest.raises(InvalidInput, match=r"case must be .*'vgg'.*bench --list.*vgg16"):
        registry.select(["vgg16", "vgg"])


def test_points_are_every_combination_of_axes_that_a_case_has():
    cases = registry.select(["digits/gradient", "mlp30/shapley"])
    found = registry.points(cases, {"batch": [1, 2], "orders": [10]})
    assert [p.name for p in found] == ["digits/gradient batch=1", "digits/gradient batch=2", "mlp30/shapley orders=10"]
    with pytest.raises(InvalidInput, match="depth must be an axis of a case: batch"):
        registry.points(cases, {"depth": [3]})


def test_values_that_a_case_cannot_take_are_refused_before_anything_is_measured():
    cases = registry.select(["vgg16/gradient", "digits/gradient", "mlp30/shapley", "mlp/shapley", "accuracy/cancer12"])
    for axes, message in (
        ({"dtype": ["bfloat16"]}, "dtype must be one of float32, float64 here, got 'bfloat16'"),
        ({"size": [16]}, "size must be 32 or more, for vgg16, got 16"),
        ({"size": [34]}, "size must be 4 or more, by 4, for digits, got 34"),
        ({"orders": [7]}, "orders must be an even number"),
        ({"players": [2]}, "players must be 3 or more"),
        ({"percent": [2], "rows": [144]}, "rows must be at most 143"),
        ({"batch": ["many"]}, "batch must be an integer from 1 on, got 'many'"),
    ):
        with pytest.raises(InvalidInput, match=message):
            registry.points(cases, axes)
    found = registry.points(cases, {"dtype": ["bfloat16"]}, strict=False)  # who can
    assert [point.case.name for point in found] == ["vgg16/gradient", "digits/gradient"]
    assert {point.case.name for point in registry.points(cases, {"batch": [3]})} == {case.name for case in cases}
    with pytest.raises(InvalidInput, match="dtype must be one of float32, float64, bfloat16 here, got 'float16'"):
        registry.points(cases, {"dtype": ["float16"]}, strict=False)


def test_a_point_knows_its_axes():
    case = CASES["digits/gradient"]
    assert at(case).axes == case.axes and at(case).name == case.name
    with pytest.raises(KeyError, match="digits/gradient has no axis 'orders'; it has batch"):
        at(case, orders=3)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_suites_have_no_point_twice(device):
    for quick in (False, True):
        points = registry.suite(device, quick)
        keys = [(p.case.name, tuple(p.axes.items())) for p in points]
        assert len(set(keys)) == len(keys) > 4
    assert len(registry.suite(device, True)) < len(registry.suite(device, False)) / 2


def test_the_cpu_suite_covers_what_is_promised():
    points = registry.suite("cpu", False)
    names = {p.case.name for p in points}
    missing = {f"{network}/{method}" for network in NETWORKS for method in METHODS} - names
    left_out = {
        "vgg16": ("gradient", "deconvnet", "grad_cam", "integrated_gradients"),
        "resnet18": tuple(m for m in METHODS if m not in ("guided_backprop", "epsilon_plus")),
    }
    assert missing == {f"{network}/{method}" for network, methods in left_out.items() for method in methods}
    for axis in ("batch", "size", "depth", "players", "orders"):
        swept = {p.case.name for p in points if p.sweep == axis}
        assert swept, axis
        for name in swept:
            # with the case's own value, where everybody is compared
            values = {p.axes[axis] for p in points if p.case.name == name and p.sweep in ("", axis)}
            assert len(values) >= 3, (name, axis)
    assert {p.axes["dtype"] for p in points if "dtype" in p.axes} == {"float32", "float64", "bfloat16"}
    assert {p.axes["outputs"] for p in points if "outputs" in p.axes} == {1, 10}
    assert [p.case.name for p in points if p.providers and "algebra" in p.providers] == ["resnet18/epsilon_plus"]
