"""Random calls of each op for the emulated CUDA kernels, with what the reference answers."""

from __future__ import annotations

import math
from collections.abc import Container

import numpy as np
import torch
from torch import Tensor

from reluxfast import ops
from reluxfast.ops.layout import is_channels_last, memory_order
from reluxfast.ops.max_pool import pooled_size
from reluxfast.ops.packing import field_width
from tests.cuda.calls import Call
from tests.ops import chains_statement
from tests.ops.chains_statement import Shape

DTYPES = ("float32", "float64", "float16", "bfloat16")
LAYOUTS = ("contiguous", "channels_last")


def random(shape: tuple[int, ...], dtype: str, layout: str, special: bool = False) -> Tensor:
    """Normal values, or such with NaN, infinities, zeros and subnormal halves among them."""
    x = torch.randn(shape, dtype=torch.float64)
    if special:
        for value in (math.nan, math.inf, -math.inf, 0.0, -0.0, 3e-8):
            x[torch.rand(shape) < 0.06] = value
    x = x.to(getattr(torch, dtype))
    if layout == "channels_last" and len(shape) >= 3:
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    return x


def as_bytes(x: Tensor | None, like: Tensor | None = None) -> np.ndarray | None:
    """x's elements as bytes in the dense order that `like`, or x itself, has; None for None."""
    if x is None:
        return None
    flat = memory_order(x, is_channels_last(x if like is None else like))
    return flat.contiguous().view(torch.uint8).numpy().copy()


def relu_pack(
    shape: tuple[int, ...],
    dtype: str,
    layout: str,
    *,
    bias: bool,
    residual: bool,
    bounds: tuple[float, float] = (0.0, math.inf),
    pack: bool = True,
    in_place: bool = False,
    special: bool = False,
    offsets: dict[str, int] | None = None,
    most_blocks: int = 2,
) -> Call:
    """relu_pack of a tensor of the given shape, which is not empty."""
    x = random(shape, dtype, layout, special)
    b = random(shape[1:2], dtype, "contiguous", special) if bias else None
    r = random(shape, dtype, layout, special) if residual else None
    with ops.backend("reference"):
        y, mask = ops.relu_pack(x, b, r, *bounds, pack)
    channels_innermost = not bias or is_channels_last(x)
    inputs = {"x": as_bytes(x), "bias": as_bytes(b), "residual": as_bytes(r, x)}
    expected = {"y": as_bytes(y, x), "mask": as_bytes(mask) if pack else None}
    parameters = {
        "numel": x.numel(),
        "channels": shape[1] if bias else 1,
        "inner": 1 if channels_innermost else math.prod(shape[2:]),
        "lo": bounds[0],
        "hi": bounds[1],
        "most_blocks": most_blocks,
    }
    return Call("relu_pack", dtype, inputs, expected, parameters, {"y": "x"} if in_place else {}, offsets or {})


def gate(
    shape: tuple[int, ...],
    dtype: str,
    mode: int,
    *,
    classes: int = 1,
    skip: bool = False,
    in_place: bool = False,
    special: bool = False,
    offsets: dict[str, int] | None = None,
    most_blocks: int = 2,
    threads: bool = False,
) -> Call:
    """gate of `classes` tensors of the given shape, which is not empty, that share one mask."""
    shape = (classes * shape[0], *shape[1:])
    g, s = random(shape, dtype, "contiguous", special), random(shape, dtype, "contiguous", special) if skip else None
    period = g.numel() // classes
    mask = ops.relu_pack(torch.randn(period), pack=True)[1] if mode & 1 else None
    with ops.backend("reference"):
        out = ops.gate(g, mask, s, mode, period)
    inputs = {"g": as_bytes(g), "skip": as_bytes(s), "mask": as_bytes(mask)}
    parameters = {
        "repeats": classes if mode & 1 else 1,
        "period": period if mode & 1 else g.numel(),
        "mode": mode,
        "most_blocks": most_blocks,
        "threads": threads,
    }
    return Call(
        "gate", dtype, inputs, {"out": as_bytes(out)}, parameters, {"out": "g"} if in_place else {}, offsets or {}
    )


