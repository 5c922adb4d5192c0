"""Ours beside Captum's: the same call to both, and what must agree."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import assert_close

attr = pytest.importorskip("captum.attr", reason="captum is not installed: nothing is compared with it")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10, torch.float16: 2e-3}


def quietly(call: Any) -> Any:
    """A call of Captum's without what it warns of (flags that it sets, hooks)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def agree(ours: Any, theirs: Any, name: str = "values", tolerance: float | None = None) -> None:
    """Values, shapes, dtypes and containers are the same; ours are detached."""
    if isinstance(theirs, (tuple, list)):
        assert type(ours) is type(theirs) and len(ours) == len(theirs), f"{name}: {type(ours)}, {type(theirs)}"
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            agree(a, b, f"{name}[{i}]", tolerance)
        return
    assert ours.dtype == theirs.dtype, f"{name}: {ours.dtype}, expected {theirs.dtype}"
    assert not ours.requires_grad, f"{name} carries history"
    assert_close(ours, theirs, tolerance or TOLERANCE[ours.dtype], name)


def fresh(value: Any) -> Any:
    """A copy of arguments, so that flags that Captum sets stay with it."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, (tuple, list)):
        return type(value)(fresh(v) for v in value)
    return value


def both(ours: type, model: Any, *args: Any, construct: tuple[Any, ...] = (), same_seed: bool = False, **kwargs: Any):
    """Results of `attribute` of ours and of Captum's class of the same name on the same arguments."""
    results = []
    for kind in (ours, getattr(attr, ours.__name__)):
        if same_seed:
            torch.manual_seed(3)
        attributor = kind(model, *construct)
        results.append(
            quietly(lambda a=attributor: a.attribute(*fresh(args), **{k: fresh(v) for k, v in kwargs.items()}))
        )
    return results


def same_error(ours: type, model: Any, *args: Any, construct: tuple[Any, ...] = (), **kwargs: Any) -> BaseException:
    """Both refuse the arguments, ours with an error that is one of Captum's type; returns ours."""
    with pytest.raises(Exception) as theirs:
        quietly(lambda: getattr(attr, ours.__name__)(model, *construct).attribute(*fresh(args), **kwargs))
    with pytest.raises(theirs.type) as found:
        ours(model, *construct).attribute(*args, **kwargs)
    return found.value
