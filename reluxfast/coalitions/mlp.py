"""Coalitions of multilayer perceptrons, which need no masked inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

from reluxfast import ops
from reluxfast.coalitions.cube import Cube, SummedCube, WrittenCube
from reluxfast.coalitions.first_map import FirstMap
from reluxfast.coalitions.game import Game
from reluxfast.coalitions.inert import inert
from reluxfast.ops.mlp_layers import MOST_WEIGHTS

# Bytes of marginals that one call returns.
_CALL_BYTES = 64 << 20


@dataclass(frozen=True)
class Perceptron:
    """f(z) = W_L relu(... relu(W_1 z + b_1) ...) + b_L.

    Attributes:
        weights: (H_l, H_{l-1}) each; H_0 elements of a row in the order of its shape.
        biases: (H_l,) each.
    """

    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]

    def to(self, device: torch.device, dtype: torch.dtype) -> Perceptron:
        """The network on another device and in another dtype."""
        moved = (tuple(t.to(device, dtype) for t in listed) for listed in (self.weights, self.biases))
        return Perceptron(*moved)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Outputs (T, H_L) of rows (T, H_0)."""
        z = rows.to(self.weights[0].dtype)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = torch.nn.functional.linear(z.relu() if layer else z, weight, bias)
        return z


def in_order(layers: Perceptron, elements: torch.Tensor) -> Perceptron:
    """The network for rows whose element k is element elements[k] of the row's shape."""
    if bool((elements[1:] > elements[:-1]).all()):
        return layers
    return Perceptron((layers.weights[0][:, elements].contiguous(), *layers.weights[1:]), layers.biases)


def serves(layers: Perceptron) -> bool:
    """Whether the backend in force walks chains of a perceptron."""
    if len(layers.weights) > MOST_WEIGHTS:
        return False
    # Of a call only dtype and layers decide.
    first = layers.weights[0]
    return ops.takes("mlp_chains", *[first] * 6, list(layers.weights), list(layers.biases), True)


class PerceptronModel:
    """A perceptron as a model of rows: by the C++ kernel a row has the same bits in every batch and on any number of
    threads.

    Args:
        layers: the network.
        inner: shape of a row of its outputs.
    """

    def __init__(self, layers: Perceptron, inner: tuple[int, ...]):
        self.layers, self.inner = layers, inner
        compiled = ops.available_backends(layers.weights[0].device)["cpp"] is None
        self.alike = compiled and ops.active_backend() in ("auto", "cpp")

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Outputs (T, K) of rows (T, d)."""
        count, elements = rows.shape
        index = torch.arange(elements + 1, dtype=torch.int32, device=rows.device)
        cycle = index.new_empty(count, 0)
        orders = index.new_empty(count, 0, elements)
        weights, biases = list(self.layers.weights), list(self.layers.biases)
        return ops.mlp_chains(rows, rows[:1], cycle, orders, index[:-1], index, weights, biases, False)[1]


@dataclass(frozen=True)
class PerceptronWays:
    """Ways through a perceptron by kernels; see `Ways`.

    Attributes:
        layers: the network, whose first layer takes rows in the order of a game's.
    """

    layers: Perceptron

    def chains(self, game: Game, allow_tf32: bool) -> PerceptronChains:
        """See `Ways`."""
        return PerceptronChains(game, self.layers, allow_tf32)

    def cube(self, game: Game) -> Cube:
        """See `Ways`."""
        first, *weights = self.layers.weights
        bias, *biases = self.layers.biases
        taken = bool(weights) and ops.takes("mlp_outer_sums", first, first, weights, biases)
        if not taken:
            return WrittenCube(game, PerceptronChains.path)

        def behind(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
            return ops.mlp_outer_sums(high, low, weights, biases)

        return SummedCube(game, PerceptronChains.path, FirstMap(first, bias), behind)


@dataclass
class PerceptronChains:
    """Chains walked by `ops.mlp_chains`.

    Attributes:
        game: the game, whose rows are in the order that the perceptron's first layer takes.
        layers: the network.
        allow_tf32: whether products behind the first layer may use TF32.
    """

    game: Game
    layers: Perceptron
    allow_tf32: bool = False
    path: ClassVar[str] = "mlp"

    def at_once(self) -> int:
        """See `Chains`."""
        outputs = self.layers.weights[-1].shape[0]
        return max(1, _CALL_BYTES // (self.game.x.element_size() * self.game.n * outputs))

    def pairs(self, rows: torch.Tensor, cycle: torch.Tensor, orders: torch.Tensor, antithetic: bool) -> torch.Tensor:
        """See `Chains`."""
        game = self.game
        x = game.x if len(rows) == game.rows else game.x[rows]
        weights, biases = list(self.layers.weights), list(self.layers.biases)
        members, starts = game.players.members, game.players.starts
        network = (weights, biases, antithetic, self.allow_tf32)
        found, _, _ = ops.mlp_chains(x, game.background, cycle, orders, members, starts, *network)
        game.refuse_not_finite(found)
        still = inert(game, x, cycle, self._dead)
        if still is not None:
            found.masked_fill_(still.unsqueeze(-1), 0)
        if game.chosen is None:
            return found
        chosen = game.chosen[rows].view(-1, 1, 1, 1).expand(*found.shape[:3], 1)
        return found.gather(3, chosen)

    @cached_property
    def _dead(self) -> torch.Tensor:
        return FirstMap(self.layers.weights[0], self.layers.biases[0]).dead
