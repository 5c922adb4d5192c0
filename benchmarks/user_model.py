"""A model that somebody brought along, as cases: `reluxfast bench --model MODEL.pt2 --input ARRAY.npy`.

Peers get the program's module. Its ReLUs are calls, not modules, so that what hooks on modules cannot see shows here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from reluxfast.benchmarks.case import Case, Conditions, Point, at
from reluxfast.benchmarks.maps.problem import DTYPES, METHODS, STEPS, MapProblem
from reluxfast.benchmarks.problem import Axes
from reluxfast.errors import InvalidInput
from reluxfast.input_file import read_inputs
from reluxfast.program_file import load_program, row_shape

# Grad-CAM reads the map of a module, and a program has none that peers could hook.
OFFERED = tuple(method for method in METHODS if method != "grad_cam")
_DTYPES = {dtype: name for name, dtype in DTYPES.items()}


def points_of(model: str | None, inputs: str | None, methods: Sequence[str] | None, target: int | str) -> list[Point]:
    """One point for each method.

    Args:
        model: file written by `torch.export.save`, a program of one input (N, ...) and one output (N, classes).
        inputs: file of the inputs, as `reluxfast explain` takes them.
        methods: names of `OFFERED`; None: all that apply.
        target: output index for every row, or "top".

    Raises:
        InvalidInput: a file, a method or the target does not fit.
    """
    if model is None or inputs is None:
        missing = "model" if model is None else "input"
        raise InvalidInput(missing, "must be given: --model MODEL.pt2 and --input ARRAY.npy go together", "nothing")
    program = load_program(model)
    shape, dtype = row_shape(program)
    x = read_inputs(inputs, shape, dtype)
    if x.dtype not in _DTYPES:
        raise InvalidInput("input", f"must be one of {', '.join(_DTYPES.values())}", str(x.dtype))
    wanted = list(dict.fromkeys(methods or _all(x)))
    for method in wanted:
        if method not in _all(x):
            raise InvalidInput("method", f"must be one of {', '.join(_all(x))} for this input", repr(method))
    _check(program, x, target)
    axes: dict[str, int | str] = {"batch": len(x), "size": x.shape[-1], "dtype": _DTYPES[x.dtype]}
    made = []
    for method in wanted:
        own = axes | ({"steps": STEPS} if method == "integrated_gradients" else {})
        make = partial(_problem, program=program, x=x, target=target, method=method)
        made.append(at(Case(f"model-{Path(model).stem}/{method}", "maps", f"{method} of {model}", own, make)))
    return made


def _all(x: Tensor) -> list[str]:
    """A box of bounds is one of channels."""
    return [method for method in OFFERED if method != "epsilon_gamma_box" or x.dim() > 2]


def _check(program: torch.export.ExportedProgram, x: Tensor, target: int | str) -> None:
    try:
        with torch.no_grad():
            output = program.module()(x)
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        remedy = "Pass as many rows as the program was exported with, or export it with a dynamic batch"
        raise InvalidInput("input", "must be what the program takes", f"{tuple(x.shape)}: {said[0]}", remedy) from error
    if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != len(x):
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InvalidInput("model", f"must return one tensor ({len(x)}, classes) for this input", found)
    for name, found in (("input", x), ("model", output)):
        if (broken := int((~found.isfinite()).sum())) > 0:
            what = "hold" if name == "input" else "return for this input"
            remedy = "There is no right explanation of NaN or infinity to compare with: leave those rows out"
            raise InvalidInput(name, f"must {what} finite numbers alone", f"{broken} NaN or infinite", remedy)
    if target != "top" and not 0 <= int(target) < output.shape[1]:
        raise InvalidInput("target", f"must be from 0 to {output.shape[1] - 1} or 'top'", target)


def _problem(
    axes: Axes,
    conditions: Conditions,
    *,
    program: torch.export.ExportedProgram,
    x: Tensor,
    target: int | str,
    method: str,
) -> MapProblem:
    model, x = program.module().to(conditions.device), x.to(conditions.device)
    with torch.no_grad():
        output = model(x)
    label = output.argmax(1) if target == "top" else torch.full_like(output[:, 0], int(target), dtype=torch.long)
    return MapProblem(
        None,
        method,
        model,
        x,
        label,
        axes,
        layer="",
        steps=int(axes.get("steps", STEPS)),
        seed=conditions.seed,
    )
