"""The registry of constructs: small models, each built around one thing that a capture can get wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.kit import MODULES, Kit

Target = None | int | tuple[int, ...]


@dataclass(frozen=True)
class Construct:
    """One model of the zoo.

    Attributes:
        name: unique id.
        build: kit -> the model as a user writes it.
        shapes: shape of one row of each input.
        target: which output of a row is explained.
        kit: the spelling of the model that is explained.
        twin: kit -> the same function written without aliases or in-place operations, with the same parameters;
            None if `build` can serve (it uses activations by their return values only).
        training: the training flag the model is left with.
        seed: of the parameters.
        margin: smallest distance of a pre-activation to a kink, relative to the largest of its layer, that inputs
            are chosen for: 1e-4 is a hundred times the float32 error of a layer's scale, so no bit flips.
        notes: what can go wrong here.
    """

    name: str
    build: Callable[[Kit], nn.Module]
    shapes: tuple[tuple[int, ...], ...] = ((3, 8, 8),)
    target: Target = 1
    kit: Kit = MODULES
    twin: Callable[[Kit], nn.Module] | None = None
    training: bool = False
    seed: int = 0
    margin: float = 1e-4
    notes: str = ""
    tags: frozenset[str] = field(default_factory=frozenset)

    def model(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The model as a user writes it, in eval mode unless `training`."""
        return _settled(self.build, self.kit, self.seed, dtype).train(self.training)

    def oracle(self, kit: Kit, dtype: torch.dtype = torch.float64) -> nn.Module:
        """The same function built with the oracle's activations, in eval mode, same parameters."""
        return _settled(self.twin or self.build, kit, self.seed, dtype).eval()


CONSTRUCTS: dict[str, Construct] = {}


def add(name: str, build: Callable[[Kit], nn.Module], **fields: Any) -> Construct:
    """Registers a construct."""
    if name in CONSTRUCTS:
        raise ValueError(f"construct {name!r} is registered twice")
    if "shape" in fields:
        fields["shapes"] = (fields.pop("shape"),)
    if "tags" in fields:
        fields["tags"] = frozenset(fields["tags"].split())
    CONSTRUCTS[name] = Construct(name, build, **fields)
    return CONSTRUCTS[name]


def construct(**fields: Any) -> Callable[[type], type]:
    """Class decorator of `add`: the name is the class's in snake case, its docstring the notes."""

    def register(cls: type) -> type:
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        add(name, cls, notes=(cls.__doc__ or "").strip(), **fields)
        return cls

    return register


def with_head(body: nn.Module, *shapes: tuple[int, ...], classes: int = 4) -> nn.Sequential:
    """`body`, flatten, linear: the width is found by one evaluation."""
    with torch.no_grad():
        width = body.eval()(*(torch.zeros(2, *s) for s in shapes)).flatten(1).shape[1]
    return nn.Sequential(body, nn.Flatten(), nn.Linear(width, classes))


def settle(model: nn.Module, seed: int) -> nn.Module:
    """Fills parameters and BN statistics from a seed: He-scaled weights, non-zero biases, negative BN scales too."""
    generator = torch.Generator(torch.get_default_device()).manual_seed(1000 + seed)

    def normal(t: Tensor, std: float) -> Tensor:
        return torch.randn(t.shape, generator=generator) * std

    def uniform(t: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(t.shape, generator=generator) * (high - low) + low

    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() >= 2:
                fan_in = p[0].numel()
                p.copy_(normal(p, (2.0 / fan_in) ** 0.5))
            elif name.endswith("weight") and p.numel() > 1:
                signs = (torch.rand(p.shape, generator=generator) > 0.2).float() * 2 - 1
                p.copy_(uniform(p, 0.5, 1.5) * signs)
            elif name.endswith("weight"):
                p.copy_(uniform(p, 0.1, 0.4))
            else:
                p.copy_(normal(p, 0.3))
        for name, b in model.named_buffers():
            if name.endswith("running_mean"):
                b.copy_(normal(b, 0.3))
            elif name.endswith("running_var"):
                b.copy_(uniform(b, 0.5, 1.5))
    return model


def _settled(build: Callable[[Kit], nn.Module], kit: Kit, seed: int, dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return settle(build(kit), seed).to(dtype)
