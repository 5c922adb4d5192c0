"""How a GPU computes with float32 operands while peers are measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_as(precision: str) -> Iterator[None]:
    """ "ieee" or "tf32" for convolutions, recurrent layers and matrix products; settings are put back."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    try:
        convolutions.allow_tf32 = products.allow_tf32 = precision == "tf32"
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before