def soft_gate_pack(
    shape: tuple[int, ...],
    dtype: str,
    layout: str,
    *,
    d: bool = True,
    bias: bool = False,
    d_bias: bool = False,
    residual: bool = False,
    twice: bool = False,
    factors: tuple[float, ...] = (1.0, 0.25),
    branches: tuple[int, ...] = (0,),
    epsilon: float = 1e-3,
    bounds: tuple[float, float] = (0.0, math.inf),
    numerator: int = 0,
    quantise: bool = False,
    in_place: bool = False,
    special: bool = False,
    offsets: dict[str, int] | None = None,
    most_blocks: int = 2,
    threads: bool = False,
) -> Call:
    """soft_gate_pack of a tensor of the given shape, which is not empty; in place without bounds it stores no v.

    `twice`: d is the residual too, in the same memory.
    """
    z, below, other = (random(shape, dtype, layout, special) if wanted else None for wanted in (True, d, residual))
    other = below if twice else other
    b, below_b = (random(shape[1:2], dtype, "contiguous", special) if wanted else None for wanted in (bias, d_bias))
    arguments = (below, b, below_b, other, factors, branches, epsilon, *bounds, numerator, quantise)
    with ops.backend("reference"):
        v, *gates = ops.soft_gate_pack(z, *arguments)
    made = [as_bytes(gate, z) for gate in gates[: len(branches)]] + [None] * (2 - len(branches))
    stored = not (in_place and bounds == (-math.inf, math.inf) and not bias and other is None)
    inputs = {
        "z": as_bytes(z),
        "d": as_bytes(below, z),
        "residual": as_bytes(other, z),
        "bias": as_bytes(b),
        "d_bias": as_bytes(below_b),
    }
    none = [None, None]
    kinds = (none, made) if quantise else (made, none)
    expected = {
        "v": as_bytes(v, z) if stored else None,
        **dict(zip(("first", "second", "first_bytes", "second_bytes"), kinds[0] + kinds[1], strict=True)),
    }
    parameters = {
        "numel": z.numel(),
        "channels": shape[1] if bias or d_bias else 1,
        "inner": 1 if is_channels_last(z) or not (bias or d_bias) else math.prod(shape[2:]),
        "factors": list(factors),
        "branches": list(branches),
        "epsilon": epsilon,
        "lo": bounds[0],
        "hi": bounds[1],
        "numerator": numerator,
        "most_blocks": most_blocks,
        "threads": threads,
    }
    aliases = {"v": "z"} if in_place and stored else {}
    if twice:
        aliases["residual"] = "d"
    return Call("soft_gate_pack", dtype, inputs, expected, parameters, aliases, offsets or {})


def soft_gate(
    shape: tuple[int, ...],
    dtype: str,
    *,
    classes: int = 1,
    skip: bool = False,
    quantised: bool = False,
    in_place: bool = False,
    special: bool = False,
    offsets: dict[str, int] | None = None,
    most_blocks: int = 2,
    threads: bool = False,
) -> Call:
    """soft_gate of `classes` tensors of the given shape, which is not empty, that share one gate."""
    row, shape = shape, (classes * shape[0], *shape[1:])
    g, s = random(shape, dtype, "contiguous", special), random(shape, dtype, "contiguous", special) if skip else None
    q = torch.randint(0, 256, row, dtype=torch.uint8) if quantised else random(row, dtype, "contiguous", special)
    with ops.backend("reference"):
        out = ops.soft_gate(g, q, s)
    inputs = {
        "g": as_bytes(g),
        "skip": as_bytes(s),
        "q": None if quantised else as_bytes(q),
        "bytes": as_bytes(q) if quantised else None,
    }
    parameters = {"repeats": classes, "period": q.numel(), "most_blocks": most_blocks, "threads": threads}
    aliases = {"out": "g"} if in_place else {}
    return Call("soft_gate", dtype, inputs, {"out": as_bytes(out)}, parameters, aliases, offsets or {})


