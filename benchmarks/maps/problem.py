"""A network to be explained with one method: model, images and targets, and what its maps are held against."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from reluxfast.benchmarks.case import Case, Conditions, one_of
from reluxfast.benchmarks.maps import references
from reluxfast.benchmarks.maps.networks import NETWORKS, Network, build_model
from reluxfast.benchmarks.maps.steady import steadiest
from reluxfast.benchmarks.maps.weights import images, move_eps_into_variance_
from reluxfast.benchmarks.problem import Axes, Problem, Provider, Unavailable, Verdict, Work

LRP_COMPOSITES = references.LRP_COMPOSITES
METHODS = ("gradient", "guided_backprop", "deconvnet", *LRP_COMPOSITES, "grad_cam", "integrated_gradients")
# The stabiliser of all LRP rules.
EPSILON = 1e-6
STEPS = 8
# Images drawn for each that a small copy explains.
CANDIDATES = 4
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(eq=False)
class MapProblem(Problem):
    """Images of a network and the method that explains them.

    Attributes:
        network: what the model was built from; None for a model that was brought along, which has no small copy.
        method: one of `METHODS`.
        model: in eval mode, in the dtype of `axes`.
        x: images (N, C, S, S).
        target: one class per row, (N,).
        axes: "batch", "size", "dtype", where they matter "depth" and "steps".
        layer: path of the module whose map Grad-CAM reads.
        steps: points of the path of integrated gradients.
        functional: whether the network was written with `F.relu` instead of modules.
        merged_eps: whether eps of the batch norms is part of their variance, and 0 itself. It is for LRP: Zennit merges
            a batch norm with its eps and then divides by it once more, and what is compared is how the same numbers are
            computed.
        seed: of weights and images.
        tiny: a small copy.
    """

    network: Network | None
    method: str
    model: nn.Module
    x: Tensor
    target: Tensor
    axes: Axes
    layer: str
    steps: int = STEPS
    functional: bool = False
    merged_eps: bool = False
    seed: int = 0
    tiny: bool = False
    unit: str = "images"
    copied_bytes: int = field(default=0, init=False, repr=False)
    _references: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def amount(self) -> int:
        """Images explained by one call."""
        return len(self.x)

    def own_copy(self) -> tuple[nn.Module, Tensor]:
        """A copy of model and images for a peer that writes into what it explains."""
        return self.counted(copy.deepcopy(self.model), self.x.clone())

    def channels_last(self) -> tuple[nn.Module, Tensor]:
        """A frozen copy of the model and a copy of the images, both in channels-last order.

        Raises:
            Unavailable: these are no images.
        """
        if self.x.dim() != 4:
            raise Unavailable(f"channels_last is an order of images (N, C, H, W), and these are {tuple(self.x.shape)}")
        model = copy.deepcopy(self.model).to(memory_format=torch.channels_last).requires_grad_(False)
        return self.counted(model, self.x.clone(memory_format=torch.channels_last))

    def bounds(self) -> dict[str, Tensor]:
        """Lowest and highest value of each channel of the images, (C, 1, 1), for the box rule."""
        rest = list(range(2, self.x.dim()))
        low, high = (take([0, *rest]).reshape(-1, *(1 for _ in rest)) for take in (self.x.amin, self.x.amax))
        return {"low": low, "high": high}

    def providers(self) -> Mapping[str, Provider]:
        """See `maps.providers`."""
        from reluxfast.benchmarks.maps.providers import providers_for

        return providers_for(self)

    def judge(self, values: Tensor, computes: str) -> Verdict:
        """Relative L2 distance from the float64 reference, which is computed once for each `computes`."""
        if computes not in self._references:
            self._references[computes] = references.reference(self, computes)
        return references.verdict(values, self._references[computes], references.gate(self, computes))

    def small_copy(self) -> MapProblem | None:
        """Two rows of the same network in small, made in the same way on the same device.

        That of bfloat16 is in float32, which shows whether the right thing is computed: few channels average nothing.
        """
        if self.tiny or self.network is None:
            return None
        axes = {**self.axes, "batch": 2, **({"dtype": "float32"} if self.dtype == torch.bfloat16 else {})}
        del axes["size"]  # tiny mode has its own
        conditions = Conditions(self.device, tiny=True, seed=self.seed, functional=self.functional)
        return _small(self.network, self.method, tuple(axes.items()), conditions)

    def work(self) -> Work | None:
        """See `maps.floor`."""
        from reluxfast.benchmarks.maps.floor import work_of

        return work_of(self)


def make(axes: Axes, conditions: Conditions, *, network: Network, method: str) -> MapProblem:
    """Draw weights and images from the seed, the same for every device; the target of a row is its highest logit.

    In tiny mode at most two rows of the network's small copy; the problem's axes are those that it was made with.
    """
    axes = {**axes, **(_tiny_axes(axes, network, method) if conditions.tiny else {})}
    how = {"tiny": conditions.tiny, "functional": conditions.functional, "seed": conditions.seed}
    options = {"depth": axes["depth"]} if "depth" in axes else {}
    merged_eps = method in LRP_COMPOSITES
    model = copy.deepcopy(_drawn(network, axes["size"], merged_eps, tuple({**how, **options}.items())))
    steps = axes.get("steps", STEPS)
    if conditions.tiny:
        x = _steady_images(model, axes, network, conditions.seed, references.gradient_points(method, steps))
    else:
        x = images(axes["batch"], network.channels, axes["size"], conditions.seed)
    to = {"device": conditions.device, "dtype": DTYPES[axes["dtype"]]}
    model, x = model.to(**to), x.to(**to)
    with torch.no_grad():
        target = model(x).argmax(dim=1)
    return MapProblem(network, method, model, x, target, axes, network.layer, steps=steps, merged_eps=merged_eps, **how)


@lru_cache(maxsize=2)  # a network and its small copy
def _drawn(network: Network, size: int, merged_eps: bool, options: tuple[tuple[str, int], ...]) -> nn.Module:
    """Kept, as drawing and calibrating weights takes seconds: one point of a network follows another."""
    model = build_model(network, size, **dict(options))
    if merged_eps:
        move_eps_into_variance_(model)
    return model


def _steady_images(model: nn.Module, axes: Axes, network: Network, seed: int, points: Sequence[float]) -> Tensor:
    """(batch, C, size, size): the steadiest of some more."""
    batch = axes["batch"]
    if not points:
        return images(batch, network.channels, axes["size"], seed)
    x = images(CANDIDATES * batch, network.channels, axes["size"], seed)
    with torch.no_grad():
        target = model(x).argmax(dim=1)
    return x[steadiest(model, x, target, batch, points)]


@lru_cache(maxsize=32)
def _small(network: Network, method: str, axes: tuple[tuple[str, int | str], ...], how: Conditions) -> MapProblem:
    """Kept, as its reference takes seconds: the points of a sweep have the same small copy."""
    return make(dict(axes), how, network=network, method=method)


def _tiny_axes(axes: Axes, network: Network, method: str) -> dict[str, int]:
    size = network.tiny_size
    if method == "grad_cam":
        size *= 4  # the last map would be a single pixel, and a map scaled to 0..1 say nothing
    return {"batch": min(axes["batch"], 2), "size": size}


def _case(network: Network, method: str) -> Case:
    axes: dict[str, int | str] = {"batch": 4, "size": network.size, "dtype": "float32"}
    if network.name == "stack":
        axes["depth"] = 8
    if method == "integrated_gradients":
        axes["steps"] = STEPS
    about = f"{method} of {network.name}"
    how = partial(make, network=network, method=method), partial(_check, network=network)
    return Case(f"{network.name}/{method}", "maps", about, axes, *how)


def _check(axes: Axes, network: Network) -> None:
    one_of("dtype", DTYPES, axes["dtype"])
    network.check_size(axes["size"])


# The stack is there to be made deeper; one method shows what depth costs.
CASES: dict[str, Case] = {
    case.name: case
    for network in NETWORKS.values()
    for method in (("guided_backprop",) if network.name == "stack" else METHODS)
    for case in [_case(network, method)]
}
