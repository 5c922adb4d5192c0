"""Plain autograd: the gradient with respect to the input, eager and compiled.

Beside guided backpropagation and deconvnet it is a yardstick: autograd has no such rule, and what is timed and checked
is the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, fx, nn

from reluxfast.benchmarks.maps.problem import MapProblem
from reluxfast.benchmarks.problem import Prepared, Unavailable
from reluxfast.benchmarks.tuning import fastest

COMPUTED = ("gradient", "integrated_gradients")
METHODS = (*COMPUTED, "guided_backprop", "deconvnet")
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# (x, target) -> gradient of the targets' sum
Gradient = Callable[[Tensor, Tensor], Tensor]


def eager(problem: MapProblem, channels_last: bool = False) -> Prepared:
    """As a user writes it; with `channels_last` the weights are frozen besides."""
    _check(problem)
    model, x = problem.channels_last() if channels_last else (problem.model, problem.x)
    gradient = partial(_gradient, model)
    if problem.method != "integrated_gradients":
        return Prepared(lambda: gradient(x, problem.target), "gradient")
    ways = {
        f"{steps} steps at once": partial(_integrated, gradient, x, problem.target, problem.steps, steps)
        for steps in dict.fromkeys((1, problem.steps))
    }
    best = fastest(lambda name: ways[name](), ways, problem.device)
    return Prepared(ways[best], problem.method, best)


def compiled(problem: MapProblem) -> Prepared:
    """The whole input-gradient through torch.compile, batch norms folded, channels last, weights frozen.

    It is compiled here: the first call is part of the preparation.
    """
    _check(problem)
    model, x = problem.channels_last()
    model, note = folded(model)
    torch.compiler.reset()  # each problem from scratch, for its own shapes
    # A small copy shows that the right thing is computed: without the minute that the code generator takes.
    backend = "aot_eager" if problem.tiny else "inductor"
    compile = partial(torch.compile, fullgraph=True, dynamic=False, backend=backend)
    gradient = partial(compile(_functional_gradient), model)
    if problem.method == "integrated_gradients":
        call = partial(_integrated, gradient, x, problem.target, problem.steps, problem.steps)
        computes = problem.method
    else:
        call, computes = partial(gradient, x, problem.target), "gradient"
    try:
        call()
    except torch._dynamo.exc.TorchDynamoException as error:
        said = " ".join(str(error).split("\n\n")[0].split())
        raise Unavailable(f"torch.compile: {said[:300]}") from error
    return Prepared(call, computes, note)


def _check(problem: MapProblem) -> None:
    if problem.method not in METHODS:
        raise Unavailable(f"autograd does not compute {problem.method}")


def folded(model: nn.Module) -> tuple[nn.Module, str]:
    """A copy without the batch norms that follow a convolution or linear layer, frozen, and what became of them."""
    norms = sum(isinstance(m, _NORMS) for m in model.modules())
    if not norms:
        return model, ""
    from torch.fx.experimental.optimization import fuse  # warns on import

    try:
        fused = fuse(model)
    except Exception as error:  # torch.fx raises whatever the model's own code does with its proxies
        return model, f"batch norms not folded: {type(error).__name__} in torch.fx"
    left = sum(isinstance(m, _NORMS) for m in _called(fused))
    fused = fused.to(memory_format=torch.channels_last).requires_grad_(False)
    return fused, f"{norms - left} of {norms} batch norms folded"


def _called(model: fx.GraphModule) -> list[nn.Module]:
    """Modules that are still called; a folded one stays behind as an attribute."""
    return [model.get_submodule(node.target) for node in model.graph.nodes if node.op == "call_module"]


def _gradient(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    logits = model(x).gather(1, target[:, None])
    return torch.autograd.grad(logits.sum(), x)[0]


def _functional_gradient(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The same as one graph: torch.compile does not look into torch.autograd.grad."""
    return torch.func.grad(lambda x: model(x).gather(1, target[:, None]).sum())(x)


def _integrated(gradient: Gradient, x: Tensor, target: Tensor, steps: int, at_once: int) -> Tensor:
    """Integrated gradients from zeros by Gauss-Legendre quadrature, `at_once` points of the path in one batch."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(x)
    for first in range(0, steps, at_once):
        some = slice(first, first + at_once)
        rows = torch.cat([x * float((t + 1) / 2) for t in nodes[some]])
        gradients = gradient(rows, target.repeat(len(nodes[some]))).split(len(x))
        for w, g in zip(weights[some], gradients, strict=True):
            total.add_(g, alpha=float(w / 2))
    return total * x