def write_coalitions(
    shape: tuple[int, int],
    dtype: str,
    labels: Tensor,
    *,
    wide: bool = False,
    special: bool = False,
    offsets: dict[str, int] | None = None,
    most_blocks: int = 2,
    threads: bool = False,
) -> Call:
    """write_coalitions_ of (M, d) elements, which are some, with random orders of the players that (d,) labels name.

    `wide`: of float32, rounded to `dtype`.
    """
    count, d = shape
    read = "float32" if wide else dtype
    x, background = random((3, d), read, "contiguous", special), random((2, d), read, "contiguous", special)
    players = int(labels.max()) + 1
    ranks = torch.stack([torch.randperm(players) for _ in range(3)])
    fields = [torch.randint(0, most, (count,)) for most in (3, 2, 3, players + 1)]
    indices = {"labels": labels.int(), "ranks": ranks.int(), "jobs": torch.stack(fields, dim=1).int()}
    out = torch.empty(count, d, dtype=getattr(torch, dtype))
    with ops.backend("reference"):
        ops.write_coalitions_(out, x, background, *indices.values())
    inputs = {"x": as_bytes(x), "background": as_bytes(background)}
    inputs |= {name: as_bytes(tensor) for name, tensor in indices.items()}
    parameters = {"count": count, "d": d, "players": players, "wide": wide}
    parameters |= {"most_blocks": most_blocks, "threads": threads}
    kinds = dict.fromkeys(indices, "int32")
    kinds |= {"x": read, "background": read} if wide else {"out": f"int{8 * out.element_size()}"}
    return Call("write_coalitions", dtype, inputs, {"out": as_bytes(out)}, parameters, {}, offsets or {}, kinds)


def mlp_chains(
    shape: Shape,
    dtype: str,
    antithetic: bool,
    *,
    exact: bool = True,
    seed: int = 1,
    tf32: Container[int] | None = None,
    offsets: dict[str, int] | None = None,
    most_blocks: int = 2,
) -> Call:
    """mlp_chains of random numbers, on the grid on which results are equal if `exact`.

    `tf32`: the layers whose operands lose bits where TF32 is allowed; None where it is not.
    """
    kind = getattr(torch, dtype)
    given = chains_statement.call(shape, seed, exact).wide(kind)
    return given_mlp_chains(given, dtype, antithetic, exact=exact, tf32=tf32, offsets=offsets, most_blocks=most_blocks)


def given_mlp_chains(
    given: chains_statement.Call,
    dtype: str,
    antithetic: bool,
    *,
    exact: bool = True,
    tf32: Container[int] | None = None,
    offsets: dict[str, int] | None = None,
    most_blocks: int = 2,
) -> Call:
    """mlp_chains of given arguments."""
    kind = getattr(torch, dtype)
    pairs, fx, fb, scale = chains_statement.mlp_chains(given, antithetic, tf32 or ())
    x, background, cycle, permutations, members, starts, weights, biases = given.tensors(kind)
    index = {"cycle": cycle, "permutations": permutations, "members": members, "starts": starts}
    flat = {"weights": torch.cat([w.flatten() for w in weights]), "biases": torch.cat(biases)}
    expected = {"marginals": pairs, "fx": fx, "fb": fb}
    parameters = {
        "widths": [x.shape[1], *(weight.shape[0] for weight in weights)],
        "rows": len(x),
        "background_rows": len(background),
        "pairs": cycle.shape[1],
        "players": permutations.shape[2],
        "antithetic": antithetic,
        "allow_tf32": tf32 is not None,
        "most_blocks": most_blocks,
    }
    return Call(
        "mlp_chains",
        dtype,
        {name: as_bytes(t.contiguous()) for name, t in {"x": x, "background": background, **index, **flat}.items()},
        {name: as_bytes(torch.tensor(values, dtype=kind)) for name, values in expected.items()},
        parameters,
        {},
        offsets or {},
        dict.fromkeys(index, "int32"),
        0.0 if exact else chains_statement.TOLERANCE[kind] * scale,
    )


