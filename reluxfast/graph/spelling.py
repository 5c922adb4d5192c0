"""Recognises what an ATen call means, however it was spelled."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from reluxfast.graph.node import BATCH, Node, Ref

Nodes = dict[str, Node]

# Linear in their one differentiable operand (or in all of them together): the VJP needs no values, only shapes.
_LINEAR = set(
    "view _unsafe_view reshape flatten unflatten unsqueeze squeeze permute transpose t numpy_T movedim moveaxis "
    "swapaxes swapdims contiguous clone alias expand expand_as repeat repeat_interleave tile slice select "
    "narrow chunk split split_with_sizes unbind tensor_split unsafe_chunk unsafe_split index_select cat concat "
    "concatenate stack hstack vstack pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d "
    "replication_pad1d replication_pad2d replication_pad3d roll flip rot90 mean sum avg_pool1d avg_pool2d "
    "avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d "
    "_adaptive_avg_pool3d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d "
    "upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d _upsample_nearest_exact1d "
    "_upsample_nearest_exact2d _upsample_nearest_exact3d pixel_shuffle pixel_unshuffle channel_shuffle "
    "native_channel_shuffle neg negative im2col col2im cumsum diagonal tril triu to _to_copy type_as dropout "
    "feature_dropout alpha_dropout feature_alpha_dropout slice_scatter select_scatter diagonal_scatter add sub "
    "subtract rsub lift_fresh_copy lift_fresh".split()
)
# Linear in the first operand as long as the other one depends on no input.
_LINEAR_IN_FIRST = {"mul", "multiply", "div", "divide", "true_divide", "matmul", "mm", "bmm"}
# The result does not change with the values of the operand, or only in jumps.
_NO_GRADIENT = set(
    "detach detach_ zeros_like ones_like full_like empty_like rand_like new_zeros new_ones new_full new_empty sign sgn "
    "floor ceil round trunc heaviside".split()
)
_MAX_POOLS = {"max_pool1d": 1, "max_pool2d": 2, "max_pool3d": 3}


def canonical(node: Node, nodes: Nodes, static: set[str]) -> Node:
    """`node` with its kind and typed attributes filled in; a general call if nothing is recognised."""
    if node.target is operator.getitem:
        return replace(node, kind="linear_call")
    short = node.op.rpartition(".")[2]
    for recognise in (_clamp, _convolution, _linear_map, _batch_norm, _max_pool, _addition):
        found = recognise(short, node, nodes, static)
        if found is not None:
            return found
    if short in _NO_GRADIENT:
        return replace(node, kind="aux_call", inputs=())
    if short == "copy":  # the value form of `copy_`: the source in the destination's shape
        destination, source = node.args[:2]
        kept = tuple(n for n in node.inputs if n == _name(source))
        kind = "linear_call" if kept else "aux_call"
        return replace(
            node, kind=kind, target=torch.ops.aten.expand_as.default, args=(source, destination), kwargs={}, inputs=kept
        )
    if short in _LINEAR:
        return replace(node, kind="linear_call")
    others = [a for a in node.args if isinstance(a, Ref) and a is not BATCH and a.name not in node.inputs]
    if short in _LINEAR_IN_FIRST and len(node.inputs) == 1 and _operand_count(node) == 1:
        rounding = node.kwargs.get("rounding_mode")
        divides_by_it = short in ("div", "divide", "true_divide") and _name(node.args[0]) != node.inputs[0]
        if rounding is None and not divides_by_it and all(o.name in static for o in others):
            return replace(node, kind="linear_call")
    return node


def arguments(node: Node) -> dict[str, Any]:
    """Arguments of an ATen call by name, defaults filled in."""
    schema = node.target._schema
    found = {}
    for i, argument in enumerate(schema.arguments):
        if i < len(node.args):
            found[argument.name] = node.args[i]
        else:
            found[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return found


def _name(value: Any) -> str | None:
    return value.name if isinstance(value, Ref) else None


def _operand_count(node: Node) -> int:
    return sum(_name(a) == node.inputs[0] for a in node.args)


def _is_zero(value: Any, nodes: Nodes) -> bool:
    """A zero that is written into the model's code, not a parameter that happens to be zero today."""
    if isinstance(value, (int, float)):
        return value == 0
    node = nodes.get(_name(value) or "")
    if node is None:
        return False
    short = node.op.rpartition(".")[2]
    if node.kind == "constant":
        return node.value is not None and node.value.numel() > 0 and not bool(node.value.count_nonzero())
    if short in ("zeros", "zeros_like", "new_zeros"):
        return True
    if short in ("full", "full_like", "new_full"):
        return arguments(node).get("fill_value") == 0
    if short in ("lift_fresh_copy", "detach", "detach_", "expand", "expand_as", "to", "_to_copy", "scalar_tensor"):
        return _is_zero(node.args[0], nodes)
    return False


