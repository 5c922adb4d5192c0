"""Images as they are given, and the captured model for them, with errors of the types that pytorch-grad-cam raises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reluxfast.captured import Captured, captured
from reluxfast.compat.grad_cam.errors import NotCaptured, NoTensor, NotOneTensor, WrongDtype
from reluxfast.errors import InvalidInput, UnsupportedNode
from reluxfast.methods.inputs import as_tuple

_KINDS = {4: "image (N, C, H, W)", 5: "volume (N, C, D, H, W)"}


def as_images(x: Any, name: str, dims: tuple[int, ...], device: torch.device | None) -> Tensor:
    """`x`, detached, on a device.

    Args:
        x: what was given.
        name: what it is called, for messages.
        dims: numbers of dimensions that it may have.
        device: where the model is; None: anywhere.

    Raises:
        InvalidInput: it is no batch of images. `NoTensor` (also an AttributeError) for other types, `WrongDtype` (also
            a RuntimeError) for other than floating-point numbers.
    """
    if not isinstance(x, Tensor):
        raise NoTensor(name, "must be a Tensor", type(x).__name__)
    if x.dim() not in dims or not len(x):
        rule = f"must hold at least one {' or '.join(_KINDS[d] for d in dims)}"
        raise InvalidInput(name, rule, tuple(x.shape), "For series use reluxfast.grad_cam" if x.dim() == 3 else "")
    if not x.dtype.is_floating_point:
        remedy = f"Convert it as the model was trained, for instance {name}.float() / 255"
        raise WrongDtype(name, "must be floating-point to be explained", x.dtype, remedy)
    as_tuple(x, name)
    with torch.inference_mode(False):
        x = x.clone() if x.is_inference() else x.detach()
        return x.to(device or x.device)


def known_for(model: nn.Module, x: Tensor) -> Captured:
    """The capture of a model for images like x.

    Raises:
        NotCaptured: it cannot be captured for them; also a RuntimeError, as PyTorch's where it does not take them.
        NotOneTensor: it returns something else than one Tensor; also an AttributeError.
    """
    try:
        return captured(model, (x,))
    except UnsupportedNode as e:
        kind = NotOneTensor if e.op == "output" else NotCaptured
        raise kind(e.op, e.reason, e.module_path, e.source, e.method, e.remedy) from None
