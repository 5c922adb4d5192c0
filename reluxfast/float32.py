"""PyTorch's switches for TF32: IEEE float32 for a while, and flags that agree with each other.

PyTorch has an older and a newer set of these switches, per process. Where they contradict each other, reading the older
one raises, and torch.export reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


def _switches() -> tuple:
    return torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul


@dataclass(frozen=True)
class _Flags:
    older: tuple[bool | None, bool | None]  # None: it contradicts the newer one
    newer: tuple[str, ...]

    @classmethod
    def now(cls) -> _Flags:
        return cls(
            (_read(torch.backends.cudnn), _read(torch.backends.cuda.matmul)),
            tuple(switch.fp32_precision for switch in _switches()),
        )

    def put_back(self) -> None:
        # A contradiction comes from setting the newer switch alone: the older one then has its default.
        _set_older(*(d if o is None else o for o, d in zip(self.older, (True, False), strict=True)))
        for switch, value in zip(_switches(), self.newer, strict=True):
            switch.fp32_precision = value


def _read(backend: object) -> bool | None:
    try:
        return backend.allow_tf32
    except RuntimeError:
        return None


def _set_older(convolutions: bool, products: bool) -> None:
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products


@contextmanager
def ieee_float32() -> Iterator[None]:
    """No TF32 in convolutions, recurrent layers and matrix products, in all threads; flags are put back."""
    before = _Flags.now()
    try:
        _set_older(False, False)
        for switch in _switches():
            switch.fp32_precision = "ieee"
        yield
    finally:
        before.put_back()


@contextmanager
def flags_that_agree() -> Iterator[None]:
    """The older switches say what the newer ones do, so that reading them is no error; flags are put back.

    There is one older switch for convolutions and recurrent layers: it follows the convolutions.
    """
    before = _Flags.now()
    if None not in before.older:
        yield
        return
    try:
        convolutions, _, products = before.newer
        _set_older(convolutions == "tf32", products == "tf32")
        yield
    finally:
        before.put_back()