_ABOVE, _BELOW = ("gt", "greater", "ge", "greater_equal"), ("lt", "less", "le", "less_equal")


def _positive_test(value: Any, nodes: Nodes, above: tuple = _ABOVE, below: tuple = _BELOW) -> str | None:
    """Name of x if `value` is x > 0 or x >= 0 (or its cast to a float)."""
    node = nodes.get(_name(value) or "")
    if node is None:
        return None
    short = node.op.rpartition(".")[2]
    if short in ("to", "_to_copy", "type_as"):
        return _positive_test(node.args[0], nodes, above, below)
    if short in ("logical_not", "bitwise_not"):
        return _positive_test(node.args[0], nodes, below, above)
    if short in above and _is_zero(node.args[1], nodes):
        return _name(node.args[0])
    if short in below and _is_zero(node.args[0], nodes):
        return _name(node.args[1])
    return None


def _negative_test(value: Any, nodes: Nodes) -> str | None:
    """Name of x if `value` is x < 0 or x <= 0."""
    return _positive_test(value, nodes, _BELOW, _ABOVE)


def _clamp(short: str, node: Node, nodes: Nodes, static: set[str]) -> Node | None:
    bounds: tuple[float, float] | None = None
    operand = _name(node.args[0]) if node.args else None
    if short == "relu":
        bounds = (0.0, math.inf)
    elif short == "relu6":
        bounds = (0.0, 6.0)
    elif short in ("hardtanh", "clamp", "clip", "clamp_min", "clamp_max"):
        given = arguments(node)
        lo = given.get("min_val", given.get("min"))
        hi = given.get("max_val", given.get("max"))
        if all(v is None or isinstance(v, (int, float)) for v in (lo, hi)):
            bounds = (-math.inf if lo is None else float(lo), math.inf if hi is None else float(hi))
            # torch lets the gradient of a clamp pass at its bounds; only as a spelling of ReLU or ReLU6 it is not.
            if (short != "hardtanh" and bounds not in ((0.0, math.inf), (0.0, 6.0))) or bounds[0] > bounds[1]:
                return None
    elif short == "threshold":
        given = arguments(node)
        if given["threshold"] == 0 and given["value"] == 0:
            bounds = (0.0, math.inf)
    elif short == "leaky_relu" and arguments(node)["negative_slope"] == 0:
        bounds = (0.0, math.inf)
    elif short in ("maximum", "fmax") or (short == "max" and len(node.args) == 2 and isinstance(node.args[1], Ref)):
        for x, zero in (node.args[:2], node.args[1::-1]):
            if _is_zero(zero, nodes) and _name(x) in node.inputs and _same_shape(node, nodes[_name(x)]):
                operand, bounds = _name(x), (0.0, math.inf)
                break
    elif short in ("mul", "multiply"):
        for x, gate in (node.args[:2], node.args[1::-1]):
            if _name(x) is not None and _positive_test(gate, nodes) == _name(x) and _same_shape(node, nodes[_name(x)]):
                operand, bounds = _name(x), (0.0, math.inf)
                break
    elif short == "where" and len(node.args) == 3:
        condition, yes, no = node.args
        for x, zero, tested in (
            (yes, no, _positive_test(condition, nodes)),
            (no, yes, _negative_test(condition, nodes)),
        ):
            if _name(x) == tested is not None and _is_zero(zero, nodes) and _same_shape(node, nodes[tested]):
                operand, bounds = tested, (0.0, math.inf)
    elif short in ("masked_fill", "index_put") and _is_zero(node.args[2], nodes) and not node.kwargs:
        mask = node.args[1][0] if short == "index_put" and len(node.args[1]) == 1 else node.args[1]
        if operand is not None and _negative_test(mask, nodes) == operand and _same_shape(node, nodes[operand]):
            bounds = (0.0, math.inf)
    if bounds is None or operand is None or operand not in node.inputs:
        return None
    return replace(node, kind="clamp", inputs=(operand,), attrs={"lo": bounds[0], "hi": bounds[1]})


