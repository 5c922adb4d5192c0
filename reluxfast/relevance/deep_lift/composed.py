"""Rules of operations that are made of others: quotients, softmax, normalisations, attention.

Each is what its parts give when they are written out: see `pair`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from reluxfast.relevance.deep_lift.operation import Operation
from reluxfast.relevance.deep_lift.pair import Pair, log_softmax, logsumexp, normalised, softmax


def _quotient(op: Operation) -> torch.Tensor:
    return op.pair("self").product(op.pair("other").reciprocal()).through


def _softmax(op: Operation) -> torch.Tensor:
    return softmax(op.pair("self"), op.given("dim")).through


def _log_softmax(op: Operation) -> torch.Tensor:
    return log_softmax(op.pair("self"), op.given("dim")).through


def _logsumexp(op: Operation) -> torch.Tensor:
    made = logsumexp(op.pair("self"), op.given("dim")).through
    return made if op.given("keepdim") else made.squeeze(op.given("dim"))


def _glu(op: Operation) -> torch.Tensor:
    x, dim = op.pair("self"), op.given("dim")
    signal, gate = (x.linear(lambda v, half=half: v.chunk(2, dim)[half]) for half in (0, 1))
    return signal.product(gate.apply(torch.sigmoid, op.eps)).through


def _layer_norm(op: Operation) -> torch.Tensor:
    x, dims = op.pair("input"), range(-len(op.given("normalized_shape")), 0)
    return _scaled(normalised(x, list(dims), op.given("eps")).through, op.given("weight"))


def _rms_norm(op: Operation) -> torch.Tensor:
    x, dims = op.pair("input"), range(-len(op.given("normalized_shape")), 0)
    epsilon = op.given("eps")
    epsilon = torch.finfo(x.value.dtype).eps if epsilon is None else epsilon
    return _scaled(normalised(x, list(dims), epsilon, centred=False).through, op.given("weight"))


def _group_norm(op: Operation) -> torch.Tensor:
    return _grouped(op, op.given("num_groups"))


def _instance_norm(op: Operation) -> torch.Tensor:
    if not op.given("use_input_stats"):
        return op.run(op.leaves)
    return _grouped(op, op.pair("input").value.shape[1])


def _grouped(op: Operation, groups: int) -> torch.Tensor:
    x = op.pair("input")
    made = normalised(x.linear(lambda v: v.reshape(v.shape[0], groups, -1)), [2], op.given("eps")).through
    weight = op.given("weight")
    made = made.reshape(x.value.shape)
    return _scaled(made, None if weight is None else weight.view(-1, *[1] * (made.dim() - 2)))


def _scaled(x: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    return x if weight is None else x * weight


def _vector_norm(op: Operation) -> torch.Tensor:
    a = op.arguments
    x, order = op.pair("self"), a.get("ord", a.get("p"))
    dims = a.get("dim")
    dims = list(range(x.value.dim())) if dims is None else dims
    powers = x.apply(torch.abs, op.eps) if order == 1 else x.square()
    total = powers.linear(lambda v: v.sum(dims, keepdim=a.get("keepdim", False)))
    return total.through if order == 1 else total.root().through


def _deviation(op: Operation) -> torch.Tensor:
    a = op.arguments
    x, dims = op.pair("self"), a["dim"]
    dims = list(range(x.value.dim())) if dims is None else dims
    correction = a.get("correction", 1 if a.get("unbiased", True) else 0)
    free = math.prod(x.value.shape[d] for d in dims) - (1 if correction is None else correction)
    squares = x.linear(lambda v: v - v.mean(dims, keepdim=True)).square()
    return squares.linear(lambda v: v.sum(dims, keepdim=a["keepdim"]) / free).root().through


def _attention(op: Operation) -> torch.Tensor:
    query, key, value = (op.pair(name) for name in ("query", "key", "value"))
    scale = op.given("scale")
    scale = query.value.shape[-1] ** -0.5 if scale is None else scale
    scores = query.product(key.linear(lambda v: v.transpose(-2, -1)), torch.matmul).linear(lambda v: v * scale)
    mask = op.given("attn_mask")
    if op.given("is_causal"):
        mask = torch.ones(scores.value.shape[-2:], dtype=torch.bool, device=scores.value.device).tril()
    if mask is not None:
        added = (
            torch.zeros_like(mask, dtype=scores.value.dtype).masked_fill(~mask, -math.inf)
            if mask.dtype == torch.bool
            else mask
        )
        scores = Pair(scores.value + added, scores.reference + added, scores.through)
    return softmax(scores, -1).product(value, torch.matmul).through


COMPOSED: dict[str, Callable[[Operation], torch.Tensor]] = {
    **dict.fromkeys(("div", "divide", "true_divide"), _quotient),
    "softmax": _softmax,
    "_softmax": _softmax,
    "log_softmax": _log_softmax,
    "_log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "glu": _glu,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "linalg_vector_norm": _vector_norm,
    "norm": _vector_norm,
    "std": _deviation,
    "scaled_dot_product_attention": _attention,
}
