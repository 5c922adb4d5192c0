"""What can be explained of a model's output. Any callable that makes one number of an image's output will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reluxfast.compat.grad_cam.errors import OutOfRange
from reluxfast.errors import InvalidInput


class ClassifierOutputTarget:
    """The output of one class, of (K,) or (N, K)."""

    def __init__(self, category: int):
        self.category = category

    def __call__(self, model_output: Tensor) -> Tensor:
        """Output () or (N,) of the class.

        Raises:
            InvalidInput: there is no such class (also an IndexError).
        """
        return _of_class(model_output, self.category)


class ClassifierOutputSoftmaxTarget:
    """The probability (softmax) of one class, of (K,) or (N, K)."""

    def __init__(self, category: int):
        self.category = category

    def __call__(self, model_output: Tensor) -> Tensor:
        """Probability () or (N,) of the class."""
        return _of_class(torch.softmax(model_output, -1), self.category)


class ClassifierOutputReST:
    """The output of one class plus the logarithm of its probability (arXiv 2501.06261), of (K,) or (N, K)."""

    def __init__(self, category: int):
        self.category = category

    def __call__(self, model_output: Tensor) -> Tensor:
        """Sum () or (N,) for the class."""
        return _of_class(model_output + torch.log_softmax(model_output, -1), self.category)


class BinaryClassifierOutputTarget:
    """The one output of a model with two classes: as it is for class 1, with the other sign for class 0."""

    def __init__(self, category: int):
        self.category = category

    def __call__(self, model_output: Tensor) -> Tensor:
        """The output, signed."""
        return model_output if self.category == 1 else -model_output


class SoftmaxOutputTarget:
    """The probabilities (softmax) of all classes; as a target only for a single one."""

    def __call__(self, model_output: Tensor) -> Tensor:
        """Probabilities shaped like the output."""
        return torch.softmax(model_output, -1)


class RawScoresOutputTarget:
    """The output as it is; as a target only if it is one number."""

    def __call__(self, model_output: Tensor) -> Tensor:
        """The output."""
        return model_output


class SemanticSegmentationTarget:
    """The sum of one class (C, H, W)[category] over the pixels of a mask.

    Args:
        category: channel of the output.
        mask: array or Tensor (H, W) of 0 and 1, or of weights.
    """

    def __init__(self, category: int, mask: Any):
        self.category = category
        self.mask = torch.as_tensor(mask)

    def __call__(self, model_output: Tensor) -> Tensor:
        """The sum, of the output (C, H, W) of one image."""
        return (model_output[self.category] * self.mask.to(model_output.device)).sum()


class FinerWeightedTarget:
    """How far one class lies above others, of (K,) or (N, K): a mean weighted by the probabilities of the others.

    Args:
        main_category: the class.
        comparison_categories: the others.
        alpha: factor of the outputs that are subtracted.
    """

    def __init__(self, main_category: int, comparison_categories: Sequence[int], alpha: float):
        if not len(comparison_categories):
            raise InvalidInput("comparison_categories", "must hold at least one class", comparison_categories)
        self.main_category, self.comparison_categories, self.alpha = main_category, comparison_categories, alpha

    def __call__(self, model_output: Tensor) -> Tensor:
        """Mean () or (N,)."""
        probability, total, weight = torch.softmax(model_output, -1), 0, 0
        for other in self.comparison_categories:
            above = _of_class(model_output, self.main_category) - self.alpha * _of_class(model_output, other)
            total = total + _of_class(probability, other) * above
            weight = weight + _of_class(probability, other)
        return total / (weight + 1e-9)


def _of_class(output: Tensor, category: Any) -> Tensor:
    count = output.shape[0 if output.dim() == 1 else 1]
    if isinstance(category, int) and not -count <= category < count:
        raise OutOfRange("category", f"must lie in [{-count}, {count - 1}] for a model with {count} classes", category)
    return output[category] if output.dim() == 1 else output[:, category]
