"""Every case by name, and the suites: which points are measured when nobody says which.

A new network is an entry in maps/networks.py, a new method one in maps/problem.py, a new peer a file in
maps/providers/ or games/providers/, a new game a file in games/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product

from reluxfast.benchmarks import games, maps
from reluxfast.benchmarks.case import Case, Point, at
from reluxfast.errors import InvalidInput

CASES: dict[str, Case] = {**maps.CASES, **games.CASES}

_METHODS = tuple(dict.fromkeys(name.split("/")[1] for name in maps.CASES))
# ResNet-18 would show of the other methods what ResNet-50 shows.
_MEDIUM = ("guided_backprop", "epsilon_plus")
# Who follows a sweep: the engine, the strongest peer of each kind, and the floor.
_GRADIENTS = ("reluxfast cpp", "reluxfast cuda", "autograd channels_last", "captum channels_last", "bare")
_RELEVANCE = ("reluxfast cpp", "reluxfast cuda", "zennit channels_last", "bare")
_CAPTUM = (
    *("reluxfast cpp", "reluxfast cuda", "captum", "captum channels_last"),
    *("captum additions", "captum additions channels_last", "zennit channels_last", "bare"),
)
_ZENNIT = ("reluxfast cpp", "reluxfast cuda", "zennit", "zennit channels_last")
_ORDERS = ("reluxfast cpp", "reluxfast cuda", "masked batch", "captum tuned", "sgemm")


def select(patterns: Iterable[str]) -> list[Case]:
    """Cases whose name is a pattern, begins with it and a slash, or matches it as a glob; in registry order.

    Raises:
        InvalidInput: a pattern matches nothing.
    """
    wanted = list(patterns)
    for pattern in wanted:
        if not any(_matches(name, pattern) for name in CASES):
            networks = ", ".join(dict.fromkeys(name.split("/")[0] for name in CASES))
            remedy = f"`reluxfast bench --list` names all; they begin with {networks}"
            raise InvalidInput("case", "must be the name of a case, its beginning or a glob", repr(pattern), remedy)
    return [case for name, case in CASES.items() if any(_matches(name, pattern) for pattern in wanted)]


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or name.startswith(pattern + "/") or fnmatchcase(name, pattern)


def points(cases: Sequence[Case], axes: Mapping[str, Sequence[int | str]], strict: bool = True) -> list[Point]:
    """Every case at every combination of the given values; a case is asked only for axes that it has.

    Args:
        cases: some of `CASES`.
        axes: values by name.
        strict: False: leave out the cases that have none of the axes or cannot take a value, unless none can.

    Raises:
        InvalidInput: no case has the axis, or a case cannot take a value.
    """
    for axis, values in axes.items():
        if not any(axis in case.axes for case in cases):
            known = ", ".join(dict.fromkeys(name for case in cases for name in case.axes))
            raise InvalidInput(axis, f"must be an axis of a case: {known}", f"{axis}={values[0]}")
    found, refused = [], None
    for case in cases:
        own = {axis: values for axis, values in axes.items() if axis in case.axes}
        if not own and not strict:
            continue
        for chosen in product(*own.values()):
            try:
                found.append(at(case, **dict(zip(own, chosen, strict=True))))
            except InvalidInput as error:
                if strict:
                    raise
                refused = refused or error
    if refused is not None and not found:
        raise refused
    return found


def suite(device_type: str, quick: bool) -> list[Point]:
    """What is measured on a device when nobody says which cases."""
    if device_type == "cuda":
        return _gpu_quick() if quick else _gpu()
    return _cpu_quick() if quick else _cpu()


def _cpu() -> list[Point]:
    found = []
    # What bars speak of, which on VGG-16 takes a third of the half hour; all methods on ResNet-50 and the smallest one.
    found += [_large("vgg16", method) for method in ("guided_backprop", *maps.LRP_COMPOSITES)]
    found += [_large("resnet50", method) for method in _METHODS]
    found += [_medium(method) for method in _MEDIUM]
    found += [at(CASES[f"digits/{method}"]) for method in _METHODS]
    found += _sweep("resnet18", "guided_backprop", _GRADIENTS, "batch", (1, 2))
    found += _sweep("resnet18", "epsilon_plus", _RELEVANCE, "batch", (1, 2))
    found += _sweep("digits", "guided_backprop", _GRADIENTS, "batch", (1, 16, 64, 256))
    found += _sweep("resnet18", "guided_backprop", _GRADIENTS, "size", (64, 160))
    found += _sweep("stack", "guided_backprop", _GRADIENTS, "depth", (4, 16, 32))
    for dtype in ("float64", "bfloat16"):
        found.append(at(CASES["resnet18/guided_backprop"], _GRADIENTS, sweep="dtype", dtype=dtype))
    found.append(at(CASES["resnet18/epsilon_plus"], _RELEVANCE, sweep="dtype", dtype="bfloat16"))
    return found + _games()


def _large(network: str, method: str) -> Point:
    """Half an hour is not enough for everybody at batch 4: what the bars speak of, and one image of the rest."""
    case = CASES[f"{network}/{method}"]
    if method in ("guided_backprop", "epsilon"):
        return at(case, _CAPTUM)
    if method == "epsilon_plus":
        return at(case, (*_ZENNIT, "bare"))
    if method.startswith("epsilon_"):
        return at(case, _ZENNIT)
    if method == "integrated_gradients":
        return at(case, _GRADIENTS, batch=1, steps=4)
    if method == "grad_cam":
        return at(case, batch=1)
    return at(case, (*_GRADIENTS, "compiled channels_last", "zennit channels_last"), batch=1)


def _medium(method: str) -> Point:
    """ResNet-18: everybody, or beside the same algebra without kernels of our own: where the time goes."""
    case = CASES[f"resnet18/{method}"]
    if method == "epsilon_plus":
        return at(case, ("reluxfast reference", "algebra", *_ZENNIT, "bare"))
    return at(case)


def _games() -> list[Point]:
    found = [at(case) for name, case in games.CASES.items() if name not in ("mlp/shapley", "digits/patches")]
    # Captum takes outputs one by one: ten times as long, which one network has to show.
    found.append(at(CASES["mlp30/shapley"], (*_ORDERS, "masked batch compiled"), outputs=10))
    few = ("reluxfast cpp", "reluxfast cuda", "masked batch", "sgemm")
    found += [at(CASES[name], few, outputs=10) for name in ("mlp100/shapley", "mlp784/shapley")]
    grown = CASES["mlp/shapley"]
    found += [at(grown, _ORDERS, sweep="players", players=n) for n in (16, 64, 192)]
    return found + [at(CASES["mlp30/shapley"], _ORDERS, sweep="orders", orders=n) for n in (10, 20, 100)]


def _sweep(network: str, method: str, providers: tuple[str, ...], axis: str, values: Sequence[int]) -> list[Point]:
    case = CASES[f"{network}/{method}"]
    return [at(case, providers, sweep=axis, **{axis: value}) for value in values]


def _cpu_quick() -> list[Point]:
    found = [at(CASES[f"resnet18/{method}"], batch=1) for method in ("guided_backprop", "epsilon_plus")]
    found += [at(CASES[f"digits/{method}"]) for method in _METHODS]
    return found + [at(CASES[name]) for name in ("mlp30/shapley", "mlp12/exact")]


def _gpu() -> list[Point]:
    found = []
    for network in ("vgg16", "resnet50", "resnet18"):
        for method in _METHODS:
            batch = {"batch": 8} if method == "integrated_gradients" else {"batch": 64}
            found.append(at(CASES[f"{network}/{method}"], **batch))
    for network in ("vgg16", "resnet50"):
        found += _sweep(network, "guided_backprop", _GRADIENTS, "batch", (1, 8, 256))
        found += _sweep(network, "epsilon_plus", _RELEVANCE, "batch", (1, 8))
    return found + _games()


def _gpu_quick() -> list[Point]:
    found = []
    for network, method in product(("vgg16", "resnet50"), ("guided_backprop", "epsilon_plus")):
        found += [at(CASES[f"{network}/{method}"], batch=batch) for batch in (1, 64)]
    return found + [at(CASES["mlp30/shapley"])]
