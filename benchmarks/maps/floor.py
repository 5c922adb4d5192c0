"""The work that one attribution cannot do without: FLOP and bytes, kernel by kernel, read off the captured graph.

Every convolution, linear map and max-pool is one kernel each way, which reads its operands and writes its result once.
ReLUs, additions and batch norms happen inside these kernels and cost what is read and written besides: the other
summand, the gates of ReLUs, a signal that comes back through a shortcut. Weights are read once per pass over them.

Gates are one bit per element for gradients (none for deconvnet), the values themselves for epsilon, a number for other
LRP rules, two for alpha-beta. Those of maps that are added up before any ReLU are left out. Whatever else a network
does counts for nothing, and `Work.about` names it. So the floor may be too low, but for kernels of this kind, whose
traffic goes through memory, it is never too high.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from reluxfast.benchmarks.maps.problem import LRP_COMPOSITES, METHODS, MapProblem
from reluxfast.benchmarks.maps.rule_costs import Cost, cost_of
from reluxfast.benchmarks.problem import Work
from reluxfast.composites import composite
from reluxfast.errors import ReluxfastError
from reluxfast.graph import Graph, Node, capture
from reluxfast.relevance.layers import layer_value
from reluxfast.relevance.lrp.assign import assign
from reluxfast.relevance.lrp.kinds import kind_of, not_negative, short_name

_MAPS = ("conv", "linear")
_KERNELS = (*_MAPS, "max_pool")
# What a kernel does along the way.
_FUSED = ("batch_norm", "clamp", "add")


@dataclass
class Kernel:
    """One kernel on its way to being counted: FLOP and elements per row, bits per row, weights in all."""

    flop: int = 0
    elements: int = 0
    bits: int = 0
    weights: int = 0

    def of(self, rows: int, element_size: int) -> tuple[int, int]:
        """(FLOP, bytes) for so many rows."""
        moved = (rows * self.elements + self.weights) * element_size + math.ceil(rows * self.bits / 8)
        return rows * self.flop, moved


def work_of(problem: MapProblem) -> Work | None:
    """Work of one call; None where the model cannot be captured."""
    x = problem.x
    try:
        graph = capture(problem.model, (torch.zeros((2, *x.shape[1:]), dtype=x.dtype, device=x.device),))
        return work_of_graph(graph, problem.method, len(x), x.element_size(), problem.steps, problem.layer)
    except ReluxfastError:
        return None


def work_of_graph(
    graph: Graph, method: str, batch: int, element_size: int, steps: int = 1, layer: str | None = None
) -> Work:
    """Work of one attribution of a captured network.

    Args:
        graph: the network.
        method: one of `METHODS`.
        batch: images explained.
        element_size: bytes of a number.
        steps: points of the path, for integrated gradients: as many gradients, which share the weights they read.
        layer: path of the module whose map Grad-CAM reads; signals go back to it only.

    Raises:
        ValueError: unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method: one of {', '.join(METHODS)} expected, got {method!r}")
    stops = graph.explained
    if method == "grad_cam" and layer is not None:
        stops = (layer_value(graph, layer, lambda module: None),)
    count = _Count(graph, method, frozenset(stops))
    count.run()
    rows = batch * (steps if method == "integrated_gradients" else 1)
    kernels = tuple(kernel.of(rows, element_size) for kernel in (*count.ahead.values(), *reversed(count.back.values())))
    about = f"{len(count.ahead)} kernels forward and {len(count.back)} back: convolutions, linear maps and max-pools"
    if count.left_out:
        about += f"; not counted: {', '.join(sorted(count.left_out))}"
    return Work(kernels, about)


