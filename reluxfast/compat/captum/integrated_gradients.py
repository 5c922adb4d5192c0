"""IntegratedGradients and LayerIntegratedGradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from reluxfast.compat.captum.bases import Explains, GradientAttribution, LayerAttribution, exposed
from reluxfast.compat.captum.call import Call, given_baselines
from reluxfast.compat.captum.errors import Refused
from reluxfast.compat.captum.layers import check_layers, layers_of, refuse_history, values_at
from reluxfast.methods.path import path_gradients
from reluxfast.methods.run import Run

METHODS = ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gausslegendre")


def quadrature(method: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in [0, 1] and their weights.

    The weights of "riemann_trapezoid" sum to 1 - 1 / n, as Captum's do.

    Raises:
        AssertionError: no such method, or too few points.
    """
    if method not in METHODS:
        raise Refused("method", f"must be one of {', '.join(METHODS)}", repr(method))
    fewest = 1 if method == "gausslegendre" else 2
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < fewest:
        raise Refused("n_steps", f"must be an int of at least {fewest} for {method}", n)
    if method == "gausslegendre":
        nodes, weights = np.polynomial.legendre.leggauss(n)
        return (nodes + 1) / 2, weights / 2
    k, weights = np.arange(n), np.full(n, 1 / n)
    if method == "riemann_trapezoid":
        weights[[0, -1]] /= 2
        return k / (n - 1), weights
    return (k + {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}[method]) / n, weights


class IntegratedGradients(Explains, GradientAttribution):
    """Integrated gradients along the straight path from baselines.

    Args:
        forward_func: a module, or any function of tensors (explained by autograd).
        multiply_by_inputs: False: the mean gradient along the path alone.
    """

    def __init__(self, forward_func: Any, multiply_by_inputs: bool = True) -> None:
        GradientAttribution.__init__(self, forward_func)
        self._multiply_by_inputs = multiply_by_inputs

    @property
    def multiplies_by_inputs(self) -> bool:
        return self._multiply_by_inputs

    def has_convergence_delta(self) -> bool:
        return True

    @exposed
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """Values like the inputs, detached (float32 for half types); with `return_convergence_delta` also (N,).

        Args:
            baselines: None (zeros), a number, a Tensor (1, ...) or like the input; a tuple of these for several.
            n_steps: number of points.
            method: "gausslegendre", "riemann_left", "riemann_right", "riemann_middle" or "riemann_trapezoid".
            internal_batch_size: rows of one forward pass at most, but at least one step; values do not depend on it.
        """
        call = Call.of(inputs, target, additional_forward_args)
        bases = given_baselines(baselines, call.inputs)
        nodes, weights = quadrature(method, n_steps)
        call.refuse_integers()
        ends, bases_wide = ([_wide(v) for v in tensors] for tensors in (call.inputs, bases))
        differences = [x.detach() - b for x, b in zip(ends, bases_wide, strict=True)]
        gradients = self._forward.path_gradients(call)
        at_once = _steps_at_once(internal_batch_size, call.rows)
        means = path_gradients(gradients, bases_wide, differences, nodes, weights, at_once)
        values = [d * m if self._multiply_by_inputs else m for d, m in zip(differences, means, strict=True)]
        values = tuple(v.to(x.dtype).contiguous() for v, x in zip(values, ends, strict=True))
        if not return_convergence_delta:
            return call.packed(values)
        delta = self.compute_convergence_delta(values, bases, call.inputs, target, additional_forward_args)
        return call.packed(values), delta


class LayerIntegratedGradients(Explains, LayerAttribution, GradientAttribution):
    """Integrated gradients of a layer's value, from its value at the baselines to that at the inputs.

    Only what lies behind the layer is evaluated along the path.

    Args:
        forward_func: a module.
        layer: one of its modules, or a list of them, none of which depends on another alone.
        device_ids: accepted; the devices are those of the inputs.
        multiply_by_inputs: False: the mean gradient along the path alone.
    """

    def __init__(
        self,
        forward_func: nn.Module,
        layer: nn.Module | list[nn.Module],
        device_ids: list[int] | None = None,
        multiply_by_inputs: bool = True,
    ) -> None:
        LayerAttribution.__init__(self, forward_func, layer, device_ids)
        GradientAttribution.__init__(self, forward_func)
        self._multiply_by_inputs = multiply_by_inputs

    @property
    def multiplies_by_inputs(self) -> bool:
        return self._multiply_by_inputs

    def has_convergence_delta(self) -> bool:
        return True

    @exposed
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Values like the layer's, detached; a list for a list of layers; with `return_convergence_delta` also (N,).

        Arguments are those of `IntegratedGradients.attribute`; `grad_kwargs` as for
        `LayerGradCam`.
        """
        call = Call.of(inputs, target, additional_forward_args)
        bases = given_baselines(baselines, call.inputs)
        nodes, weights = quadrature(method, n_steps)
        check_layers(self._forward, self.layer)
        refuse_history(grad_kwargs)
        run = self._forward.run(call, integers=True)
        layers = layers_of(run, self.layer, attribute_to_layer_input)
        dtype = run.engine.dtype
        ends = values_at(run, layers.names, dtype)
        starts = values_at(self._forward.run(call.at(bases), integers=True), layers.names, dtype)
        behind = _behind(run, layers.names)
        order = behind.engine.graph.explained
        differences = [ends[name] - starts[name] for name in order]
        at_once = _steps_at_once(internal_batch_size, call.rows)

        def gradients(points: list[torch.Tensor]) -> list[torch.Tensor]:
            return behind.input_signals(behind.walk("gradient", points))

        means = path_gradients(gradients, [starts[n] for n in order], differences, nodes, weights, at_once)
        values = {
            name: d * m if self._multiply_by_inputs else m for name, d, m in zip(order, differences, means, strict=True)
        }
        found = layers.packed(values)
        if not return_convergence_delta:
            return found
        parts = tuple(values[name] for name in order)
        return found, self.compute_convergence_delta(parts, bases, call.inputs, target, additional_forward_args)


def _behind(run: Run, names: tuple[str, ...]) -> Run:
    """What lies behind some values; inputs that are still read on other ways are its context."""
    engine = run.engine.starting_at(*names)
    own = dict(zip(run.engine.graph.inputs, run.arguments(), strict=True))
    context = [own[name] for name in engine.graph.inputs if name in engine.graph.context]
    # Placeholders: a walk is given the points of the path.
    rows = [run.inputs[0].new_empty(run.rows, 0) for _ in names]
    return replace(run, engine=engine, inputs=rows, context=context)


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _steps_at_once(internal_batch_size: int | None, rows: int) -> int | None:
    if internal_batch_size is None:
        return None
    if internal_batch_size < 1:
        raise Refused("internal_batch_size", "must be a positive int or None", internal_batch_size)
    return max(1, internal_batch_size // max(rows, 1))
