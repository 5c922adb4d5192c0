"""Made-up benchmark rows with numbers like those of real runs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

ENVIRONMENT = {
    "commit": "0123456789ab",
    "time": "2026-01-02T03:04:05+00:00",
    "versions": {"python": "3.11.7", "torch": "2.13.0+cpu", "captum": "0.9.0", "zennit": "0.5.1", "triton": None},
    "device": "cpu",
    "cpu": "Some CPU",
    "cpu_capability": "AVX512",
    "threads": 2,
    "matmul_precision": "highest",
    "rates": {"gemm_flop_per_s": 3.2e11, "copy_bytes_per_s": 2.1e10},
}
FLOORS = ("bare", "sgemm", "bare forward")
IMAGES = {"batch": 4, "size": 224, "dtype": "float32"}
# Times in ms, of the engine first; text stands for a provider that is wrong ("wrong: ...") or not there.
Times = Mapping[str, float | str]


def point(case: str, axes: Mapping[str, int | str], times: Times, *, noise: float = 0.03, **changes: Any) -> list[dict]:
    """The rows of one point; `noise` is half the width of a band over its median."""
    base = next((name for name, ms in times.items() if name.startswith("reluxfast") and not isinstance(ms, str)), None)
    floor = next((name for name, ms in times.items() if name in FLOORS and not isinstance(ms, str)), None)
    amount = int(axes.get("batch", 64))
    environment = ENVIRONMENT | changes.pop("environment", {})
    rows = []
    for name, ms in times.items():
        kind = "engine" if name.startswith("reluxfast") else "floor" if name in FLOORS else "peer"
        row: dict[str, Any] = {
            "schema": 1, "run": "20260102T030405Z-1a2b", "time": ENVIRONMENT["time"], "case": case,
            "group": "maps" if "batch" in axes else "games", "axes": dict(axes), "sweep": "", "tiny": False,
            "functional": False, "seed": 0, "provider": name, "kind": kind,
            "status": "floor" if kind == "floor" else "ok", "reason": None, "note": "",
            "computes": None if kind == "floor" else case.partition("/")[2],
            "error": None if kind == "floor" else 1.2e-4, "error_in": "relative L2", "gate": 1e-2, "small_error": 1e-6,
            "small_gate": 1e-4, "cosine": 1.0, "setup_s": 0.8, "first_call_s": 1.1, "base": base,
            "unit": "images" if "batch" in axes else "evaluations", "amount": amount, "environment": environment,
        }  # fmt: skip
        if isinstance(ms, str):
            wrong = ms.startswith("wrong: ")
            row |= {"status": "wrong" if wrong else "unavailable", "reason": ms.removeprefix("wrong: ")}
            row |= {"error": 4.2e36, "small_error": 8.1e16} if wrong else {"error": None, "small_error": None}
        else:
            row |= {"rounds": 9, "median_ms": ms, "p20_ms": ms * (1 - noise), "p80_ms": ms * (1 + noise)}
            row |= {"per_s": 1e3 * amount / ms, "floor_ms": 0.85 * float(times.get(floor, ms)) if floor else 0.8 * ms}
            row |= {"of_floor": row["floor_ms"] / ms, "ops": 60 if kind == "engine" else 300}
            if kind != "floor":
                row |= {"peak_bytes": int(2.4e7 if kind == "engine" else 3.6e8), "held_bytes": 1000}
            for key, other in (("over_base", base), ("over_bare", floor)):
                if other is not None:
                    ratio, width = ms / float(times[other]), 0.0 if other == name else noise
                    row[key] = {"median": ratio, "p20": ratio * (1 - width), "p80": ratio * (1 + width)}
        rows.append(row | changes)
    return rows


_NO_COMPOSITE = "Captum has no such composite; only single rules can be set on modules"
_LRP = {
    "vgg16/epsilon": (578, 1611, 1394, 1846, 1543, 534),
    "vgg16/epsilon_plus": (855, 0, 0, 2751, 2503, 808),
    "vgg16/epsilon_alpha2_beta1": (1155, 0, 0, 5800, 4848, 1090),
    "vgg16/epsilon_gamma_box": (897, 0, 0, 7163, 5753, 860),
    "resnet50/epsilon": (212, 686, 644, 793, 984, 169),
    "resnet50/epsilon_plus": (310, 0, 0, 1071, 1217, 259),
    "resnet50/epsilon_alpha2_beta1": (423, 0, 0, 1814, 1971, 359),
    "resnet50/epsilon_gamma_box": (338, 0, 0, 2085, 2153, 280),
}
_GRADIENTS = {
    "vgg16/guided_backprop": (589, 1200, 926, 753, 1362, 894, 555),
    "resnet50/guided_backprop": (225, 568, 382, 317, 413, 346, 203),
    "vgg16/gradient": (590, 1180, 920, 750, 1300, 880, 556),
    "resnet50/gradient": (216, 536, 346, 262, 348, 210, 196),
}
_SHAPLEY = {
    30: (7.4, 125.0, 24.6, 27.6, 137.0, 50.0, 187.0, 8.4),
    100: (28.4, 200.0, 122.0, 129.0, 541.0, 225.0, 267.0, 53.2),
    784: (9.8, 112.0, 99.0, 106.0, 950.0, 282.0, 153.0, 10.4),
}


def maps() -> list[dict]:
    """Two networks, six methods, with wrong and missing peers and an ablation."""
    rows = []
    for case, (cpp, plain, autograd, tuned, captum, last, bare) in _GRADIENTS.items():
        times = {"reluxfast cpp": cpp, "reluxfast reference": plain, "autograd": autograd}
        times |= {"autograd channels_last": tuned, "captum": captum, "captum channels_last": last, "bare": bare}
        rows += point(case, IMAGES, times)
    for case, (cpp, captum, last, zennit, tuned, bare) in _LRP.items():
        residual = case.startswith("resnet")
        names = (
            ["captum additions", "captum additions channels_last"] if residual else ["captum", "captum channels_last"]
        )
        times: dict[str, float | str] = {"reluxfast cpp": cpp, "reluxfast reference": 2.3 * cpp}
        if residual and captum:
            times["captum"] = "wrong: relative error 8.1e+16 above 1e-02 on the small copy of the network"
        times |= dict(zip(names, (captum or _NO_COMPOSITE, last or _NO_COMPOSITE), strict=True))
        times |= {"zennit": zennit, "zennit channels_last": tuned}
        if case.endswith("epsilon_plus"):
            times["algebra"] = 1.8 * cpp
        rows += point(case, IMAGES, times | {"bare": bare})
    return rows


def sweeps() -> list[dict]:
    """Batch, size and depth of images, precision, players and orders of games; time grows by known powers."""
    rows = []
    powers = {"reluxfast cpp": (30, 0.95), "captum channels_last": (60, 1.02), "bare": (26, 0.97)}
    for axis, base, values in (("batch", 4, (1, 2, 8, 16)), ("size", 224, (64, 96, 160)), ("depth", 4, (4, 8, 16, 32))):
        for value in values:
            axes = IMAGES | {axis: value}
            factor = 2 if axis == "size" else 1
            times = {name: ms * (value / base) ** (factor * power) for name, (ms, power) in powers.items()}
            rows += point(
                "resnet18/guided_backprop" if axis != "depth" else "stack/guided_backprop", axes, times, sweep=axis
            )
    rows += point("resnet18/guided_backprop", IMAGES, {name: ms for name, (ms, _) in powers.items()})
    for dtype, factor in (("float64", 2.1), ("bfloat16", 1.4)):
        times = {name: factor * ms for name, (ms, _) in powers.items()}
        rows += point("resnet18/guided_backprop", IMAGES | {"dtype": dtype}, times, sweep="dtype")
    for axis, values in (("players", (16, 32, 64, 128)), ("orders", (10, 20, 50, 100))):
        for value in values:
            axes = {"rows": 64, "players": 30, "orders": 50} | {axis: value}
            times = {"reluxfast cpp": 0.15 * value**1.1, "masked batch": 0.4 * value**1.3, "sgemm": 0.2 * value}
            rows += point("mlp/shapley", axes, times, sweep=axis)
    return rows


def games() -> list[dict]:
    """Shapley values of perceptrons, time to accuracy, patches."""
    rows = []
    names = ("reluxfast cpp", "reluxfast reference", "masked batch", "masked batch compiled", "captum", "captum tuned")
    for players, times in _SHAPLEY.items():
        axes = {"rows": 64, "orders": 10 if players == 784 else 50, "outputs": 1, "dtype": "float32"}
        rows += point(
            f"mlp{players}/shapley", axes, dict(zip((*names, "shap permutation", "sgemm"), times, strict=True))
        )
    accuracy = {"reluxfast cpp": 3.1, "captum tuned": 12.0, "shap permutation": 36.3}
    rows += point("accuracy/cancer12", {"rows": 64, "percent": 2}, accuracy)
    exact = {"reluxfast cpp": 18.4, "masked batch": 51.9, "shap exact": "more than 15 players take shap too long"}
    rows += point("mlp16/exact", {"rows": 4, "outputs": 1}, exact | {"sgemm": 22.6})
    patches = {"reluxfast cpp": 2527.0, "bare forward": 2783.0}
    return rows + point("resnet18/patches", {"rows": 1, "size": 224}, patches)


def again(rows: list[dict], drift: float = 1.02, noise: float = 0.01, seed: int = 0) -> list[dict]:
    """The rows of a second run: everything slower by `drift`, times and ratios scattered by `noise`."""
    draw = random.Random(seed)
    found = []
    for row in rows:
        row = {**row, "run": "20260102T040405Z-3c4d"}
        if "median_ms" in row:
            factor = drift * (1 + draw.uniform(-noise, noise))
            row |= {key: row[key] * factor for key in ("median_ms", "p20_ms", "p80_ms")}
            if row.get("over_base") and row["provider"] != row["base"]:
                row["over_base"] = {key: value * factor / drift for key, value in row["over_base"].items()}
        found.append(row)
    return found


def everything() -> list[dict]:
    """All of the above."""
    return maps() + sweeps() + games()
