"""Links from a model's output to what is explained."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from reluxfast.compat.shap.errors import WrongType

Link = Callable[[Any], Any]
# How near to 0 and 1 KernelExplainer lets probabilities come.
_LEAST = 1e-15
_STEP = 1e-6


def identity(x: Any) -> Any:
    """Outputs as they are."""
    return x


def logit(p: Any) -> Any:
    """Log-odds of probabilities."""
    return np.log(p / (1 - p))


def is_identity(link: Link) -> bool:
    """Whether it is the identity, ours or shap's."""
    return link is identity or link is getattr(sys.modules.get("shap.links"), "identity", identity)


def kernel_link(link: Any) -> Link:
    """The function that KernelExplainer's `link` names: "identity", "logit" (of probabilities that are kept off 0 and
    1) or an object with a method `f`.

    Raises:
        WrongType: it is none of them.
    """
    if link == "logit" or type(link).__name__ == "LogitLink":
        return lambda p: logit(np.clip(p, _LEAST, 1 - _LEAST))
    if link == "identity" or type(link).__name__ == "IdentityLink":
        return identity
    if callable(getattr(link, "f", None)):
        return link.f
    raise WrongType("link", "must be 'identity', 'logit' or an object with a method f", repr(link))


def linearizing_weights(outputs: np.ndarray, link: Link) -> np.ndarray:
    """Weights of mean 1 of outputs (B, ...) for which mean(weights * link(outputs)) = link(mean(outputs)).

    A row weighs as much as the link is less steep on the way from the mean to it than at the mean.
    """
    mean = outputs.mean(0)
    rise, run = link(outputs) - link(mean), outputs - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        at_mean = 2 * _STEP / (link(mean + _STEP) - link(mean - _STEP))
        weights = np.where(rise == 0, at_mean, run / rise)
    return weights / weights.mean(0)
