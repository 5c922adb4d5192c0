"""Examples as rows of a model: of a captured network, of a function of examples, or the whole batch as one row."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from reluxfast.captured import Captured, captured
from reluxfast.coalitions.models import FunctionModel, RowOrder
from reluxfast.compat.captum.errors import Refused
from reluxfast.compat.captum.perturbation.packing import Packing
from reluxfast.compat.captum.perturbation.user_function import UserFunction
from reluxfast.errors import InvalidInput, UnsupportedNode
from reluxfast.sources import Source, captured_source

# A call of a function: rows where the user does not ask for more, and bytes of input.
_CALL_ROWS, _CALL_BYTES = 256, 32 << 20


@dataclass(frozen=True)
class Rows:
    """Examples as rows, and a model of them.

    Attributes:
        source: of outputs.
        order: of the elements of a row.
        x: (R, d).
        background: (1, d), or (R, d) if each row has its own.
        place: for each input (1, p), where the elements of an example are in a row; (N, p) where the batch is one row.
        shapes: of an example of each input.
        output: shape of the outputs: (R, ...), or that for the batch.
        dtype: of outputs.
        whole: whether the batch is one row (R = 1).
        batch_size: rows of one call, or None.
    """

    source: Source
    order: RowOrder
    x: torch.Tensor
    background: torch.Tensor
    place: tuple[torch.Tensor, ...]
    shapes: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    dtype: torch.dtype
    whole: bool = False
    batch_size: int | None = None

    @property
    def paired(self) -> bool:
        """Whether each row has its own background row."""
        return len(self.background) > 1


def captured_rows(module: nn.Module, x: torch.Tensor, start: torch.Tensor, dtype: torch.dtype) -> Rows | None:
    """Rows of a module of one floating-point Tensor, by its fastest path; None if the module cannot be captured."""
    if not x.is_floating_point() or dtype != x.dtype or not x[:1].numel():
        return None
    known = _known(module, x)
    if known is None:
        return None
    order, graph = known.row_order(), known.engine().graph
    numbers = torch.arange(math.prod(order.shape), device=x.device).view(1, *order.shape)
    return Rows(
        source=captured_source(known, order),
        order=order,
        x=order.rows(x.detach()).contiguous(),
        background=order.rows(start.to(x.dtype)).contiguous(),
        place=(order.rows(numbers).argsort(1),),
        shapes=(tuple(x.shape[1:]),),
        output=(len(x), *graph.nodes[graph.output].shape[1:]),
        dtype=x.dtype,
    )


def function_rows(
    function: UserFunction,
    inputs: tuple[torch.Tensor, ...],
    starts: tuple[torch.Tensor, ...],
    dtypes: tuple[torch.dtype, ...],
    explained: Callable[[torch.Tensor], torch.Tensor],
    at_once: int,
) -> Rows:
    """Rows of a function: examples, or the batch where it does not answer for each example by itself.

    Args:
        starts: baselines (1, ...) or (N, ...).
        dtypes: in which inputs are handed on.
        explained: the explained part of an output.
        at_once: batches that a call may hold; more than one is only for functions that answer for each example.

    Raises:
        AssertionError: `at_once` is above 1 for another function.
    """
    packing = Packing(inputs, dtypes, numbered=function.along)
    tensors = tuple(x.detach().to(dtype) for x, dtype in zip(inputs, dtypes, strict=True))
    x = packing.pack(inputs, "inputs")
    if function.along and len(x):
        starts = tuple(s.expand(len(x), *s.shape[1:]) for s in starts)
    background = packing.pack(starts, "baselines")
    output = function(tuple(t.clone() for t in tensors))  # it may write into them
    if not function.answers_each(tensors, output, at_once > 1):
        if at_once > 1:
            rule = "must be 1 where forward_func does not answer for each example by itself"
            raise Refused("perturbations_per_eval", rule, at_once)
        return _batch_as_row(function, packing, x, background, explained)

    def outputs(rows: torch.Tensor) -> torch.Tensor:
        return function(packing.unpack(rows), packing.numbers(rows) if packing.numbered else None)

    order = RowOrder((packing.width,), False)
    return Rows(
        source=Source(FunctionModel(outputs, order, as_array=False, padded=False), "function"),
        order=order,
        x=x,
        background=background,
        place=packing.place,
        shapes=packing.shapes,
        output=tuple(output.shape),
        dtype=output.dtype,
        batch_size=max(_fitting(x[:1]), len(x) * at_once if at_once > 1 else 1),
    )


def _batch_as_row(
    function: UserFunction,
    packing: Packing,
    x: torch.Tensor,
    background: torch.Tensor,
    explained: Callable[[torch.Tensor], torch.Tensor],
) -> Rows:
    examples, width = x.shape

    def outputs(rows: torch.Tensor) -> torch.Tensor:
        return torch.stack([explained(function(packing.unpack(row.view(examples, width)))) for row in rows])

    output = outputs(x.view(1, -1))[0]
    order = RowOrder((examples * width,), False)
    steps = torch.arange(examples, device=x.device).unsqueeze(1) * width
    return Rows(
        source=Source(FunctionModel(outputs, order, as_array=False, padded=False), "function"),
        order=order,
        x=x.view(1, -1),
        background=background.expand(examples, -1).reshape(1, -1).contiguous(),
        place=tuple(steps + place for place in packing.place),
        shapes=packing.shapes,
        output=tuple(output.shape),
        dtype=output.dtype,
        whole=True,
        batch_size=_fitting(x),
    )


def _fitting(row: torch.Tensor) -> int:
    """Rows of a call."""
    return max(1, min(_CALL_ROWS, _CALL_BYTES // max(1, row.numel() * row.element_size())))


# By identity: modules, and the inputs (row shape, dtype, device) for which they could not be captured.
_refused: dict[int, tuple[weakref.ref, set[Any]]] = {}
_refused_lock = threading.RLock()


def _known(module: nn.Module, x: torch.Tensor) -> Captured | None:
    """The capture of a module; what was refused once is not tried again."""
    number, key = id(module), (tuple(x.shape[1:]), x.dtype, x.device)
    with _refused_lock:
        owner, refused = _refused.get(number, (None, set()))
        if owner is not None and owner() is module and key in refused:
            return None
    try:
        known = captured(module, (x,))
        known.engine()
        return known
    except (UnsupportedNode, InvalidInput):
        with _refused_lock:
            owner, refused = _refused.get(number, (None, set()))
            if owner is None or owner() is not module:
                refused = set()
                _refused[number] = weakref.ref(module, lambda gone: _forget(number, gone)), refused
            refused.add(key)
        return None


def _forget(number: int, gone: weakref.ref) -> None:
    with _refused_lock:
        if number in _refused and _refused[number][0] is gone:
            del _refused[number]