def _windows(size, out, kernel, stride, padding, dilation) -> list[list[int]]:
    along = [list(w) for w in zip(size, out, kernel, stride, padding, dilation, strict=True)]
    return [[1, 1, 1, 1, 0, 1]] * (3 - len(along)) + along


def _images(shape: tuple[int, ...], x: Tensor) -> dict[str, int]:
    if is_channels_last(x):
        return {"images": shape[0], "channels": shape[1]}
    return {"images": shape[0] * shape[1], "channels": 1}


def max_pool_pack(
    shape: tuple[int, ...],
    pool: tuple,
    dtype: str,
    layout: str,
    *,
    relu: bool,
    pack: bool = True,
    special: bool = False,
    offsets: dict[str, int] | None = None,
    most_blocks: int = 2,
) -> Call:
    """max_pool_pack with pool = (kernel, stride, padding, dilation, ceil_mode) of a tensor that is not empty."""
    *window, ceil_mode = pool
    x = random(shape, dtype, layout, special)
    with ops.backend("reference"):
        y, winner, mask = ops.max_pool_pack(x, *window, ceil_mode, relu, pack)
    expected = {
        "y": as_bytes(y, x),
        "winner": as_bytes(winner) if pack else None,
        "mask": as_bytes(mask) if pack and relu else None,
    }
    parameters = {
        **_images(shape, x),
        "windows": _windows(shape[2:], y.shape[2:], *window),
        "width": field_width(math.prod(window[0])),
        "relu": relu,
        "most_blocks": most_blocks,
    }
    return Call("max_pool_pack", dtype, {"x": as_bytes(x)}, expected, parameters, {}, offsets or {})


def max_pool_scatter(
    shape: tuple[int, ...],
    pool: tuple,
    dtype: str,
    layout: str,
    mode: int,
    *,
    classes: int = 1,
    special: bool = False,
    offsets: dict[str, int] | None = None,
    most_blocks: int = 2,
    threads: bool = False,
) -> Call:
    """The reverse of a pool over a tensor of the given shape, for `classes` gradients that share its winners."""
    *window, ceil_mode = pool
    x = random(shape, dtype, layout)
    sizes = list(zip(shape[2:], *window, strict=True))
    out_spatial = [pooled_size(*size, ceil_mode) for size in sizes]
    g = random((classes * shape[0], shape[1], *out_spatial), dtype, layout, special)
    with ops.backend("reference"):
        y, winner, _ = ops.max_pool_pack(x if is_channels_last(g) else x.contiguous(), *window, ceil_mode)
        # Any bits will do, and those of a maximum over many taps would all be 1.
        mask = ops.relu_pack(torch.randn(y.numel()))[1] if mode & 1 else None
        out = ops.max_pool_scatter(g, winner, mask, shape[2:], *window, mode, y.numel())
    in_period = _images(shape, g)
    parameters = {
        **_images(tuple(g.shape), g),
        "windows": _windows(shape[2:], out_spatial, *window),
        "period_images": in_period["images"],
        "width": field_width(math.prod(window[0])),
        "positive": bool(mode & 2),
        "most_blocks": most_blocks,
        "threads": threads,
    }
    inputs = {"g": as_bytes(g), "winner": as_bytes(winner), "mask": as_bytes(mask)}
    return Call("max_pool_scatter", dtype, inputs, {"out": as_bytes(out, g)}, parameters, {}, offsets or {})
