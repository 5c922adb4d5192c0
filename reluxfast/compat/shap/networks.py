"""What explainers of networks share: modules, one or several inputs, and which outputs are explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from reluxfast.captured import captured
from reluxfast.compat.shap.auto import Explainer
from reluxfast.compat.shap.errors import UnexpectedInput, WrongShape, WrongType
from reluxfast.compat.shap.models import module_outputs, module_rows
from reluxfast.compat.shap.tables import is_frame
from reluxfast.errors import InvalidInput
from reluxfast.extras import need
from reluxfast.methods.numbers import one_of, positive

ORDERS = ("max", "min", "max_abs")
# Inputs, a target as the engine takes it -> values (N, ...) or, for every class, (N, K, ...) of each input.
Attribute = Callable[[tuple[torch.Tensor, ...], Any], list[torch.Tensor]]


class NetworkExplainer(Explainer):
    """A module and the background of its inputs.

    Args:
        model: an nn.Module that returns (N,) or (N, K).
        data: Tensor, array or DataFrame (B, ...), or a list of them for several inputs.

    Attributes:
        model, data: as given.
    """

    def __init__(self, model: Any, data: Any):
        if not isinstance(model, nn.Module):
            raise WrongType("model", "must be an nn.Module", type(model).__name__)
        self.model, self.data = model, data
        self._several = isinstance(data, list)
        self._background = tuple(self._tensor(d) for d in (data if self._several else [data]))
        if len({len(b) for b in self._background}) > 1 or not len(self._background[0]):
            rule = "must have rows, as many for every input"
            raise InvalidInput("data", rule, [tuple(b.shape) for b in self._background])

    @property
    def expected_value(self) -> np.ndarray:
        """(K,) outputs in the mean over the background, by the weights as they are now."""
        outputs = module_outputs(self.model, self._background)
        return self._by_class(outputs).mean(0).cpu().numpy()

    def _inputs(self, X: Any) -> tuple[torch.Tensor, ...]:
        if isinstance(X, list) != self._several:
            rule = "must be a list of model inputs, as data is" if self._several else "must be a single model input"
            raise UnexpectedInput("X", rule, type(X).__name__)
        found = tuple(self._tensor(x) for x in (X if self._several else [X]))
        if len(found) != len(self._background):
            raise UnexpectedInput("X", f"must have {len(self._background)} inputs, as data has", len(found))
        for given, held in zip(found, self._background, strict=True):
            if given.shape[1:] != held.shape[1:]:
                raise WrongShape("X", f"must have rows of shape {tuple(held.shape[1:])}", tuple(given.shape))
        return tuple(x.to(b) for x, b in zip(found, self._background, strict=True))

    def _tensor(self, rows: Any) -> torch.Tensor:
        return module_rows(self.model, rows.to_numpy() if is_frame(rows) else rows)

    def _ranks(self, inputs: tuple[torch.Tensor, ...], ranked_outputs: Any, order: str) -> torch.Tensor | None:
        """(N, k) outputs to explain of each row; None: every one of all."""
        if ranked_outputs is None:
            return None
        positive("ranked_outputs", ranked_outputs, needed=True)
        one_of("output_rank_order", order, ORDERS)
        outputs = self._by_class(module_outputs(self.model, inputs)).cpu()
        key = outputs.abs() if order == "max_abs" else outputs
        ranks = key.sort(descending=order != "min", stable=True).indices[:, :ranked_outputs]
        return ranks if outputs.shape[1] > 1 else ranks.int()

    def _explained(
        self, inputs: tuple[torch.Tensor, ...], ranks: torch.Tensor | None, attribute: Attribute
    ) -> list[np.ndarray]:
        """(N, ..., K) float64 for each input."""
        shape = self._output_shape(inputs)
        if ranks is None or len(shape) == 1:
            values = attribute(inputs, "all" if len(shape) == 2 else None)
            values = [v.movedim(1, -1) if len(shape) == 2 else v.unsqueeze(-1) for v in values]
        else:
            each = [attribute(inputs, ranks[:, i]) for i in range(ranks.shape[1])]
            values = [torch.stack(of_input, -1) for of_input in zip(*each, strict=True)]
        return [v.cpu().double().numpy() for v in values]

    def _packed(self, values: list[Any]) -> Any:
        return values if self._several else values[0]

    def _explanation(self, X: Any, values: Callable[[], Any], complete: bool = True) -> Any:
        """`values()` as a shap.Explanation, with base values where they are complete; lists for several inputs."""
        shap = need("shap", "shap", "shap", f"{type(self).__name__}(X)")
        if self._several and len({b.dim() for b in self._background}) > 1:
            rule = "must be inputs of as many dimensions for an Explanation"
            shown = [tuple(b.shape) for b in self._background]
            raise UnexpectedInput("X", rule, shown, "Call shap_values")
        found = values()
        if self._several:
            return shap.Explanation(found, data=[_host(x) for x in X])
        return shap.Explanation(
            found,
            base_values=np.tile(self.expected_value.astype(np.float64), (len(found), 1)) if complete else None,
            data=_host(X),
            feature_names=list(X.columns) if is_frame(X) else None,
        )

    def _output_shape(self, inputs: tuple[torch.Tensor, ...]) -> tuple:
        graph = captured(self.model, inputs).engine().graph
        return _of_classes(graph.nodes[graph.output].shape)

    @staticmethod
    def _by_class(outputs: torch.Tensor) -> torch.Tensor:
        return outputs.unsqueeze(1) if len(_of_classes(outputs.shape)) == 1 else outputs


def _host(rows: Any) -> np.ndarray:
    if is_frame(rows):
        return rows.to_numpy()
    return rows.detach().cpu().numpy() if isinstance(rows, torch.Tensor) else np.asarray(rows)


def _of_classes(shape: tuple) -> tuple:
    """The shape of outputs, which must be that of one or several numbers for each row."""
    if len(shape) not in (1, 2):
        raise InvalidInput("model", "must return (N,) or (N, K)", f"an output of {len(shape)} dimensions")
    return shape
