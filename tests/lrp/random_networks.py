"""Random networks and random LRP rules for them, as hypothesis draws them: small enough for explicit matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from reluxfast import rules
from reluxfast.rules import Rule
from tests.zoo.registry import settle

KINDS = ("conv", "transposed", "norm", "max_pool", "avg_pool", "adaptive", "residual", "branches", "concat", "reuse")


@dataclass(frozen=True)
class Step:
    """One step of a network; what a kind does not need is left aside.

    Attributes:
        kind: one of `KINDS`.
        width: channels in each group.
        kernel, stride, dilation: per axis; kernels are cut to what there is to see.
        padding: same on both sides.
        groups: of convolutions, where they divide the channels.
        norm: whether a batch norm follows a convolution.
        act: "", "relu", "relu_" (in place), "module" (one nn.ReLU for all), "relu6".
        in_place: whether an addition is written as `+=`.
    """

    kind: str
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: int
    groups: int
    norm: bool
    act: str
    in_place: bool


@dataclass(frozen=True)
class Description:
    """A network.

    Attributes:
        size: height and width of images.
        images: 1, or 2 that are added or concatenated behind their own convolutions.
        join: "add" or "cat".
        vector: whether a row of five numbers joins the features in front of the head.
        steps: on the feature maps.
        pooled: whether the head takes means of the maps rather than all elements.
        hidden: whether the head has a hidden layer.
        seed: of parameters and inputs.
    """

    size: tuple[int, int]
    images: int
    join: str
    vector: bool
    steps: tuple[Step, ...]
    pooled: bool
    hidden: bool
    seed: int


class RandomNetwork(nn.Module):
    """Built by running it once: every module fits the shape that it meets."""

    def __init__(self, description: Description):
        super().__init__()
        self.description = description
        self.made = nn.ModuleDict()
        self.relu = nn.ReLU()
        with torch.no_grad():
            self.eval()(*(torch.zeros(1, *shape) for shape in self.shapes()))

    def shapes(self) -> list[tuple[int, ...]]:
        """Of one row of each input."""
        return [(2, *self.description.size)] * self.description.images + [(5,)] * self.description.vector

    def forward(self, *inputs: Tensor) -> Tensor:
        d = self.description
        maps = [self._act("relu", self._conv(f"stem{i}", x, 3, 3, 1)) for i, x in enumerate(inputs[: d.images])]
        h = maps[0]
        if len(maps) == 2:
            h = maps[0] + maps[1] if d.join == "add" else torch.cat(maps, 1)
        for i, step in enumerate(d.steps):
            h = self._step(f"step{i}", step, h)
        features = h.mean((2, 3)) if d.pooled else h.flatten(1)
        if d.vector:
            features = torch.cat([features, inputs[-1]], 1)
        if d.hidden:
            features = F.relu(self._linear("hidden", features, 6))
        return self._linear("head", features, 3)

    def _step(self, name: str, step: Step, h: Tensor) -> Tensor:
        channels = h.shape[1]
        if step.kind in ("conv", "transposed"):
            made = self._varied(name, step, h)(h)
            return self._act(step.act, self._norm(name, made) if step.norm else made)
        if step.kind == "norm":
            return self._act(step.act, self._norm(name, h))
        if step.kind in ("max_pool", "avg_pool"):
            kernel = tuple(min(k + 1, s) for k, s in zip(step.kernel, h.shape[2:], strict=True))
            padding = tuple(min(step.padding, k // 2) for k in kernel)
            pool = F.max_pool2d if step.kind == "max_pool" else F.avg_pool2d
            return pool(h, kernel, step.stride, padding)
        if step.kind == "adaptive":
            return F.adaptive_avg_pool2d(h, step.kernel)
        if step.kind == "residual":
            made = self._conv(name, h, channels, 3, 1)
            made = self._norm(name, made) if step.norm else made
            if step.in_place:
                made += h
                return self._act(step.act, made)
            return self._act(step.act, made + h)
        if step.kind == "branches":  # two maps meet without a ReLU between
            return self._act(step.act, self._conv(f"{name}a", h, 3, 3, 1) + self._conv(f"{name}b", h, 3, 1, 0))
        if step.kind == "concat":
            return torch.cat([h, self._act(step.act, self._conv(name, h, step.width, 3, 1))], 1)
        return self._act(step.act, self._conv(f"shared{channels}", h, channels, 3, 1))

    def _made(self, name: str, make) -> nn.Module:
        if name not in self.made:
            self.made[name] = make().eval()
        return self.made[name]

    def _conv(self, name: str, h: Tensor, width: int, kernel: int, padding: int) -> Tensor:
        return self._made(name, lambda: nn.Conv2d(h.shape[1], width, kernel, padding=padding))(h)

    def _varied(self, name: str, step: Step, h: Tensor) -> nn.Module:
        channels = h.shape[1]
        groups = step.groups if channels % step.groups == 0 else 1
        if step.kind == "transposed":
            return self._made(
                name, lambda: nn.ConvTranspose2d(channels, step.width * groups, step.kernel, groups=groups)
            )
        seen = [s + 2 * step.padding for s in h.shape[2:]]
        kernel = tuple(min(k, s) for k, s in zip(step.kernel, seen, strict=True))
        dilation = tuple(d if d * (k - 1) < s else 1 for d, k, s in zip(step.dilation, kernel, seen, strict=True))
        width, bias = step.width * groups, not step.norm
        return self._made(
            name, lambda: nn.Conv2d(channels, width, kernel, step.stride, step.padding, dilation, groups, bias)
        )

    def _norm(self, name: str, h: Tensor) -> Tensor:
        return self._made(f"{name}_norm", lambda: nn.BatchNorm2d(h.shape[1]))(h)

    def _linear(self, name: str, h: Tensor, width: int) -> Tensor:
        return self._made(name, lambda: nn.Linear(h.shape[1], width))(h)

    def _act(self, act: str, h: Tensor) -> Tensor:
        if act == "relu_":
            return F.relu(h, inplace=True)
        if act == "module":
            return self.relu(h)
        return {"": lambda v: v, "relu": F.relu, "relu6": F.relu6}[act](h)


_pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
_STEPS = st.builds(
    Step,
    st.sampled_from(KINDS),
    st.integers(1, 3),
    _pair,
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.integers(0, 1),
    st.sampled_from((1, 1, 2, 3)),
    st.booleans(),
    st.sampled_from(("", "relu", "relu_", "module", "relu6")),
    st.booleans(),
)
DESCRIPTIONS = st.builds(
    Description,
    st.tuples(st.integers(4, 6), st.integers(3, 6)),
    st.integers(1, 2),
    st.sampled_from(("add", "cat")),
    st.booleans(),
    st.lists(_STEPS, min_size=1, max_size=5).map(tuple),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)

_epsilon = st.sampled_from((1e-6, 1e-3, 0.1))
_bias = st.sampled_from(rules.BIASES)
_gamma = st.sampled_from((0.0, 0.25, 2.0))


def _alpha_beta(beta: float, epsilon: float, bias: str) -> Rule:
    return rules.AlphaBeta(1 + beta, beta, epsilon=epsilon, bias=bias)


MAP_RULES = st.one_of(
    st.builds(rules.Epsilon, _epsilon, bias=_bias),
    st.just(rules.Zero()),
    st.builds(rules.Gamma, _gamma, st.booleans(), epsilon=_epsilon, bias=_bias),
    st.builds(rules.ZPlus, st.booleans(), epsilon=_epsilon, bias=_bias),
    st.builds(_alpha_beta, st.sampled_from((0.0, 0.5, 1.0)), _epsilon, _bias),
    st.builds(rules.WSquare, epsilon=_epsilon, bias=_bias),
    st.builds(rules.Flat, _epsilon),
    st.builds(rules.ZBox, st.sampled_from((-3.0, -0.5)), st.sampled_from((0.5, 4.0)), _epsilon),
    st.builds(rules.SignAlpha, st.sampled_from((0.0, 0.7)), _epsilon),
)


@dataclass(frozen=True)
class Choice:
    """Rules: of the maps in turn, of sums, of batch norms that do not fold, and of activations."""

    maps: tuple[Rule, ...]
    sums: Rule
    norms: Rule
    activations: Rule


CHOICES = st.builds(
    Choice,
    st.lists(MAP_RULES, min_size=2, max_size=5).map(tuple),
    st.one_of(st.builds(rules.Norm, _epsilon), st.just(rules.Zero())),
    st.one_of(st.just(rules.Pass()), st.builds(rules.Epsilon, _epsilon), st.just(rules.Zero())),
    st.sampled_from((rules.Pass(), rules.Gradient())),
)


def network(description: Description) -> tuple[RandomNetwork, tuple[Tensor, ...]]:
    """The network and two signed rows of each input, in float32."""
    model = settle(RandomNetwork(description), description.seed).eval()
    generator = torch.Generator(torch.get_default_device()).manual_seed(description.seed)
    return model, tuple(torch.randn(2, *shape, generator=generator) for shape in model.shapes())


def rules_of(model: nn.Module, choice: Choice) -> dict[str, Rule]:
    """Path of a map -> its rule."""
    maps = [path for path, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
    return {path: choice.maps[i % len(choice.maps)] for i, path in enumerate(maps)}
