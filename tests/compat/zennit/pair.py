"""Zennit and ours side by side: the same names from both packages, and the networks of `tests.peers`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor, nn

import reluxfast.compat.zennit as ours
from tests import peers
from tests.support import assert_close

theirs = SimpleNamespace()
_modules = (peers.attribution, peers.canonizers, peers.composites, peers.layer, peers.types, peers.rules)
for _module in (*_modules, importlib.import_module("zennit.core")):
    vars(theirs).update({name: value for name, value in vars(_module).items() if not name.startswith("_")})

MODELS = ("vgg_bn", "resnet_bn", "resnet_in_place", "preactivation")
NAMED = (*peers.COMPOSITES, "beta_smooth")
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@cache
def networks(model: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, nn.Module]:
    """The model, and the same as Zennit needs it."""
    mine, other = peers.MODELS[model]
    return peers.built(mine).to(dtype), peers.built(other).to(dtype)


def named(package, name: str, x: Tensor, fold: bool = True, **arguments):
    """A composite of `COMPOSITES`, with bounds for x where it needs them."""
    box = {"low": torch.full_like(x[:1], -3.0), "high": torch.full_like(x[:1], 3.0)} if "box" in name else {}
    merge = [package.SequentialMergeBatchNorm()] if fold else []
    return package.COMPOSITES[name](**box, **arguments, canonizers=merge)


def signal(x: Tensor, classes: int = 4) -> Tensor:
    """Signed numbers (N, classes)."""
    generator = torch.Generator(x.device).manual_seed(3)
    return torch.randn(len(x), classes, generator=generator, dtype=torch.float64, device=x.device).to(x.dtype)


def judge(pair: tuple[nn.Module, nn.Module], make: Callable, x: Tensor, attr_output=None, **options) -> Tensor:
    """Fails unless the attributors that `make(package, model)` returns agree; their relevance."""
    mine, other = pair
    tolerance = TOLERANCE[x.dtype]
    with make(theirs, other) as attributor:
        output, relevance = attributor(x.clone(), attr_output)
    with make(ours, mine) as attributor:
        found_output, found = attributor(x, attr_output)
    assert found.dtype == relevance.dtype and found_output.dtype == output.dtype
    assert not found.requires_grad and not found_output.requires_grad
    assert_close(found_output, output.detach(), tolerance, "output")
    assert_close(found, relevance.detach(), tolerance, "relevance")
    return found
