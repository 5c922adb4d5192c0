"""Permutation chains of multilayer perceptrons: what `mlp_chains` evaluates, and the same by masked inputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from reluxfast import ops
from reluxfast.benchmarks.precision import float32_as

# Name -> features, each a player of its own, and the layers' widths.
NETWORKS = {
    "30-128-64-1": (30, (128, 64, 1)),
    "30-128-64-10": (30, (128, 64, 10)),
    "100-256-128-1": (100, (256, 128, 1)),
    "784-256-128-10": (784, (256, 128, 10)),
}
_BACKGROUND = 32
# Elements of masked inputs in one batch.
_BATCH = 1 << 26


@dataclass(frozen=True)
class Chains:
    """Antithetic chains of one network, and what evaluates them.

    Attributes:
        x, background: (N, d), (B, d).
        cycle, permutations: (N, G), (N, G, d).
        weights, biases: of each layer.
    """

    x: Tensor
    background: Tensor
    cycle: Tensor
    permutations: Tensor
    weights: list[Tensor]
    biases: list[Tensor]

    @staticmethod
    def random(name: str, count: int, pairs: int, device: torch.device) -> Chains:
        """Normal numbers, weights of usual size, a permutation and a background row for each pair."""
        features, widths = NETWORKS[name]

        def values(*size: int) -> Tensor:
            return torch.randn(size, device=device)

        layers = list(zip(widths, (features, *widths), strict=False))
        return Chains(
            values(count, features),
            values(_BACKGROUND, features),
            torch.randint(_BACKGROUND, (count, pairs), device=device).int(),
            values(count, pairs, features).argsort(-1).int(),
            [values(*size) * (2 / size[1]) ** 0.5 for size in layers],
            [values(width) for width in widths],
        )

    def evaluations(self) -> int:
        """Inputs between background and x, of both chains of every pair; the ends are not counted."""
        return 2 * self.cycle.numel() * (self.x.shape[1] - 1)

    def flops(self) -> float:
        """Multiplications and additions that chains must do."""
        return 2.0 * self.evaluations() * (self.weights[0].shape[0] + sum(w.numel() for w in self.weights[1:]))

    def double(self) -> Chains:
        """The same in float64."""
        return Chains.of(t.double() if t.is_floating_point() else t for t in self.tensors())

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them in a row, to be changed and put together again by `of`."""
        return self.x, self.background, self.cycle, self.permutations, *self.weights, *self.biases

    @staticmethod
    def of(tensors: Iterable[Tensor]) -> Chains:
        """What `tensors` took apart."""
        x, background, cycle, permutations, *layers = tensors
        half = len(layers) // 2
        return Chains(x, background, cycle, permutations, layers[:half], layers[half:])

    def pairs(self, form: str, precision: str) -> Tensor:
        """The pairs (N, G, d, K) by a backend's operator or, if `form` is "masked", by masked inputs."""
        with float32_as(precision):
            if form == "masked":
                return self.masked()
            with ops.backend(form):
                return self.walked(precision == "tf32")

    def walked(self, allow_tf32: bool) -> Tensor:
        """The pairs by the operator."""
        return ops.mlp_chains(*self.arguments(), True, allow_tf32)[0]

    def arguments(self) -> tuple:
        """What the operator is given, but for its options."""
        features = self.x.shape[1]
        members, starts = (torch.arange(count, device=self.x.device).int() for count in (features, features + 1))
        return self.x, self.background, self.cycle, self.permutations, members, starts, self.weights, self.biases

    def masked(self) -> Tensor:
        """The same by masked inputs in large batches."""
        features = self.x.shape[1]
        x = self.x.repeat_interleave(self.cycle.shape[1], 0)
        b = self.background[self.cycle.flatten()]
        orders = self.permutations.flatten(0, 1).long()
        parts = (t.split(max(1, _BATCH // (2 * features * features))) for t in (x, b, orders))
        found = [self._masked(*part) for part in zip(*parts, strict=True)]
        return torch.cat(found).view(*self.permutations.shape, -1)

    def _masked(self, x: Tensor, b: Tensor, orders: Tensor) -> Tensor:
        length = torch.arange(1, x.shape[1], device=x.device)
        present = orders.argsort(-1)[:, None] < length[:, None]
        marginals = []
        for first, second in ((x, b), (b, x)):
            inner = self._network(torch.where(present, first[:, None], second[:, None]))
            ends = (self._network(end)[:, None] for end in (second, first))
            marginals.append(torch.cat([next(ends), inner, next(ends)], 1).diff(dim=1))
        mean = 0.5 * (marginals[0] - marginals[1])
        return torch.empty_like(mean).scatter_(1, orders[..., None].expand_as(mean), mean)

    def _network(self, z: Tensor) -> Tensor:
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = torch.nn.functional.linear(z.relu_() if layer else z, weight, bias)
        return z