@dataclass
class _Count:
    """Kernels of one method on one graph.

    Attributes:
        stops: values at which signals end.
        ahead, back: name of the node -> its kernel forward, and reverse.
        left_out: operations that count for nothing.
    """

    graph: Graph
    method: str
    stops: frozenset[str]
    ahead: dict[str, Kernel] = field(default_factory=dict)
    back: dict[str, Kernel] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Fills the kernels in."""
        reached = self.graph.leading_to(self.graph.output)
        self.nodes = [node for node in self.graph if node.name in reached and node.inputs]
        self.consumers = self._consumers()
        self.senders = self._senders()
        self.live = self._live()
        self.costs = self._costs()
        self.homes: dict[str, str] = {}  # value -> the kernel that writes it
        for node in self.nodes:
            self._forward(node)
        for node in self.nodes:
            if node.name in self.ahead and node.name in self.live and node.inputs[0] in self.live:
                self.back[node.name] = self._reverse(node)
        for node in self.nodes:
            if node.kind == "clamp" and node.name in self.live - self.stops:
                self._gate(node)
        for value in self.live:
            self._shortcuts(value)

    def _consumers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {node.name: [] for node in self.graph}
        for node in self.nodes:
            for name in node.inputs:
                found[name].append(node)
        return found

    def _senders(self) -> dict[str, str]:
        """Value -> the kernel that reads it first, and so sends the last signal back to it."""
        found: dict[str, str] = {}
        for value in reversed(self.consumers):
            for node in self.consumers[value]:
                sender = node.name if node.kind in _KERNELS else found.get(node.name)
                if sender is not None and (node.kind in _KERNELS or self._is_fused(node)):
                    found[value] = sender
                    break
        return found

    def _live(self) -> set[str]:
        """Values that a signal comes to."""
        live = set(self.stops)
        for node in self.nodes:
            if live.intersection(node.inputs):
                live.add(node.name)
        return live

    def _costs(self) -> dict[str, Cost]:
        maps = [node for node in self.nodes if node.kind in _MAPS]
        if self.method not in LRP_COMPOSITES:
            bits = 0 if self.method == "deconvnet" else 1  # it looks at signs of signals only
            return {node.name: Cost(writes=bits, reads=bits, bits=True) for node in maps}
        bounds = {"low": -1.0, "high": 1.0} if self.method == "epsilon_gamma_box" else {}
        chosen = assign(self.graph, composite(self.method, **bounds), fallback="gradient")
        positive = not_negative(self.graph)
        return {
            node.name: cost_of(chosen[node.name], node.inputs[0] in positive, self._rectified(node)) for node in maps
        }

    def _rectified(self, node: Node) -> bool:
        """Whether nothing but a ReLU reads a map, so that nothing comes back where it is negative."""
        users = self.consumers[node.name]
        if len(users) == 1 and users[0].kind == "batch_norm":
            users = self.consumers[users[0].name]
        return len(users) == 1 and users[0].kind == "clamp" and users[0].attrs["lo"] == 0

    def _forward(self, node: Node) -> None:
        n_out = self._elements(node.name)
        if node.kind in _KERNELS:
            n_in = self._elements(node.inputs[0])
            kernel = Kernel(elements=n_in + n_out, bits=self._index_bits(node))
            if node.kind in _MAPS:
                passes = self.costs[node.name].forward
                kernel.flop, kernel.weights = passes * self._flop(node), passes * self._weight(node)
            self.ahead[node.name], self.homes[node.name] = kernel, node.name
            return
        if not self._is_fused(node):
            self.left_out.add(node.op)
            return
        homes = [self.homes[name] for name in node.inputs if name in self.homes]
        if not homes:
            return
        last = max(homes, key=list(self.ahead).index)
        self.homes[node.name] = last
        self.ahead[last].elements += (len(node.inputs) - 1) * n_out

    def _reverse(self, node: Node) -> Kernel:
        n_in, n_out = self._elements(node.inputs[0]), self._elements(node.name)
        if node.kind not in _MAPS:
            return Kernel(elements=n_out + n_in, bits=self._index_bits(node))
        cost = self.costs[node.name]
        return Kernel(
            cost.reverse * self._flop(node),
            cost.signals * n_out + n_in,
            weights=cost.reverse * self._weight(node),
        )

    def _gate(self, clamp: Node) -> None:
        """What a ReLU keeps on the way forward and reads on the way back."""
        home = self.homes.get(clamp.name)
        cost = self.costs.get(home) or Cost(bits=True)
        reader = self.senders.get(clamp.name, home)
        for kernel, size in ((self.ahead.get(home), cost.writes), (self.back.get(reader), cost.reads)):
            if kernel is not None and cost.bits:
                kernel.bits += size * self._elements(clamp.name)
            elif kernel is not None:
                kernel.elements += size * self._elements(clamp.name)

    def _shortcuts(self, value: str) -> None:
        """Signals that come to a value besides the first are read by the kernel that sends the last of them."""
        signals = sum(1 for node in self.consumers[value] if node.name in self.live)
        sender = self.senders.get(value)
        if signals > 1 and sender in self.back:
            self.back[sender].elements += (signals - 1) * self._elements(value)

    def _is_fused(self, node: Node) -> bool:
        """Whether a node costs no kernel: it is part of one, or hands on the very elements of its one operand."""
        if node.kind in _FUSED:
            return True
        same = len(node.inputs) == 1 and self._elements(node.inputs[0]) == self._elements(node.name)
        return same and (kind_of(node) == "carry" or short_name(node) == "adaptive_avg_pool2d")

    def _elements(self, value: str) -> int:
        """Per row."""
        node = self.graph.nodes[value]
        if self.graph.batch is None or node.batch_dim is None:
            return node.row_elements
        return math.prod(node.shape) // self.graph.batch

    def _index_bits(self, node: Node) -> int:
        """Of the winners of a max-pool's windows."""
        if node.kind != "max_pool":
            return 0
        return self._elements(node.name) * math.ceil(math.log2(math.prod(node.attrs["kernel"])))

    def _shape(self, node: Node) -> tuple[int, ...]:
        return self.graph.nodes[node.attrs["weight"]].shape

    def _weight(self, node: Node) -> int:
        return math.prod(self._shape(node))

    def _flop(self, node: Node) -> int:
        """Of one pass over one row: two for each weight and each element of the side that the weight is spread over."""
        spread = node.inputs[0] if node.attrs.get("transposed") else node.name
        return 2 * self._elements(spread) * math.prod(self._shape(node)[1:])
