"""How every op is registered: schema, reference as the default implementation, fake, and a backward that refuses."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from reluxfast.checkout import serve_checkout
from reluxfast.errors import BackendUnavailable
from reluxfast.ops import native, triton_state
from reluxfast.ops.layout import is_dense

NAMESPACE = "reluxfast"
serve_checkout()
# Each op's checks and allocation, for implementations written in Python.
FAKES: dict[str, Callable] = {}
WITHOUT_KERNEL = "Use backend 'auto' or 'reference'"
# Ops that have no Triton kernel.
WITHOUT_TRITON: set[str] = set()
# Ops for which the dispatcher has Triton's kernel on CUDA.
ON_TRITON: set[str] = set()
# Of ops whose Triton kernel does not take every call: why it does not take this one, None if it does.
_LIMITS: dict[str, Callable[..., str | None]] = {}


def _refuse_gradients(name: str, arguments: tuple[Any, ...]) -> None:
    if torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in arguments):
        raise RuntimeError(_refusal(name))


def _refusal(name: str) -> str:
    return (
        f"{NAMESPACE}::{name} has no derivative: it is part of an attribution walk. "
        "Call it under torch.no_grad() or on detached tensors"
    )


def _refuse_on_backward(name: str) -> None:
    def setup_context(ctx, inputs, output) -> None:
        pass

    def backward(ctx, *gradients):
        raise RuntimeError(_refusal(name))

    torch.library.register_autograd(f"{NAMESPACE}::{name}", backward, setup_context=setup_context)


def _refuse_on_call(name: str) -> None:
    # register_autograd takes functional ops only, so an in-place op gets its autograd kernel by hand.
    op = getattr(getattr(torch.ops, NAMESPACE), name).default

    def autograd(*args):
        _refuse_gradients(name, args)
        with torch._C._AutoDispatchBelowAutograd():
            return op(*args)

    torch.library.impl(f"{NAMESPACE}::{name}", "Autograd", autograd)


@cache
def _triton_binding() -> ModuleType:
    # Imports triton, which nothing before the first call needs.
    return importlib.import_module("reluxfast.ops.triton_binding")


def beyond_triton(name: str, arguments: tuple[Any, ...]) -> str | None:
    """Why Triton's kernel does not take a call, None if it does."""
    return _LIMITS[name](*arguments) if name in _LIMITS else None


def triton_implementation(name: str) -> Callable:
    """The op's Triton implementation, to be called without the dispatcher; it refuses a call that it does not take."""

    def call(*args):
        reason = beyond_triton(name, args)
        if reason is not None:
            raise BackendUnavailable("triton", reason, WITHOUT_KERNEL)
        _refuse_gradients(name, args)
        return getattr(_triton_binding(), name)(*args)

    return call


@cache
def _say_once(name: str, reason: str) -> None:
    warnings.warn(
        f"reluxfast computes {name} with its slower pure-torch reference: {reason}", UserWarning, stacklevel=4
    )


def triton_or_reference(name: str, reference: Callable) -> Callable:
    """The op's implementation for the dispatcher: Triton's, and the reference for what that does not take."""

    def call(*args):
        reason = beyond_triton(name, args)
        if reason is None:
            return getattr(_triton_binding(), name)(*args)
        _say_once(name, reason)
        return reference(*args)

    return call


def _register_triton(name: str, reference: Callable) -> None:
    if name in WITHOUT_TRITON:
        return
    qualified = f"{NAMESPACE}::{name}"
    # A second registration would silently replace the library's own CUDA kernel.
    compiled = native.MISSING_REASON is None and torch._C._dispatch_has_kernel_for_dispatch_key(qualified, "CUDA")
    if triton_state.MISSING_REASON is None and not compiled:
        torch.library.impl(qualified, "CUDA", triton_or_reference(name, reference))
        ON_TRITON.add(name)


