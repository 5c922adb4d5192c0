"""Attributes that canonizers would set: they may be left out where the model computes the same with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from reluxfast.captured import original
from reluxfast.compat.zennit.canonizers import AttributeCanonizer, Canonizer, CompositeCanonizer
from reluxfast.compat.zennit.errors import WrongType
from reluxfast.errors import InvalidInput
from reluxfast.graph.twin import eval_twin
from reluxfast.methods.inputs import as_tuple

_REMEDY = "Make that change to the model itself, or leave the canonizer out"


def check_attributes(canonizers: Sequence[Canonizer], model: nn.Module, x: Any) -> None:
    """Compares output and gradient of two copies of a model that share its parameters, one of them with the attributes.

    Args:
        canonizers: of a composite.
        model: the model, which is only read.
        x: its inputs.

    Raises:
        InvalidInput: with the attributes it computes something else, or fails.
    """
    found = list(_attribute_canonizers(canonizers))
    if not found:
        return
    changed = eval_twin(original(model))
    names = [name for canonizer in found for name in _set(changed, canonizer)]
    if not names:
        return
    expected = _computed(eval_twin(original(model)), x)
    try:
        values = _computed(changed, x)
    except Exception as error:  # the user's code may fail in any way
        rule = "must set attributes with which the model runs"
        raise InvalidInput("canonizers", rule, f"{', '.join(names)}: {type(error).__name__}: {error}") from error
    if not all(_same(a, b) for a, b in zip(values, expected, strict=True)):
        rule = "must leave what the model computes, and its gradient, as it is"
        raise InvalidInput("canonizers", rule, f"attributes that change it ({', '.join(names)})", _REMEDY)


def _attribute_canonizers(canonizers: Sequence[Canonizer]) -> Iterator[AttributeCanonizer]:
    for canonizer in canonizers:
        if isinstance(canonizer, CompositeCanonizer):
            yield from _attribute_canonizers(canonizer.canonizers)
        elif isinstance(canonizer, AttributeCanonizer):
            yield canonizer


def _set(model: nn.Module, canonizer: AttributeCanonizer) -> list[str]:
    """Sets what a canonizer says on a copy; which attributes these are."""
    names = []
    for path, module in list(model.named_modules()):
        attributes = canonizer.attribute_map(path, module)
        if attributes is None:
            continue
        if not isinstance(attributes, dict):
            raise WrongType("attribute_map", "must return None or a dict", type(attributes).__name__)
        for name, value in attributes.items():
            setattr(module, name, value)
        if attributes:
            names.append(f"{', '.join(attributes)} of {path!r}")
    return names


def _computed(model: nn.Module, x: Any) -> tuple[torch.Tensor, ...]:
    """Output, and a gradient by each input (zeros where there is none)."""
    with torch.inference_mode(False), torch.enable_grad():
        inputs = [i.detach().clone().requires_grad_() for i in as_tuple(x, "input")]
        # Modules may write into their input.
        output = model(*(i * 1 for i in inputs))
        signal = torch.linspace(-1, 2, output.numel(), dtype=output.dtype, device=output.device).view_as(output)
        return output.detach(), *torch.autograd.grad((output * signal).sum(), inputs, materialize_grads=True)


def _same(value: torch.Tensor, expected: torch.Tensor) -> bool:
    if value.shape != expected.shape:
        return False
    scale = expected.abs().max() if expected.numel() else 0
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 * float(scale)
    return torch.allclose(value, expected, rtol=0, atol=tolerance, equal_nan=True)
