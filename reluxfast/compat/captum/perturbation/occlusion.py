"""Occlusion."""

from __future__ import annotations

import math
from typing import Any

import torch

from reluxfast.coalitions.windows import Windows
from reluxfast.compat.captum.bases import exposed
from reluxfast.compat.captum.call import Call
from reluxfast.compat.captum.errors import Refused
from reluxfast.compat.captum.perturbation.ablation import FeatureAblation
from reluxfast.compat.captum.perturbation.asked import Asked, ask
from reluxfast.methods.ablation import block_occlusion

Sizes = tuple[int, ...]


class Occlusion(FeatureAblation):
    """The mean loss of output over sliding windows that cover an element.

    Args:
        forward_func: see `FeatureAblation`.
    """

    @exposed
    def attribute(
        self,
        inputs: Any,
        sliding_window_shapes: Sizes | tuple[Sizes, ...],
        strides: int | tuple[int | Sizes, ...] | None = None,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """Values like the inputs, float64 where an input is (Captum: float32), else float32; (N·K, ...) for K outputs.

        Args:
            sliding_window_shapes: of a window, one size for each dimension of an example; a tuple of them for several
                inputs. A window hides elements of one input.
            strides: steps between windows: an int, one for each dimension, or a tuple of these for several inputs;
                default 1. Windows are cut at the far border.
            inputs, baselines, target, additional_forward_args, perturbations_per_eval, show_progress: see
                `FeatureAblation`.

        Raises:
            AssertionError, IndexError: an argument breaks a rule.
            ReluxfastError: outputs are not finite.
        """
        call = Call.of(inputs, target, additional_forward_args)
        shapes = [tuple(x.shape[1:]) for x in call.inputs]
        sizes = _window_sizes(sliding_window_shapes, shapes)
        steps = _steps(strides, shapes)
        _check(shapes, sizes, steps)
        asked = ask(self.forward_func, call, baselines, perturbations_per_eval, show_progress)
        parts = [_part(asked, index, size, step) for index, (size, step) in enumerate(zip(sizes, steps, strict=True))]
        return asked.laid_out(tuple(parts), asked.float_dtype, flat=True)


def _part(asked: Asked, index: int, sizes: Sizes, steps: Sizes) -> torch.Tensor:
    """(R, M, p) of one input."""
    rows, shape = asked.rows, asked.rows.shapes[index]
    if not math.prod(shape):
        return torch.zeros(*asked.explained.shape, 0, device=rows.x.device)
    # One number is a block of one; a window that covers all of a dimension has nowhere to go.
    blocks = [(s, w, min(w, step)) for s, w, step in zip(shape, sizes, steps, strict=True)] or [(1, 1, 1)]
    windows = Windows(*map(tuple, zip(*blocks, strict=True)))
    request = asked.request(windows.players(rows.place[index], rows.x.shape[1]))
    return asked.of_explained(block_occlusion(request, windows).values)


def _window_sizes(given: Any, shapes: list[Sizes]) -> tuple[Sizes, ...]:
    sizes = given if isinstance(given, tuple) else (given,)
    if len(shapes) == 1 and all(_is_size(s) for s in sizes):
        sizes = (sizes,)
    if len(sizes) != len(shapes):
        raise Refused("sliding_window_shapes", f"must be as many as the inputs ({len(shapes)})", given)
    for index, (size, shape) in enumerate(zip(sizes, shapes, strict=True)):
        if not isinstance(size, tuple) or len(size) != len(shape) or not all(_is_size(s) for s in size):
            rule = f"for input {index} must be a tuple of {len(shape)} positive ints, for examples of shape {shape}"
            raise Refused("sliding_window_shapes", rule, size)
    return sizes


def _steps(given: Any, shapes: list[Sizes]) -> tuple[Sizes, ...]:
    steps = (1,) * len(shapes) if given is None else given
    if len(shapes) == 1 and not (isinstance(steps, tuple) and len(steps) == 1):
        steps = (steps,)
    if not isinstance(steps, tuple) or len(steps) != len(shapes):
        raise Refused("strides", f"must be as many as the inputs ({len(shapes)})", given)
    found = []
    for index, (step, shape) in enumerate(zip(steps, shapes, strict=True)):
        each = (step,) * len(shape) if _is_size(step) else step
        if not isinstance(each, tuple) or len(each) != len(shape) or not all(_is_size(s) for s in each):
            rule = f"for input {index} must be a positive int or {len(shape)} of them, for examples of shape {shape}"
            raise Refused("strides", rule, step)
        found.append(each)
    return tuple(found)


def _check(shapes: list[Sizes], sizes: tuple[Sizes, ...], steps: tuple[Sizes, ...]) -> None:
    for shape, size, step in zip(shapes, sizes, steps, strict=True):
        if any(w > d for d, w in zip(shape, size, strict=True)):
            raise Refused("sliding_window_shapes", f"must not exceed an example's shape {shape}", size)
        if any(s > w for d, w, s in zip(shape, size, step, strict=True) if w != d):
            raise Refused("strides", f"must not exceed the window {size} where it does not cover everything", step)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
