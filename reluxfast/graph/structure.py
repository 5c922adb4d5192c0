"""What a capture depends on besides the values of parameters: enough to notice that it is out of date."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

# Bookkeeping that every module has; what matters of it is looked at by name below.
_BOOKKEEPING = frozenset(vars(nn.Module()))
_PLAIN = frozenset((int, float, str, bool, bytes, type(None), torch.dtype, torch.device, torch.Size))
# Deeper containers than this are compared by identity.
_DEPTH = 3
# Larger numpy arrays are compared by identity.
_COMPARED_BYTES = 1 << 16
# Elements of a plain tensor that are compared.
_SAMPLES = 256


def structure(model: nn.Module, within: frozenset[int] = frozenset()) -> tuple:
    """Module types, attributes (nested containers, functions and plain tensors included), hooks, and which places share
    one parameter. Equal structures mean that the capture still holds; objects of other kinds count by identity.

    Args:
        model: what is looked at.
        within: identities of modules that it is being looked at in.
    """
    places: list[tuple[int, str, nn.Module]] = []
    _collect(model, "", 0, places)
    within = within | {id(module) for *_, module in places}
    first: dict[int, int] = {}  # tensor -> number of its first place
    found: list[Any] = []
    for depth, name, module in places:
        state = module.__dict__
        found += (depth, name, type(module))
        for key, value in state.items():
            if key not in _BOOKKEEPING:
                found.append((key, value if type(value) in _PLAIN else _trace(value, _DEPTH, within)))
        for hooks in (state["_forward_hooks"], state["_forward_pre_hooks"]):
            if hooks:
                found.append(tuple(map(id, hooks.values())))
        for tensors in (state["_parameters"], state["_buffers"]):
            for key, tensor in tensors.items():
                found.append((key, None if tensor is None else first.setdefault(id(tensor), len(first))))
    return tuple(found)


def _collect(module: nn.Module, name: str, depth: int, places: list[tuple[int, str, nn.Module]]) -> None:
    """Every place of a module in the model, parents first: how deep, under which name, which module."""
    places.append((depth, name, module))
    for its_name, child in module._modules.items():
        if child is not None:
            _collect(child, its_name, depth + 1, places)


def _sample(tensor: torch.Tensor) -> bytes:
    """Spread elements: changes through `.data` leave no other trace."""
    if tensor.layout != torch.strided or tensor.device.type == "meta":
        return b""
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // _SAMPLES)].cpu().contiguous().view(torch.uint8).numpy().tobytes()


def _trace(value: Any, depth: int, within: frozenset[int]) -> Any:
    if type(value) in _PLAIN:
        return value
    if depth and type(value) in (tuple, list) and _PLAIN.issuperset(map(type, value)):
        return type(value), tuple(value)
    if isinstance(value, torch.Tensor):
        return id(value), 0 if value.is_inference() else value._version, value.data_ptr(), _sample(value)
    if isinstance(value, nn.Module) and id(value) in within:
        return id(value)  # the model, or a module that is looked at anyway
    if isinstance(value, nn.Module):
        # Not registered with the model, so nothing else looks at its parameters.
        return (
            id(value),
            structure(value, within),
            tuple(_trace(t, 0, within) for t in value.state_dict(keep_vars=True).values()),
        )
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return type(value), tuple(_trace(v, depth - 1, within) for v in value)
    if depth and isinstance(value, dict):
        return tuple((_trace(k, 0, within), _trace(v, depth - 1, within)) for k, v in value.items())
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes() if value.nbytes <= _COMPARED_BYTES else id(value)
    inner = getattr(value, "__dict__", None)
    if depth and isinstance(inner, dict) and not isinstance(value, (type, FunctionType, ModuleType, nn.Module)):
        return type(value), tuple((k, _trace(v, depth - 1, within)) for k, v in inner.items())
    return type(value), id(value)
