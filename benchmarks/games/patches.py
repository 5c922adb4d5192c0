"""Shapley values of the patches of an image beside bare forward passes on as many images: masking should cost nothing.

Who takes the engine's orders is held against a float64 walk along these. Captum and shap draw orders of their own:
their values must sum to what the network says, and lie within some standard errors of that walk. On the small copy
there are enough orders for this to tell players apart.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor, nn

import reluxfast as rx
from reluxfast.benchmarks.case import Case, Conditions
from reluxfast.benchmarks.games import draws
from reluxfast.benchmarks.maps.networks import NETWORKS, Network, build_model
from reluxfast.benchmarks.maps.weights import images
from reluxfast.benchmarks.problem import Axes, Problem, Provider, Verdict, compared_on

OWN, GIVEN = "shapley", "shapley of the engine's orders"
PER_SIDE = 7
# Relative L2 distance from the walk along the same orders.
GATE = 1e-4
# RMS distance from that walk in standard errors of independent orders on both sides: 1 is expected.
OWN_GATE = 4.0
# What values sum to, relative to the output's difference.
SUM_GATE = 1e-3
_SMALL_ORDERS = 32
_REFERENCE_BATCH = 8


@dataclass(eq=False)
class PatchProblem(Problem):
    """One image, its patches, and how many orders they are explained with; what is absent is 0.

    Attributes:
        network: what the model was built from.
        model: in eval mode.
        x: (1, C, S, S).
        target: the class that is explained.
        axes: "orders", "size".
        tiny, functional, seed: see `Conditions`.
    """

    network: Network
    model: nn.Module
    x: Tensor
    target: int
    axes: Axes
    tiny: bool = False
    functional: bool = False
    seed: int = 0
    unit: str = "evaluations"
    copied_bytes: int = field(default=0, init=False, repr=False)

    @property
    def orders(self) -> int:
        """How many, an even number."""
        return self.axes["orders"]

    @property
    def players(self) -> rx.Patches:
        """At most 7 x 7 patches."""
        return rx.patches(-(-self.x.shape[-1] // PER_SIDE))

    @cached_property
    def labels(self) -> Tensor:
        """(1, 1, S, S) number of the patch of each pixel."""
        return self.players.of(self.x)

    @cached_property
    def count(self) -> int:
        """Number of patches n."""
        return int(self.labels.max()) + 1

    @cached_property
    def drawn(self) -> Tensor:
        """(P, n) orders that the engine walks."""
        return draws.of_engine(1, self.orders, self.count, 1, self.seed, self.device).orders[0]

    @property
    def amount(self) -> int:
        """Images through the network: inner coalitions of every order, x and the baseline."""
        return self.orders * (self.count - 1) + 2

    @cached_property
    def channels_last(self) -> tuple[nn.Module, Tensor]:
        """A frozen copy of the model and the image, both in channels-last order, for all who only read them."""
        model = copy.deepcopy(self.model).to(memory_format=torch.channels_last).requires_grad_(False)
        return self.counted(model, self.x.clone(memory_format=torch.channels_last))

    def providers(self) -> Mapping[str, Provider]:
        """See `games.providers.patches`."""
        from reluxfast.benchmarks.games.providers.patches import PROVIDERS

        return compared_on(self.device, PROVIDERS)

    def small_copy(self) -> PatchProblem | None:
        """The network in small, with more orders."""
        if self.tiny:
            return None
        conditions = Conditions(self.device, tiny=True, seed=self.seed, functional=self.functional)
        return make({**self.axes, "orders": _SMALL_ORDERS}, conditions, network=self.network)

    @cached_property
    def marginals(self) -> Tensor:
        """(P, n) float64: what each patch changes the output by along the engine's orders."""
        return walked(copy.deepcopy(self.model).double(), self.x.double(), self.labels, self.drawn, self.target)

    def judge(self, values: Tensor, computes: str) -> Verdict:
        """Distance from the walk along the engine's orders; see the head of this file."""
        expected = self.marginals.mean(0)
        own = computes == OWN
        gate, measure = (OWN_GATE, "standard errors") if own else (GATE, "relative L2")
        if misshapen := Verdict.misshapen(values, expected, gate, measure):
            return misshapen
        values = values.to(expected)
        distance = (values - expected).norm()
        if own:
            variance = self.marginals.var(0).sum() / self.orders
            error = (distance / (2 * variance).sqrt()).item()
        else:
            error = (distance / expected.norm()).item()
        missing = (values.sum() / expected.sum() - 1).abs().item()
        reason = None
        if not error <= gate:
            reason = f"{error:.2g} ({measure}) from the engine's orders walked in float64, above {gate:g}"
        elif not missing <= SUM_GATE:
            reason = f"values sum to {values.sum():.4g} where the output differs by {expected.sum():.4g}"
        return Verdict(error if math.isfinite(error) else math.inf, gate, measure, reason=reason)


@torch.no_grad()
def walked(model: nn.Module, x: Tensor, labels: Tensor, orders: Tensor, target: int) -> Tensor:
    """Marginals (P, n) along orders (P, n): patches of x (1, C, S, S) appear on an image of zeros one by one."""
    v = []
    for batch in _batched(_appearing(x, labels, orders)):
        v.append(model(batch)[:, target])
    steps = torch.cat(v).view(len(orders), -1).diff(dim=1)
    return torch.empty_like(steps).scatter_(1, orders, steps)


def _appearing(x: Tensor, labels: Tensor, orders: Tensor) -> Iterator[Tensor]:
    for order in orders.tolist():
        z = torch.zeros_like(x)
        yield z
        for player in order:
            z = torch.where(labels == player, x, z)
            yield z


def _batched(given: Iterator[Tensor]) -> Iterator[Tensor]:
    held: list[Tensor] = []
    for image in given:
        held.append(image)
        if len(held) == _REFERENCE_BATCH:
            yield torch.cat(held)
            held = []
    if held:
        yield torch.cat(held)


def make(axes: Axes, conditions: Conditions, *, network: Network) -> PatchProblem:
    """Weights and an image drawn from the seed, the same for every device; the target is the highest logit.

    Args:
        axes: "orders", "size".
        conditions: see `Conditions`.
        network: one of `maps.networks.NETWORKS`.
    """
    if conditions.tiny:
        axes = {**axes, "size": network.tiny_size}
    how = {"tiny": conditions.tiny, "functional": conditions.functional, "seed": conditions.seed}
    model = build_model(network, axes["size"], **how).to(conditions.device).requires_grad_(False)
    x = images(1, network.channels, axes["size"], conditions.seed).to(conditions.device)
    with torch.no_grad():
        target = int(model(x).argmax())
    return PatchProblem(network, model, x, target, axes, **how)


def _case(name: str, orders: int) -> Case:
    network = NETWORKS[name]
    about = f"Shapley values of the patches of an image, {name}, beside as many forward passes"
    axes = {"orders": orders, "size": network.size}
    how = partial(make, network=network), partial(_check, network=network)
    return Case(f"{name}/patches", "games", about, axes, *how)


def _check(axes: Axes, network: Network) -> None:
    draws.checked(axes["orders"])
    network.check_size(axes["size"])


CASES: dict[str, Case] = {case.name: case for case in (_case("resnet18", 2), _case("digits", 50))}
