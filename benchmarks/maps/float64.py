"""What maps are compared with: plain autograd in float64, row by row, without a line of the engine or of a peer.

Guided backpropagation (Springenberg et al. 2015) replaces the gradient of every ReLU by `g * 1[x > 0] * 1[g > 0]`,
the deconvnet (Zeiler & Fergus 2014) by `g * 1[g > 0]`. Calls of ReLUs are intercepted for that: modules, functions and
the operators of exported programs are treated alike. A ReLU spelled as arithmetic, `x * (x > 0)`, is not recognised.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

METHODS = ("gradient", "guided_backprop", "deconvnet")
# Functions that may be a ReLU, and their arguments after the tensor.
_RELUS = {
    "relu": ("inplace",),
    "relu6": ("inplace",),
    "threshold": ("threshold", "value", "inplace"),
    "hardtanh": ("min_val", "max_val", "inplace"),
    "clamp": ("min", "max"),
    "clip": ("min", "max"),
    "clamp_min": ("min",),
}


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, high: float, masked: bool) -> Tensor:
        ctx.save_for_backward((x > 0) & (x < high) if masked else None)
        return x.clamp(0, high)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (active,) = ctx.saved_tensors
        passes = g > 0 if active is None else active & (g > 0)
        return torch.where(passes, g, torch.zeros_like(g)), None, None


class GatedReLUs(TorchFunctionMode):
    """Inside this context every torch ReLU has the reverse rule of `method`: "guided_backprop" or "deconvnet"."""

    def __init__(self, method: str):
        super().__init__()
        self.masked = method == "guided_backprop"

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "_opname", getattr(func, "__name__", "")).removeprefix("_")  # F.threshold is _threshold
        plain = name.removesuffix("_")
        if plain not in _RELUS:
            return func(*args, **kwargs)
        given = dict(zip(("input", *_RELUS[plain]), args, strict=False)) | kwargs
        high = _upper_bound(plain, given)
        if high is None:
            return func(*args, **kwargs)
        x = given["self"] if "self" in given else given["input"]
        if name.endswith("_") or given.get("inplace"):
            return x.copy_(_Gated.apply(x.clone(), high, self.masked))
        return _Gated.apply(x, high, self.masked)


def _upper_bound(name: str, given: dict[str, Any]) -> float | None:
    """Where this call cuts off above, if it cuts off below at 0: a ReLU or a ReLU6."""
    if name in ("relu", "relu6"):
        return math.inf if name == "relu" else 6.0
    if name == "threshold":
        return math.inf if given["threshold"] == given["value"] == 0 else None
    lo, hi = (given.get("min_val", -1.0), given.get("max_val", 1.0))
    if name != "hardtanh":
        lo, hi = given.get("min"), given.get("max")
    hi = math.inf if hi is None else hi
    numbers = isinstance(lo, (int, float)) and isinstance(hi, (int, float))
    return float(hi) if numbers and lo == 0 else None


def attribution(model: nn.Module, x: Tensor, target: Tensor, method: str) -> Tensor:
    """A method of `METHODS` for logit `target[n]` of each row, float64, shape of x."""
    if method not in METHODS:
        raise ValueError(f"method: one of {', '.join(METHODS)} expected, got {method!r}")
    twin = twin_of(model)
    rules = None if method == "gradient" else GatedReLUs(method)
    return _concatenated((gradient(twin, *rows, rules) for rows in _rows(twin, x, target)), x)


def integrated_gradients(
    model: nn.Module, x: Tensor, target: Tensor, nodes: Iterable[float], weights: Iterable[float]
) -> Tensor:
    """`x * sum_k w_k grad f(t_k x)` for nodes t_k and weights w_k: the straight path from zero, float64."""
    twin = twin_of(model)
    points = [(float(t), float(w)) for t, w in zip(nodes, weights, strict=True)]

    def of(rows: Tensor, labels: Tensor) -> Tensor:
        return rows * sum(w * gradient(twin, t * rows, labels) for t, w in points)

    return _concatenated((of(*rows) for rows in _rows(twin, x, target)), x)


def grad_cam(model: nn.Module, x: Tensor, target: Tensor, layer: str) -> Tensor:
    """`relu(sum_c mean(g_c) A_c)`, (N, 1, h, w) float64; A is what module `layer` returns, g its gradient."""
    twin = twin_of(model)
    maps = []
    for rows, labels in _rows(twin, x, target):
        output, a = _output_and_map(twin, rows.requires_grad_(True), layer)
        (g,) = torch.autograd.grad(_selected(output, labels), a)
        maps.append((g.mean((2, 3), keepdim=True) * a).sum(1, keepdim=True).clamp(min=0).detach())
    return torch.cat(maps)


def twin_of(model: nn.Module) -> nn.Module:
    """A frozen float64 copy in eval mode."""
    twin = copy.deepcopy(model).double().requires_grad_(False)
    try:
        return twin.eval()
    except NotImplementedError:  # an exported program is in the mode in which it was exported
        return twin


def rows_at_once(model: nn.Module) -> int:
    """How many rows a model takes: one at a time, to bound the memory, unless its batch was exported as a constant."""
    if isinstance(model, fx.GraphModule):
        for node in model.graph.nodes:
            if node.op == "placeholder" and isinstance(node.meta.get("val"), Tensor):
                n = node.meta["val"].shape[0]
                return n if isinstance(n, int) else 1
    return 1


def _rows(twin: nn.Module, x: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    n = rows_at_once(twin)
    return zip(x.detach().double().split(n), target.split(n), strict=True)


def _concatenated(parts: Iterable[Tensor], x: Tensor) -> Tensor:
    found = list(parts)
    return torch.cat(found) if len(x) else x.double()


def _selected(output: Tensor, labels: Tensor) -> Tensor:
    return output.gather(1, labels[:, None]).sum()


def gradient(twin: nn.Module, rows: Tensor, labels: Tensor, rules: AbstractContextManager | None = None) -> Tensor:
    """Of the logits `labels` by rows (n, ...), all at once, with the reverse rules of a context."""
    rows = rows.detach().requires_grad_(True)
    with rules or nullcontext():
        output = twin(rows)
    return torch.autograd.grad(_selected(output, labels), rows)[0]


def _output_and_map(twin: nn.Module, rows: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    found: list[Tensor] = []
    if isinstance(twin, fx.GraphModule) and layer not in dict(twin.named_modules()):
        return _WithMap(twin, layer).run_both(rows)
    hook = twin.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: found.append(output))
    try:
        output = twin(rows)
    finally:
        hook.remove()
    return output, found[-1]


class _WithMap(fx.Interpreter):
    """Runs an exported program, which has no modules any more, and keeps what module `layer` returned in its place."""

    def __init__(self, program: fx.GraphModule, layer: str):
        super().__init__(program)
        last = [
            n for n in program.graph.nodes if layer in (path for path, _ in n.meta.get("nn_module_stack", {}).values())
        ]
        if not last:
            raise ValueError(f"layer: path of a module of the exported program expected, got {layer!r}")
        self.last, self.map = last[-1], None

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n is self.last:
            self.map = result
        return result

    def run_both(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        output = self.run(rows)
        return output, self.map


def relative_l2(values: Tensor, expected: Tensor) -> float:
    """||values - expected|| / ||expected|| over all elements, in float64; inf if a number is not finite.

    Where all that is expected is zero: 0 for zeros, inf for anything else.
    """
    distance, size = torch.linalg.vector_norm(values.double() - expected), torch.linalg.vector_norm(expected)
    if size == 0:
        return 0.0 if distance == 0 else math.inf
    difference = distance / size
    return difference.item() if torch.isfinite(difference) else math.inf


def cosine(values: Tensor, expected: Tensor) -> float:
    """Cosine of the angle between both, as one vector each, in float64."""
    return nn.functional.cosine_similarity(values.double().flatten(), expected.flatten(), dim=0).item()
