"""What each ATen operation is to relevance propagation: its kind, the inputs it reads and the map it computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

CONVOLUTIONS = {f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)}
AVERAGES = {f"{a}avg_pool{n}d" for a in ("", "adaptive_") for n in (1, 2, 3)} | {"mean", "sum"}
MAXIMA = {f"{a}max_pool{n}d" for a in ("", "adaptive_") for n in (1, 2, 3)} | {"amax"}
# Copies of elements: the same operation on the ids of elements says which goes where.
CARRIES = {
    *("alias", "cat", "channel_shuffle", "clone", "concat", "concatenate", "contiguous", "dropout", "expand_copy"),
    *("feature_dropout", "alpha_dropout", "flatten", "flip", "im2col", "index", "index_select", "narrow_copy", "pad"),
    *("constant_pad_nd", "permute_copy", "pixel_shuffle", "pixel_unshuffle", "repeat", "repeat_interleave", "reshape"),
    *("roll", "stack", "to", "_to_copy", "type_as", "tril", "unfold", "hstack", "vstack"),
}
GATES = {"sigmoid", "hardsigmoid", "softmax"}


class Described(NamedTuple):
    """The part of a `Node` that an operation decides."""

    kind: str
    inputs: tuple[Tensor, ...]
    function: Callable[..., Tensor]
    fields: dict[str, Any]


def named(func, args, kwargs) -> dict[str, Any]:
    """Arguments by their schema names, defaults filled in."""
    values = {a.name: a.default_value for a in func._schema.arguments}
    values.update(zip((a.name for a in func._schema.arguments), args, strict=False))
    return values | kwargs


def describe(name: str, func, args, kwargs, is_data: Callable[[Any], bool]) -> Described:
    """Describes one call; `is_data` tells activations from constants."""
    given = named(func, args, kwargs)
    for family in (_weighted, _batch_norm, _sum, _scale, _product, _activation, _single):
        found = family(name, func, given, args, kwargs, is_data)
        if found is not None:
            return found
    return _other(func, args, kwargs, is_data)


def _weighted(name, func, given, args, kwargs, is_data) -> Described | None:
    if name in CONVOLUTIONS or name == "linear":
        x, weight, bias = given["input"], given["weight"], given["bias"]
        rest = {k: v for k, v in given.items() if k not in ("input", "weight", "bias")}

        def run(v: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
            return func(v, w, b, **rest)
    elif name in ("matmul", "mm") and not is_data(args[1]):
        (x, weight), bias = args, None

        def run(v: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
            return v @ w
    elif name in ("matmul", "mm"):
        (weight, x), bias = args, None

        def run(v: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
            return w @ v
    elif name == "addmm" and given["alpha"] == given["beta"] == 1:
        bias, x, weight = args

        def run(v: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
            return v @ w if b is None else v @ w + b
    else:
        return None
    if is_data(weight) or is_data(bias) or not is_data(x):
        return None
    fields = {
        "linear": lambda v: run(v, weight, None),
        "ones": lambda v: run(v, torch.ones_like(weight), None),
        "bias": None if bias is None else run(torch.zeros_like(x), weight, bias),
    }
    kind = "convolution" if name in CONVOLUTIONS else "linear"
    return Described(kind, (x,), lambda v: run(v, weight, bias), fields)


def _batch_norm(name, func, given, args, kwargs, is_data) -> Described | None:
    if name != "batch_norm" or given["training"] or given["running_mean"] is None:
        return None
    x = given["input"]
    k = 1.0 / (given["running_var"] + given["eps"]).sqrt()
    k = k if given["weight"] is None else k * given["weight"]
    shift = -given["running_mean"] * k + (0.0 if given["bias"] is None else given["bias"])
    wide = (1, -1, *(1,) * (x.dim() - 2))
    k, shift = k.reshape(wide), shift.reshape(wide)
    fields = {"linear": lambda v: k * v, "ones": lambda v: v, "bias": shift.expand(x.shape).clone()}
    return Described("batch_norm", (x,), lambda v: k * v + shift, fields)


def _sum(name, func, given, args, kwargs, is_data) -> Described | None:
    """`a + αb` and its relatives; a constant operand is an input without an activation behind it."""
    if name not in ("add", "sub", "subtract", "rsub"):
        return None
    a, b, alpha = given["self"], given["other"], given.get("alpha", 1)
    like = a if isinstance(a, Tensor) else b
    a, b = (v if isinstance(v, Tensor) else torch.tensor(float(v), dtype=like.dtype) for v in (a, b))
    c_a, c_b = {"add": (1, alpha), "rsub": (-alpha, 1)}.get(name, (1, -alpha))
    if is_data(given["self"]) != is_data(given["other"]):
        x, c, factor, other = (a, b, c_a, c_b) if is_data(given["self"]) else (b, a, c_b, c_a)
        shape = torch.broadcast_shapes(x.shape, c.shape)
        fields = {"linear": lambda v: (factor * v).expand(shape), "bias": (other * c).expand(shape).clone()}
        return Described("shift", (x,), lambda v: factor * v + other * c, fields)

    def run(u: Tensor, v: Tensor) -> Tensor:
        return c_a * u + c_b * v

    return Described("add", (a, b), run, {"linear": run})


def _scale(name, func, given, args, kwargs, is_data) -> Described | None:
    if name == "neg":
        return Described("scale", (args[0],), lambda v: -v, {"linear": lambda v: -v})
    if name not in ("mul", "multiply", "div", "divide", "true_divide") or given.get("rounding_mode") is not None:
        return None
    a, b = given["self"], given["other"]
    if is_data(a) and is_data(b):
        return None
    divide = "div" in name
    if divide and is_data(b):
        return None
    x, c = (a, b) if is_data(a) else (b, a)

    def run(v: Tensor) -> Tensor:
        return v / c if divide else v * c

    return Described("scale", (x,), run, {"linear": run})


def _product(name, func, given, args, kwargs, is_data) -> Described | None:
    if name not in ("mul", "multiply") or not (is_data(given["self"]) and is_data(given["other"])):
        return None
    if not (given["self"].is_floating_point() and given["other"].is_floating_point()):
        return None
    return Described("product", (given["self"], given["other"]), lambda u, v: u * v, {})


def _activation(name, func, given, args, kwargs, is_data) -> Described | None:
    x, bounds = args[0], _bounds(name, given, args, is_data)
    if name in ("maximum", "fmax", "max") and len(args) > 1 and not is_data(args[0]):
        x = args[1]
    if bounds is None or bounds[0] != 0 or bounds[1] <= 0 or not is_data(x):
        return None
    return Described("activation", (x,), lambda v: v.clamp(0.0, bounds[1]), {"high": bounds[1]})


def _bounds(name, given, args, is_data) -> tuple[float, float] | None:
    """Bounds of `min(max(z, lo), hi)`; None if the operation is something else."""
    if name == "relu":
        return 0.0, math.inf
    if name == "relu6":
        return 0.0, 6.0
    if name == "hardtanh":
        return float(given["min_val"]), float(given["max_val"])
    if name == "threshold" and float(given["threshold"]) == float(given["value"]) == 0:
        return 0.0, math.inf
    if name == "leaky_relu" and float(given["negative_slope"]) == 0:
        return 0.0, math.inf
    if name in ("clamp", "clip", "clamp_min"):
        low, high = given["min"], given.get("max")
        if all(not isinstance(v, Tensor) or v.numel() == 1 for v in (low, high)):
            return -math.inf if low is None else float(low), math.inf if high is None else float(high)
    if name in ("maximum", "fmax", "max") and len(args) > 1:
        constants = [v for v in args[:2] if isinstance(v, Tensor) and not is_data(v)]
        if len(constants) == 1 and not constants[0].any():
            return 0.0, math.inf
    return None


def _single(name, func, given, args, kwargs, is_data) -> Described | None:
    """Averages, upsampling and maxima: one activation and numbers."""
    upsample, pooled = (
        name.startswith(("upsample_", "_upsample_")),
        name in MAXIMA or (name == "max" and "dim" in given),
    )
    if not (upsample or pooled or name in AVERAGES):
        return None

    def run(v: Tensor) -> Tensor:
        result = func(v, *args[1:], **kwargs)
        return result[0] if isinstance(result, tuple) else result

    if pooled:
        return Described("max_pool", (args[0],), run, {"even": name == "amax"})
    return Described("upsample" if upsample else "average", (args[0],), run, {"linear": run})


def _other(func, args, kwargs, is_data) -> Described:
    flat, spec = torch.utils._pytree.tree_flatten((tuple(args), dict(kwargs)))
    places = [i for i, v in enumerate(flat) if is_data(v) and v.is_floating_point()]

    def run(*values: Tensor):
        filled = [v.clone() if isinstance(v, Tensor) else v for v in flat]
        for i, v in zip(places, values, strict=True):
            filled[i] = v
        again, named_again = torch.utils._pytree.tree_unflatten(filled, spec)
        return func(*again, **named_again)

    return Described("other", tuple(flat[i] for i in places), run, {})
