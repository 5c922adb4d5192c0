"""Zennit's attributors: `output, relevance = attributor(input, attr_output)`, with or without a `with` block.

Other than in Zennit the output is detached, unless `create_graph`, as is relevance; the model and its flags are only
read, and it is explained as if in eval mode. What Zennit does with hooks on modules is done here on the network's
graph, so that ReLUs, additions and poolings that a model writes out follow their rules too.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from reluxfast.compat.zennit.attributes import check_attributes
from reluxfast.compat.zennit.context import ModifiedModel
from reluxfast.compat.zennit.core import Composite
from reluxfast.compat.zennit.errors import WrongType
from reluxfast.compat.zennit.walk import AttrOutput, Signal, explain, outputs
from reluxfast.errors import InvalidInput
from reluxfast.progress import progress_bar

Result = tuple[torch.Tensor, torch.Tensor]


class Attributor(ABC):
    """Base class.

    Args:
        model: an nn.Module, or what `composite.context(model)` gives.
        composite: which rules its layers get; None: the plain gradient.
        attr_output: what walks begin with: a Tensor of the output's shape, a function of the output that makes one, or
            None for the output itself. Can be given with each call instead.
    """

    def __init__(self, model: nn.Module, composite: Composite | None = None, attr_output: AttrOutput = None):
        if isinstance(model, ModifiedModel) and composite is None:
            model, composite = model.module, model.composite
        if composite is not None and not isinstance(composite, Composite):
            rule = "must be a composite of reluxfast.compat.zennit"
            raise WrongType("composite", rule, repr(composite), "Import it from there, and call it")
        self.model, self.composite, self.attr_output = model, composite, attr_output

    def __enter__(self) -> Attributor:
        return self

    def __exit__(self, *error: Any) -> bool:
        return False

    def __call__(self, input: torch.Tensor, attr_output: AttrOutput = None) -> Result:
        """Explains the outputs for `input`.

        Args:
            input: (N, ...), floating-point.
            attr_output: see the class; None: the attributor's own.

        Returns:
            output (N, ...) and relevance like `input`.

        Raises:
            InvalidInput: an argument breaks a rule; also a TypeError where its type does (an int for `attr_output`),
                a RuntimeError where its shape or device does.
            UnsupportedNode: the model has a part that cannot be explained rightly.
        """
        if not isinstance(input, torch.Tensor):
            raise WrongType("input", "must be a Tensor", type(input).__name__)
        return self.forward(input, Signal(self.attr_output if attr_output is None else attr_output))

    @property
    def inactive(self) -> Callable:
        """`Composite.inactive` of the composite."""
        if self.composite is None:
            raise AttributeError("an attributor without a composite has no inactive context")
        return self.composite.inactive

    @abstractmethod
    def forward(self, input: torch.Tensor, attr_output_fn: AttrOutput) -> Result:
        """What a call returns; `attr_output_fn` is `attr_output` as a function of the output, whatever was given."""


class Gradient(Attributor):
    """The gradient, modified by the composite's rules: with LRP rules, relevance.

    Args:
        model, composite, attr_output: as for `Attributor`.
        create_graph: whether output and relevance can be differentiated with respect to `input` and the parameters.
        retain_graph: accepted, without effect: nothing is freed.
    """

    def __init__(
        self,
        model: nn.Module,
        composite: Composite | None = None,
        attr_output: AttrOutput = None,
        create_graph: bool = False,
        retain_graph: bool | None = None,
    ):
        super().__init__(model, composite, attr_output)
        self.create_graph, self.retain_graph = create_graph, retain_graph

    def grad(self, input: torch.Tensor, attr_output_fn: AttrOutput) -> Result:
        """Output and (modified) gradient at `input`."""
        composite = self.composite if self.composite is None or self.composite.active else None
        return explain(self.model, composite, input, attr_output_fn, self.create_graph)

    def forward(self, input: torch.Tensor, attr_output_fn: AttrOutput) -> Result:
        return self.grad(input, attr_output_fn)


class SmoothGrad(Gradient):
    """The mean (modified) gradient over noisy copies of the input, the last of which has no noise.

    Noise comes from torch's global generator, so that `torch.manual_seed` gives the values that Zennit gives.

    Args:
        model, composite, attr_output, create_graph, retain_graph: as for `Gradient`.
        noise_level: standard deviation of the noise over max - min of each row.
        n_iter: number of copies.
    """

    def __init__(
        self,
        model: nn.Module,
        composite: Composite | None = None,
        attr_output: AttrOutput = None,
        create_graph: bool = False,
        retain_graph: bool | None = None,
        noise_level: float = 0.1,
        n_iter: int = 20,
    ):
        super().__init__(model, composite, attr_output, create_graph, retain_graph)
        self.noise_level, self.n_iter = noise_level, _count(n_iter)

    def forward(self, input: torch.Tensor, attr_output_fn: AttrOutput) -> Result:
        axes = tuple(range(1, input.dim()))
        deviation = self.noise_level * (input.amax(axes, keepdim=True) - input.amin(axes, keepdim=True))
        total = torch.zeros_like(input)
        with progress_bar(total=self.n_iter, desc="smooth_grad", unit="sample") as bar:
            for left in reversed(range(self.n_iter)):
                noisy = input + torch.randn_like(input) * deviation if left else input
                output, gradient = self.grad(noisy, attr_output_fn)
                total = total + gradient / self.n_iter
                bar.update(1)
        return output, total


class IntegratedGradients(Gradient):
    """The mean (modified) gradient on the straight path from a baseline, right Riemann sum, times input - baseline.

    Args:
        model, composite, attr_output, create_graph, retain_graph: as for `Gradient`.
        baseline_fn: makes the baseline from the input; default zeros.
        n_iter: number of points, the last of which is the input.
    """

    def __init__(
        self,
        model: nn.Module,
        composite: Composite | None = None,
        attr_output: AttrOutput = None,
        create_graph: bool = False,
        retain_graph: bool | None = None,
        baseline_fn: Callable[[torch.Tensor], torch.Tensor] | None = None,
        n_iter: int = 20,
    ):
        super().__init__(model, composite, attr_output, create_graph, retain_graph)
        self.baseline_fn = torch.zeros_like if baseline_fn is None else baseline_fn
        self.n_iter = _count(n_iter)

    def forward(self, input: torch.Tensor, attr_output_fn: AttrOutput) -> Result:
        baseline = self.baseline_fn(input)
        difference = input - baseline
        total = torch.zeros_like(input)
        with progress_bar(total=self.n_iter, desc="integrated_gradients", unit="step") as bar:
            for t in torch.linspace(1 / self.n_iter, 1.0, self.n_iter, device=input.device):
                output, gradient = self.grad(baseline + t * difference, attr_output_fn)
                total = total + gradient / self.n_iter
                bar.update(1)
        values = total * difference
        return output, values if self.create_graph else values.detach()


class Occlusion(Attributor):
    """Each element gets the sum of `attr_output` over the outputs for all windows that it lies in.

    Args:
        model, composite, attr_output: as for `Attributor`; no rule has an effect on outputs.
        occlusion_fn: (input, mask) -> input of that shape, where mask, boolean and like the input, is True inside the
            window; default: what lies **outside** the window becomes 0.
        window: its size: an int for all dimensions but the batch, or a tuple for the last ones.
        stride: distance of windows, likewise; a window that reaches over the end goes on at the beginning.
    """

    def __init__(
        self,
        model: nn.Module,
        composite: Composite | None = None,
        attr_output: AttrOutput = None,
        occlusion_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        window: int | tuple[int, ...] = 8,
        stride: int | tuple[int, ...] = 8,
    ):
        super().__init__(model, composite, attr_output)
        for name, value in (("window", window), ("stride", stride)):
            if not all(isinstance(v, int) for v in (value if isinstance(value, tuple) else (value,))):
                raise WrongType(name, "must be an int or a tuple of ints", repr(value))
        self.occlusion_fn = _keep if occlusion_fn is None else occlusion_fn
        self.window, self.stride = window, stride

    def forward(self, input: torch.Tensor, attr_output_fn: AttrOutput) -> Result:
        if self.composite is not None:
            check_attributes(self.composite.canonizers, self.model, input)
        input = input.detach()
        total = torch.zeros_like(input)
        starts = self._starts(tuple(input.shape[1:]))
        with progress_bar(total=len(starts), desc="occlusion", unit="window") as bar:
            for start in starts:
                mask = self._mask(input, start)
                output = outputs(self.model, self.occlusion_fn(input, mask))
                signal = Signal(attr_output_fn)(output)
                score = signal.detach().flatten(1).sum(1) if signal.dim() > 1 else signal.detach()
                total += mask * score.view(-1, *[1] * (input.dim() - 1))
                bar.update(1)
        return outputs(self.model, input), total

    def _sizes(self, row: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Window and stride for each dimension of a row; what a tuple leaves out is covered whole."""
        window = tuple(min(self.window, n) for n in row) if isinstance(self.window, int) else self.window
        stride = tuple(min(self.stride, n) for n in row) if isinstance(self.stride, int) else self.stride
        for name, sizes in (("window", window), ("stride", stride)):
            if len(sizes) > len(row) or not all(s > 0 for s in sizes):
                raise InvalidInput(name, f"must hold at most {len(row)} positive ints for rows {row}", sizes)
        window = (*row[: len(row) - len(window)], *window)
        return window, (*window[: len(row) - len(stride)], *stride)

    def _starts(self, row: tuple[int, ...]) -> list[tuple[int, ...]]:
        _, stride = self._sizes(row)
        return list(itertools.product(*(range(0, n, s) for n, s in zip(row, stride, strict=True))))

    def _mask(self, input: torch.Tensor, start: tuple[int, ...]) -> torch.Tensor:
        row = tuple(input.shape[1:])
        window, _ = self._sizes(row)
        mask = torch.ones(row, dtype=torch.bool, device=input.device)
        for dim, (n, width, first) in enumerate(zip(row, window, start, strict=True)):
            inside = (torch.arange(n, device=input.device) - first) % n < width
            mask &= inside.view(-1, *[1] * (len(row) - 1 - dim))
        return mask.expand_as(input)


def occlude_independent(
    input: torch.Tensor,
    mask: torch.Tensor,
    fill_fn: Callable[[torch.Tensor], torch.Tensor] = torch.zeros_like,
    invert: bool = False,
) -> torch.Tensor:
    """`input` where `mask` (boolean, like it) is True, else what `fill_fn` makes of it; `invert`: the other way."""
    return torch.where(mask != invert, input, fill_fn(input))


def _keep(input: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return occlude_independent(input, mask)


def _count(n_iter: int) -> int:
    if not isinstance(n_iter, int) or isinstance(n_iter, bool) or n_iter < 1:
        raise InvalidInput("n_iter", "must be a positive int", repr(n_iter))
    return n_iter
