"""Peers without the warnings that they give at every call."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_peers() -> Iterator[None]:
    """Without Captum's words about hooks and gradient flags, and about steps that are taken one by one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting backward hooks")
        warnings.filterwarnings("ignore", message="Input Tensor .* did not already require gradients")
        yield
