"""What tracing would follow without seeing what it does to gradients: met inside a model, it is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


class Untraceable(Exception):
    """Attributes:
    op: what was met.
    reason: what is wrong with it.
    remedy: what to do.
    """

    def __init__(self, op: str, reason: str, remedy: str):
        super().__init__(f"{op}: {reason}")
        self.op, self.reason, self.remedy = op, reason, remedy


@contextmanager
def untraceable_refused() -> Iterator[None]:
    """Makes what a graph cannot show raise `Untraceable`, in this thread.

    These are `torch.autograd.Function`s from outside torch (their backward is lost), blocks of `torch.inference_mode`
    (their results have no gradient) and forward passes that differentiate.
    """
    with ExitStack() as patches:
        patches.enter_context(_watched(torch.autograd.Function, "apply", _function))
        patches.enter_context(_watched(torch.inference_mode, "__enter__", _inference_mode))
        # The one door of torch.autograd.grad and Tensor.backward, looked up at every call.
        patches.enter_context(_watched(torch.autograd, "_engine_run_backward", _differentiation))
        yield


def _function(cls: type, *args: Any) -> None:
    if not cls.__module__.startswith("torch."):
        raise Untraceable(
            f"{cls.__module__}.{cls.__qualname__}",
            "a torch.autograd.Function defines a derivative of its own, which a captured graph cannot see",
            "Write it in plain operations; for a straight-through estimate, x + (y - x).detach()",
        )


def _inference_mode(mode: torch.inference_mode, *args: Any) -> None:
    if mode.mode:
        raise Untraceable(
            "torch.inference_mode",
            "a block without gradients hides how the output depends on the input",
            "Take the block out of the forward pass; for values that are to have no gradient, use .detach()",
        )


def _differentiation(*args: Any) -> None:
    raise Untraceable(
        "torch.autograd",
        "the forward pass computes gradients itself, which a captured graph cannot differentiate again",
        "Write the derivative out in plain operations",
    )


@contextmanager
def _watched(owner: Any, name: str, check: Callable) -> Iterator[None]:
    """Calls `check` with the arguments before `owner.name`, in this thread only."""
    if name not in vars(owner):  # another version of torch
        yield
        return
    thread, original = threading.get_ident(), vars(owner)[name]
    bound = isinstance(original, classmethod)
    inner = original.__func__ if bound else original

    def watched(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread:
            check(*args)
        return inner(*args, **kwargs)

    setattr(owner, name, classmethod(watched) if bound else watched)
    try:
        yield
    finally:
        setattr(owner, name, original)
