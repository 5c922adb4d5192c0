"""Runs `torch.export` on a model's twin with a dynamic batch, and says plainly why it could not."""

from __future__ import annotations

import linecache
import logging
import os
import re
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from reluxfast.errors import ReluxfastError, UnsupportedNode
from reluxfast.float32 import flags_that_agree
from reluxfast.graph.untraceable import Untraceable, untraceable_refused

# Autograd forbids writing into one of several views and refuses inference tensors; the model itself is well defined.
_AUTOGRAD_ALONE = ("is being modified inplace", "Inference tensors cannot be saved")
_LOGGERS = ("torch.fx.experimental.symbolic_shapes", "torch._subclasses.fake_tensor")
_lock = threading.Lock()  # torch.export keeps process-wide tracing state
_torch_folder, _own_folder = os.path.dirname(torch.__file__), os.path.dirname(__file__)


def export_program(twin: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """Exports `twin` for inputs shaped like `inputs`, whose dimension 0 becomes dynamic.

    Args:
        twin: an eval-mode twin (see `twin.eval_twin`).
        inputs: tensors (N, ...), N of any size; only row shapes, dtypes and devices matter.

    Raises:
        UnsupportedNode: value-dependent control flow, a batch fixed or changed inside, anything export refuses.
    """
    batch = torch.export.Dim("batch", min=1)
    rows = tuple(_two_rows(x) for x in inputs)
    specs = tuple({0: batch} for _ in rows)
    shapes = (specs,) if _is_variadic(twin) else specs
    with _lock:
        try:
            return _exported(twin, rows, shapes, gradients=True)
        except ReluxfastError:
            raise
        except Exception as error:
            if not any(text in str(error) for text in _AUTOGRAD_ALONE):
                raise _refusal(error, twin, rows) from error
        try:
            return _exported(twin, rows, shapes, gradients=False)
        except Exception as error:
            raise _refusal(error, twin, rows) from error


def _exported(twin: nn.Module, rows: tuple, shapes: tuple, gradients: bool) -> torch.export.ExportedProgram:
    # Messages about what is then refused with an error of our own, or does not concern the caller's model.
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    # Modes the caller happens to be in must not end up in the graph.
    plain = [torch.autocast(kind, enabled=False) for kind in {x.device.type for x in rows}]
    with ExitStack() as modes:
        for mode in (torch.inference_mode(False), torch.set_grad_enabled(gradients), *plain):
            modes.enter_context(mode)
        modes.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        modes.enter_context(untraceable_refused())
        modes.enter_context(flags_that_agree())
        modes.enter_context(_without_dumps())
        for logger in loggers:
            modes.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        return torch.export.export(twin, rows, dynamic_shapes=shapes, strict=False)


@contextmanager
def _without_dumps() -> Iterator[None]:
    """torch.export prints all that it traced when it fails; errors here say what matters of it."""
    from torch.export import _trace  # with Dynamo and Triton, which only a capture needs

    _trace.print = lambda *args, **options: None
    try:
        yield
    finally:
        del _trace.print


def functionalised(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The same program without in-place operations, by PyTorch's own (slow) pass."""
    with _lock, warnings.catch_warnings(), flags_that_agree():
        warnings.simplefilter("ignore")
        try:
            return program.run_decompositions({})
        except Exception as error:
            raise UnsupportedNode(
                "in-place operation",
                f"a write into shared memory has no value form ({str(error).splitlines()[0]})",
                remedy="Write x = x + y instead of x += y there, or write into a .clone()",
            ) from error


def _two_rows(x: torch.Tensor) -> torch.Tensor:
    # A batch of one would be specialised; the values do not matter to tracing.
    return torch.zeros((2, *x.shape[1:]), dtype=x.dtype, device=x.device)


def _is_variadic(twin: nn.Module) -> bool:
    code = getattr(type(twin).forward, "__code__", None)
    return code is not None and code.co_argcount == 1 and bool(code.co_flags & 0x04)


def _refusal(error: Exception, twin: nn.Module, rows: tuple[torch.Tensor, ...]) -> UnsupportedNode:
    source, module_path = _users_frame(error, twin)
    for cause in _chain(error):
        if isinstance(cause, Untraceable):
            return UnsupportedNode(cause.op, cause.reason, module_path, source, remedy=cause.remedy)
    text = str(error)
    if "higher order operator" in text:
        return UnsupportedNode(
            "control flow",
            "a control-flow operator hides how the output depends on the input",
            module_path,
            source,
            remedy="Explain the branch that is taken as a model of its own, or use torch.where",
        )
    shapes = ", ".join(str(("N", *x.shape[1:])) for x in rows)
    kind = type(error).__name__
    if "DataDependent" in kind or "data-dependent" in text or "DynamicOutputShape" in kind:
        return UnsupportedNode(
            "control flow",
            "a branch, a Python number or an output shape depends on the values of a tensor",
            module_path,
            source,
            remedy="Explain the branch that is taken as a model of its own, or use torch.where",
        )
    if (
        "Constraints violated" in text
        or "ConstraintViolation" in kind
        or "specialized" in text
        or "Guard failed" in text
    ):
        return UnsupportedNode(
            "batch",
            "the batch size is fixed or changed inside the model, so rows cannot be explained one by one",
            module_path,
            source,
            remedy="Take the batch from x.shape[0]; flatten with x.flatten(1), not x.view(-1, K)",
        )
    if re.search(r"shape '.*' is invalid for input|Could not guard|unbacked|Cannot view|divisible", text):
        return UnsupportedNode(
            "view",
            f"a reshape does not fit inputs of shape {shapes} ({text.splitlines()[0]})",
            module_path,
            source,
            remedy="Flatten with x.flatten(1) and check the image size the model was built for",
        )
    first = text.strip().splitlines()[0] if text.strip() else kind
    return UnsupportedNode(
        "torch.export", f"the model cannot be captured for inputs of shape {shapes}: {first}", module_path, source
    )


def _users_frame(error: BaseException, twin: nn.Module) -> tuple[str, str]:
    """Source line of the innermost frame outside torch, and the path of the module it ran in."""
    paths = {id(module): name for name, module in twin.named_modules()}
    source, module_path = "", ""
    for cause in _chain(error):
        inside = False
        for frame, line in traceback.walk_tb(cause.__traceback__):
            owner = paths.get(id(frame.f_locals.get("self")))
            if owner is not None:
                module_path = owner
            name = frame.f_code.co_filename
            inside = inside or owner is not None
            if inside and not name.startswith((_torch_folder, _own_folder)):
                text = linecache.getline(name, line).strip()
                source = f"{name}:{line}: {text}" if text else f"{name}:{line}"
        if source:
            break
    return source, module_path


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, outermost first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