def _same_shape(a: Node, b: Node) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype


def _tuple(value: Any, n: int) -> tuple[int, ...]:
    items = tuple(value) if isinstance(value, Sequence) else (value,)
    return tuple(int(v) for v in (items * n if len(items) == 1 else items))


def _convolution(short: str, node: Node, nodes: Nodes, static: set[str]) -> Node | None:
    transposed = short.startswith("conv_transpose")
    if not (transposed or short in ("conv1d", "conv2d", "conv3d", "convolution")):
        return None
    given = arguments(node)
    weight, bias = _name(given["weight"]), _name(given.get("bias"))
    x = nodes[_name(given["input"])]
    statics_only = weight in static and (bias is None or bias in static)
    if not statics_only or x.shape is None or x.name not in node.inputs:
        return None
    kernel = nodes[weight].shape
    n = len(kernel) - 2
    if len(x.shape) != n + 2:
        return None  # an unbatched convolution
    stride, dilation = _tuple(given["stride"], n), _tuple(given["dilation"], n)
    padding, after = given["padding"], (0,) * n
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel[2:], strict=True)]
        padding, after = [t // 2 for t in total], tuple(t % 2 for t in total)
    attrs = {
        "weight": weight,
        "bias": bias,
        "stride": stride,
        "padding": _tuple(padding, n),
        "after": after,
        "dilation": dilation,
        "transposed": transposed or bool(given.get("transposed", False)),
        "output_padding": _tuple(given.get("output_padding", 0), n),
        "groups": int(given["groups"]),
    }
    return replace(node, kind="conv", inputs=(x.name,), attrs=attrs)


def _linear_map(short: str, node: Node, nodes: Nodes, static: set[str]) -> Node | None:
    if short == "linear":
        given = arguments(node)
        x, weight, bias = _name(given["input"]), _name(given["weight"]), _name(given.get("bias"))
        if x in node.inputs and weight in static and (bias is None or bias in static):
            return replace(node, kind="linear", inputs=(x,), attrs={"weight": weight, "bias": bias})
    return None


def _batch_norm(short: str, node: Node, nodes: Nodes, static: set[str]) -> Node | None:
    if short not in ("batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "native_batch_norm"):
        return None
    given = arguments(node)
    if given.get("training"):
        return None
    names = {k: _name(given.get(k)) for k in ("weight", "bias", "running_mean", "running_var")}
    if any(n is not None and n not in static for n in names.values()) or names["running_mean"] is None:
        return None
    attrs = {
        "weight": names["weight"],
        "bias": names["bias"],
        "mean": names["running_mean"],
        "var": names["running_var"],
        "eps": float(given["eps"]),
        "tuple": short != "batch_norm",
    }
    x = _name(given["input"])
    return replace(node, kind="batch_norm", inputs=(x,), attrs=attrs)


def _max_pool(short: str, node: Node, nodes: Nodes, static: set[str]) -> Node | None:
    n = _MAX_POOLS.get(short)
    if n is None:
        return None
    given = arguments(node)
    x = nodes[_name(given["self"])]
    kernel = _tuple(given["kernel_size"], n)
    if x.shape is None or len(x.shape) != n + 2 or math.prod(kernel) > 256:
        return None
    stride = _tuple(given["stride"], n) if given["stride"] else kernel
    attrs = {
        "kernel": kernel,
        "stride": stride,
        "padding": _tuple(given["padding"], n),
        "dilation": _tuple(given["dilation"], n),
        "ceil_mode": bool(given["ceil_mode"]),
    }
    return replace(node, kind="max_pool", inputs=(x.name,), attrs=attrs)


def _addition(short: str, node: Node, nodes: Nodes, static: set[str]) -> Node | None:
    if short != "add" or len(node.inputs) != 2 or node.kwargs.get("alpha", 1) != 1:
        return None
    a, b = (_name(v) for v in node.args[:2])
    if {a, b} == set(node.inputs) and _same_shape(nodes[a], nodes[b]) and _same_shape(nodes[a], node):
        return replace(node, kind="add", inputs=(a, b))
    return None