def register(
    name: str,
    schema: str,
    reference: Callable,
    fake: Callable,
    mutates: bool = False,
    triton_limit: Callable[..., str | None] | None = None,
    triton: bool = True,
) -> None:
    """Register one op.

    Args:
        name: its name in torch.ops.reluxfast.
        schema: arguments and results in the schema language.
        reference: the pure-torch definition, which also answers where no compiled kernel does.
        fake: shapes, dtypes and strides of the results for tensors without data.
        mutates: whether the op writes into an argument.
        triton_limit: (the op's arguments, checked or not) -> why the Triton kernel does not take them, None if it does;
            the reference answers then. A kernel without a limit takes every call.
        triton: whether there is a Triton kernel.
    """
    qualified = f"{NAMESPACE}::{name}"
    torch.library.define(qualified, schema)
    torch.library.impl(qualified, "default", reference)
    torch.library.register_fake(qualified)(fake)
    FAKES[name] = fake
    if triton_limit is not None:
        _LIMITS[name] = triton_limit
    if not triton:
        WITHOUT_TRITON.add(name)
    _register_triton(name, reference)
    if mutates:
        _refuse_on_call(name)
    else:
        _refuse_on_backward(name)


def check_dtype(name: str, x: Tensor) -> None:
    """Refuse a dtype that no op computes in."""
    torch._check(
        x.dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16),
        lambda: f"{name} must be float32, float64, float16 or bfloat16, got {x.dtype}; convert it with .float()",
    )


def check_like(name: str, value: Tensor, like_name: str, like: Tensor) -> None:
    """Refuse a tensor whose shape, dtype or device differs from another's."""
    torch._check(
        value.shape == like.shape,
        lambda: f"{name} must have the shape of {like_name}, {tuple(like.shape)}, got {tuple(value.shape)}",
    )
    torch._check(
        value.dtype == like.dtype,
        lambda: f"{name} must have the dtype of {like_name}, {like.dtype}, got {value.dtype}",
    )
    torch._check(
        value.device == like.device,
        lambda: f"{name} must be on the device of {like_name}, {like.device}, got {value.device}",
    )


def check_bias(name: str, bias: Tensor | None, like_name: str, like: Tensor) -> None:
    """Refuse a bias, if there is one, that does not have one value for each channel of another tensor."""
    if bias is None:
        return
    torch._check(
        like.dim() >= 2 and bias.dim() == 1 and bias.shape[0] == like.shape[1],
        lambda: (
            f"{name} must have shape (C,) for {like_name} of shape (N, C, ...), got {tuple(bias.shape)} "
            f"for {like_name} of shape {tuple(like.shape)}"
        ),
    )
    torch._check(
        bias.dtype == like.dtype and bias.device == like.device,
        lambda: (
            f"{name} must have {like_name}'s dtype and device, {like.dtype} on {like.device}, "
            f"got {bias.dtype} on {bias.device}"
        ),
    )


def check_dense(name: str, x: Tensor, op: str) -> None:
    """Refuse to change a tensor in place that is dense in neither order; `op` is the name of the op that would not."""
    torch._check(
        is_dense(x),
        lambda: (
            f"{name} must be dense (contiguous or channels-last) to be changed in place, got shape {tuple(x.shape)} "
            f"with strides {tuple(x.stride())}; call {op} instead, or {name}.contiguous() first"
        ),
    )


def check_packed(name: str, packed: Tensor, device: torch.device, need: int) -> None:
    """Refuse packed bytes of the wrong dtype, layout, device or length."""
    torch._check(
        packed.dtype == torch.uint8 and packed.dim() == 1 and packed.is_contiguous(),
        lambda: f"{name} must be a contiguous 1-D uint8 tensor, got {packed.dtype} with shape {tuple(packed.shape)}",
    )
    torch._check(packed.device == device, lambda: f"{name} must be on the device of g, {device}, got {packed.device}")
    torch._check(
        packed.shape[0] == need,
        lambda: f"{name} must hold {need} bytes for the given period, got {packed.shape[0]}",
    )
