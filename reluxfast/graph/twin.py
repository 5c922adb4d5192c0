"""A structural twin of the user's model: the same parameters, modules of its own, everything in eval mode.

Exporting swaps fake tensors into the modules it traces, so the model itself is never handed to it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from reluxfast.errors import InvalidInput, UnsupportedNode


def unwrap(model: nn.Module) -> nn.Module:
    """The module behind `torch.compile`, `DataParallel` and the like; refuses what has no Python modules to look at."""
    if not isinstance(model, nn.Module):
        raise InvalidInput("model", "must be a torch.nn.Module", type(model).__name__, "Wrap a function in a Module")
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedNode(
            "torch.jit.ScriptModule",
            "TorchScript hides the operations that have to be explained",
            remedy="Pass the original nn.Module or a torch.export program",
        )
    if isinstance(getattr(model, "_orig_mod", None), nn.Module):
        return unwrap(model._orig_mod)
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return unwrap(model.module)
    return model


def eval_twin(model: nn.Module) -> nn.Module:
    """Copy of `model` that shares its parameters and buffers, with all training flags off. The model is only read."""
    memo = {id(tensor): tensor for tensor in _registered(model)}
    # Other tensors are copied: a forward pass that writes into one must not reach the user's.
    memo.update((id(tensor), tensor.detach().clone()) for tensor in _attributes(model) if id(tensor) not in memo)
    try:
        twin = copy.deepcopy(model, memo)
    except Exception as error:
        raise UnsupportedNode(
            type(model).__name__,
            f"the module cannot be copied ({type(error).__name__}: {error})",
            remedy="Make its attributes copyable (copy.deepcopy must work)",
        ) from error
    own = {id(module) for module in model.modules()}
    for module in twin.modules():
        if id(module) in own:
            raise UnsupportedNode(
                type(module).__name__,
                "copying the module gives the module itself, so capture would switch its mode",
                remedy="Let copy.deepcopy make a copy of it",
            )
    for module in twin.modules():
        module.training = False
    return twin


def run_eagerly(
    twin: nn.Module, inputs: Sequence[torch.Tensor], weights: dict[str, torch.Tensor] | None = None
) -> torch.Tensor:
    """Output of a twin that runs as its author wrote it.

    Args:
        twin: see `eval_twin`.
        inputs: its arguments.
        weights: path -> tensor to use instead of the parameters and buffers it shares with the model.

    Raises:
        UnsupportedNode: it fails, or something outside the model keeps what it met while it was traced.
    """
    # Python code outside torch may fail in any way.
    try:
        output = torch.func.functional_call(twin, weights or {}, tuple(inputs))
    except Exception as error:
        if not _is_traced(error):
            raise UnsupportedNode(
                type(twin).__name__,
                f"the model itself fails on made-up rows ({type(error).__name__}: {str(error).splitlines()[0]})",
                remedy="Check that it takes inputs of this shape and dtype",
            ) from error
        output = None
    if output is None or isinstance(output, FakeTensor):
        raise UnsupportedNode(
            type(twin).__name__,
            "the forward pass keeps values outside the model (functools.lru_cache, a global, a class attribute), "
            "and what it kept while it was traced holds no data",
            remedy="Clear that cache, call the model once on its own, then explain it; better, keep such values in "
            "buffers",
        )
    return output


def _is_traced(error: Exception) -> bool:
    return "FakeTensor" in str(error) or "fake mode" in str(error).lower()


def _registered(model: nn.Module) -> Iterator[torch.Tensor]:
    for module in model.modules():
        yield from (p for p in module._parameters.values() if p is not None)
        yield from (b for b in module._buffers.values() if b is not None)


def _attributes(model: nn.Module) -> Iterator[torch.Tensor]:
    for module in model.modules():
        yield from _inside([v for k, v in vars(module).items() if k not in ("_parameters", "_buffers", "_modules")], 4)


def _inside(value: Any, depth: int) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _inside(item, depth - 1)
