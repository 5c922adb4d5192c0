"""What may be explained: shape, dtype, device and content of the inputs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from reluxfast.errors import InvalidInput

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def as_tuple(x: Any, name: str = "x") -> tuple[torch.Tensor, ...]:
    """`x` as a tuple of floating-point tensors with a batch dimension."""
    items = x if isinstance(x, tuple) else (x,)
    if not items or not all(isinstance(i, torch.Tensor) for i in items):
        kind = f"a tuple with {[type(i).__name__ for i in items]}" if isinstance(x, tuple) else type(x).__name__
        raise InvalidInput(name, "must be a Tensor or a tuple of Tensors", kind, "Use torch.as_tensor(...)")
    for i, item in enumerate(items):
        label = name if not isinstance(x, tuple) else f"{name}[{i}]"
        if item.dim() == 0:
            raise InvalidInput(label, "must have a batch dimension in front", "a 0-dimensional Tensor")
        if item.layout != torch.strided:
            raise InvalidInput(label, "must be a dense Tensor", item.layout, "Convert it with .to_dense()")
        if item.dtype.is_floating_point and item.dtype not in _DTYPES:
            names = ", ".join(str(d).removeprefix("torch.") for d in _DTYPES)
            raise InvalidInput(label, f"must be one of {names}", item.dtype, f"Convert it with {label}.float()")
        if not item.dtype.is_floating_point:
            raise InvalidInput(
                label,
                "must be floating-point to be explained",
                item.dtype,
                f"Convert it as the model was trained, for instance {label}.float() / 255",
            )
    return items


def check_like(
    inputs: Sequence[torch.Tensor], examples: Sequence[tuple], name: str = "x", rows: int | None = None
) -> None:
    """Inputs must fit what was captured.

    Args:
        inputs: tensors to explain.
        examples: per input (row shape, dtype, device) at capture.
        name: what they are called, for messages.
        rows: N; None: that of the first of them.
    """
    if len(inputs) != len(examples):
        raise InvalidInput(name, f"must be {len(examples)} tensor(s), as the model takes", len(inputs))
    rows = inputs[0].shape[0] if rows is None else rows
    for i, (item, (shape, dtype, device)) in enumerate(zip(inputs, examples, strict=True)):
        label = name if len(examples) == 1 else f"{name}[{i}]"
        if tuple(item.shape[1:]) != tuple(shape):
            raise InvalidInput(
                label,
                f"must have rows of shape {tuple(shape)}, the shape the model was captured with",
                tuple(item.shape),
                "Resize it, or make an Explainer with an example of this shape",
            )
        if item.dtype != dtype:
            raise InvalidInput(label, f"must have dtype {dtype}, as captured", item.dtype, f"Convert with .to({dtype})")
        if item.device != device:
            raise InvalidInput(
                label, f"must be on {device}, where the model is", item.device, f"Move it with .to('{device}')"
            )
        if item.shape[0] != rows:
            raise InvalidInput(label, f"must have as many rows as the first input ({rows})", item.shape[0])


def warn_not_finite(inputs: Sequence[torch.Tensor]) -> None:
    """Warns with the number of NaN and infinite elements."""
    if all(bool(x.isfinite().all()) for x in inputs):
        return
    nan = sum(int(x.isnan().sum()) for x in inputs)
    inf = sum(int(x.isinf().sum()) for x in inputs)
    warnings.warn(
        f"x holds {nan} NaN and {inf} infinite elements; rows whose explained output is not finite get NaN",
        UserWarning,
        stacklevel=4,
    )
