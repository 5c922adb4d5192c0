"""Models as these explainers take them: a function of an array, a module, or a network of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from reluxfast import ops
from reluxfast.captured import captured
from reluxfast.compat.shap.errors import WrongType
from reluxfast.errors import InvalidInput
from reluxfast.extras import need
from reluxfast.sklearn_models import is_estimator, perceptron_of


class Model:
    """A model of rows (M, d).

    Args:
        model: a function of an array, an nn.Module, or a fitted MLPClassifier or MLPRegressor.
        columns: names of the columns of the DataFrames that a function is to be given; None: it is given arrays.

    Attributes:
        explained: what the engine explains.
        is_function: whether it is a function of an array.

    Raises:
        WrongType: it is neither.
    """

    def __init__(self, model: Any, columns: list | None = None):
        self._module = isinstance(model, nn.Module)
        self.is_function = callable(model) and not self._module
        if not self._module and not self.is_function and not is_estimator(model):
            rule = "must be callable, an nn.Module, or a fitted MLPClassifier or MLPRegressor of scikit-learn"
            raise WrongType("model", rule, type(model).__name__)
        self.explained = _function(model, columns) if self.is_function else model

    def given(self, rows: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
        """Rows as the engine takes them: float64 arrays, for a module Tensors of the dtype and device it has."""
        if not self._module:
            return rows.cpu().double().numpy() if isinstance(rows, torch.Tensor) else rows.astype(np.float64)
        return module_rows(self.explained, rows)

    def inner(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of one row of outputs of this shape; an estimator's single output has no dimension.

        Raises:
            InvalidInput: a row of outputs is neither a number nor a vector.
        """
        inner = tuple(shape[1:])
        _refuse_more_dimensions(len(shape))
        return () if inner == (1,) and not self._module and not self.is_function else inner

    def outputs(self, rows: np.ndarray) -> np.ndarray:
        """Outputs (M, ...) float64 of rows (M, d)."""
        if self._module:
            found = module_outputs(self.explained, (self.given(rows),))
        elif self.is_function:
            found = self.explained(self.given(rows))
        else:
            found = perceptron_of(self.explained)(torch.from_numpy(self.given(rows)))
            found = found.reshape(len(found), *self.inner(found.shape))
        if isinstance(found, torch.Tensor):
            found = found.detach().cpu()
        return np.asarray(found, dtype=np.float64)


def module_rows(module: nn.Module, rows: Any) -> torch.Tensor:
    """Rows as a Tensor of a module: floating-point Tensors as they are, others in its parameters' dtype and device."""
    if isinstance(rows, torch.Tensor) and rows.is_floating_point():
        return rows.detach()
    own = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    return torch.as_tensor(np.ascontiguousarray(rows) if isinstance(rows, np.ndarray) else rows).to(own)


def module_outputs(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Output (N, ...) of a module as if in eval mode, detached, in the dtype that the engine computes in."""
    known = captured(module, inputs)
    engine = known.engine()
    if not len(inputs[0]):
        return inputs[0].new_zeros(0, *engine.graph.nodes[engine.graph.output].shape[1:], dtype=known.dtype)
    return engine.outputs([x.to(known.dtype) for x in inputs], ops.active_backend() != "reference")


def explains(model: Any) -> bool:
    """Whether it is a function, a module, or an estimator whose network is known."""
    if callable(model):
        return True
    try:
        perceptron_of(model)
    except InvalidInput:
        return False
    return True


def _function(model: Callable[[Any], Any], columns: list | None) -> Callable[[np.ndarray], Any]:
    """The function of an array, whose outputs are checked before much is spent on them."""
    frames = None if columns is None else need("pandas", "pandas", "shap", "A DataFrame as background")

    def function(rows: np.ndarray) -> Any:
        found = model(rows if frames is None else frames.DataFrame(rows, columns=columns))
        _refuse_more_dimensions(getattr(found, "ndim", 1))
        return found

    return function


def _refuse_more_dimensions(dimensions: int) -> None:
    if dimensions > 2:
        rule = "must return (N,) or (N, K)"
        raise InvalidInput("model", rule, f"an output of {dimensions} dimensions", "Flatten its outputs")
