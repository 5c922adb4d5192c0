"""DeepLIFT with the rescale rule from its formula (methods.md, section 5), operation by operation, in float64.

x and the reference run as the two halves of one batch. Every operation that is not linear is replaced by its value plus
a linear function of its operands that is 0 here, whose coefficients are the multipliers: autograd applies the chain
rule. An operation that is neither linear nor known is an error.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx, nn

_ELEMENTWISE = set(
    "relu relu6 hardtanh clamp clamp_min clamp_max threshold leaky_relu prelu elu selu celu gelu silu mish softplus "
    "sigmoid tanh log_sigmoid hardswish hardsigmoid abs exp log sqrt rsqrt reciprocal pow square".split()
)
_BILINEAR = {"mul", "matmul", "bmm", "mm"}
_LINEAR = set(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear "
    "_native_batch_norm_legit_no_training add sub rsub neg cat stack "
    "reshape flatten unflatten squeeze unsqueeze permute transpose t expand expand_as slice select chunk "
    "split split_with_sizes unbind getitem mean sum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d "
    "adaptive_avg_pool2d adaptive_avg_pool3d pad constant_pad_nd clone contiguous alias dropout roll flip "
    "channel_shuffle pixel_shuffle upsample_nearest2d upsample_bilinear2d index_select repeat".split()
)
_WITH_WEIGHTS = tuple(name for name in _LINEAR if name.startswith(("conv", "linear")))
_POOLS = {name: getattr(nn.functional, name) for n in "123" for name in (f"max_pool{n}d", f"adaptive_max_pool{n}d")}


def deep_lift(
    model: nn.Module, x: tuple[Tensor, ...], baseline: tuple[Tensor, ...], target: object, eps: float = 1e-10
) -> tuple[Tensor, ...]:
    """Multipliers of each input; times `x - baseline` they are the attributions."""
    from tests.oracles.gradient import select

    rows = len(x[0])
    both = tuple(torch.cat([v, b.expand_as(v)]).double() for v, b in zip(x, baseline, strict=True))
    program = torch.export.export(model.double().eval().requires_grad_(False), both).run_decompositions({})
    leaves = [v.requires_grad_() for v in both]
    output = _Rules(program.module(), rows, eps).run(*leaves)
    found = torch.autograd.grad(select(output, target)[:rows].sum(), leaves, allow_unused=True)
    return tuple(torch.zeros_like(v)[:rows] if g is None else g[:rows] for v, g in zip(leaves, found, strict=True))


class _Rules(fx.Interpreter):
    """Runs an exported program on a batch of x and reference."""

    def __init__(self, program: fx.GraphModule, rows: int, eps: float):
        super().__init__(program)
        self.rows, self.eps = rows, eps

    def call_function(self, target, args, kwargs):
        name = getattr(target, "__name__", "").split(".")[0]
        data = [v for v in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor) and v.requires_grad]
        if not data:
            return super().call_function(target, args, kwargs)
        if name in _ELEMENTWISE or (name in ("maximum", "minimum") and len(data) == 1):
            return self._elementwise(lambda v: target(*(v if a is data[0] else a for a in args), **kwargs), data[0])
        if name in _BILINEAR and len(data) == 2:
            return self._bilinear(target, *args)
        if name in ("div", "true_divide") and len(data) == 2:
            return self._bilinear(torch.mul, args[0], self._elementwise(torch.reciprocal, args[1]))
        if name in _POOLS:
            made = self._max_pool(_POOLS[name], *args, **kwargs)
            return (made, None) if name.startswith("adaptive") else made
        if name in ("softmax", "log_softmax"):
            # softmax = exp(x - log Σ exp x)
            total = self._elementwise(torch.exp, args[0]).sum(args[1], keepdim=True)
            log = args[0] - self._elementwise(torch.log, total)
            return log if name == "log_softmax" else self._elementwise(torch.exp, log)
        if name == "layer_norm":
            return self._layer_norm(*args)
        if name == "scaled_dot_product_attention" and len(args) == 3 and not kwargs:
            query, key, value = args
            scores = self._bilinear(torch.matmul, query, key.transpose(-2, -1)) / math.sqrt(query.shape[-1])
            weights = self.call_function(torch.ops.aten.softmax.int, (scores, -1), {})
            return self._bilinear(torch.matmul, weights, value)
        if name in ("view", "_unsafe_view"):
            return args[0].reshape(args[1])
        constant = (name in _BILINEAR or name in ("div", "true_divide")) and len(data) == 1 and data[0] is args[0]
        linear = name in _LINEAR and not (name in _WITH_WEIGHTS and len(data) > 1)
        if linear or constant or (name == "mul" and len(data) == 1):
            return super().call_function(target, args, kwargs)
        raise NotImplementedError(f"no DeepLIFT rule for {target}")

    def _halves(self, v: Tensor) -> tuple[Tensor, Tensor]:
        assert len(v) == 2 * self.rows, "the batch must be dimension 0"
        return v[: self.rows].detach(), v[self.rows :].detach()

    def _mean(self, v: Tensor) -> Tensor:
        a, b = self._halves(v)
        return torch.cat([a + b, a + b]) / 2

    def _elementwise(self, function, z: Tensor) -> Tensor:
        """Multiplier Δy/Δz, or the derivative at x where abs(Δz) < eps."""
        leaf = z.detach().requires_grad_()
        y = function(leaf)
        (slope,) = torch.autograd.grad(y.sum(), leaf)
        (z1, z0), (y1, y0) = self._halves(z), self._halves(y)
        m = torch.where((z1 - z0).abs() < self.eps, slope[: self.rows], (y1 - y0) / (z1 - z0))
        return _with(y, torch.cat([m, m]) * z)

    def _bilinear(self, function, a: Tensor, b: Tensor) -> Tensor:
        """Δ(ab) = Δa (b + b')/2 + (a + a')/2 Δb."""
        return _with(function(a, b), function(a, self._mean(b)) + function(self._mean(a), b))

    def _max_pool(self, pool, x: Tensor, *args, **kwargs) -> Tensor:
        """With c = max(o, o'): c - o' to the winner at x, o - c to the winner at the reference, each over its Δx."""
        y, index = pool(x, *args, **kwargs, return_indices=True)
        (x1, x0), (o1, o0), c = self._halves(x), self._halves(y), torch.maximum(*self._halves(y))
        change = (x1 - x0).flatten(2)
        parts = []
        for part, at, otherwise in ((c - o0, index[: self.rows], 1.0), (o1 - c, index[self.rows :], 0.0)):
            at = at.flatten(2)
            d = change.gather(2, at)
            m = torch.where(d.abs() < self.eps, torch.full_like(d, otherwise), part.flatten(2) / d)
            parts.append(m * x[: self.rows].flatten(2).gather(2, at))
        first = (parts[0] + parts[1]).reshape(y[: self.rows].shape)
        return _with(y, torch.cat([first, torch.zeros_like(first)]))

    def _layer_norm(self, x: Tensor, shape, weight=None, bias=None, eps: float = 1e-5, *_) -> Tensor:
        """d / √(mean d² + eps) with d = x - mean x."""
        dims = tuple(range(-len(shape), 0))
        d = x - x.mean(dims, keepdim=True)
        power = self._elementwise(torch.square, d).mean(dims, keepdim=True)
        y = self._bilinear(torch.mul, d, self._elementwise(torch.rsqrt, power + eps))
        y = y if weight is None else y * weight
        return y if bias is None else y + bias


def _with(value: Tensor, through: Tensor) -> Tensor:
    """`value`, whose derivative is that of `through`."""
    return value.detach() + (through - through.detach())
