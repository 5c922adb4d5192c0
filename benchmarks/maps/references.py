"""The float64 reference of everything that a provider may claim to compute, and how close it has to come.

LRP has two references. On the small copy of a network it is the oracle of the tests, which walks explicit matrices row
by row and shares no code with the engine. Matrices of the network itself do not fit into memory: there, and where the
tests are not at hand, it is the engine's own `reference` backend, which tests hold against that oracle, Captum and
Zennit. All the rest is autograd (`float64`).
"""

from __future__ import annotations

import copy
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import reluxfast as rx
from reluxfast.benchmarks.maps import float64
from reluxfast.benchmarks.problem import Verdict
from reluxfast.composites import composite

if TYPE_CHECKING:
    from reluxfast.benchmarks.maps.problem import MapProblem

LRP_COMPOSITES = ("epsilon", "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_box")


def gauss_legendre(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on 0..1: Captum's default, and what the engine is asked for."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def right_riemann(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on 0..1: what Zennit has."""
    return np.arange(1, steps + 1) / steps, np.full(steps, 1 / steps)


QUADRATURES = {"integrated_gradients": gauss_legendre, "integrated_gradients_right_riemann": right_riemann}


def gradient_points(method: str, steps: int) -> list[float]:
    """Multiples of the images where a method, or what a peer has of that name, reads the gradient."""
    if method == "grad_cam":  # the gradient of a late layer, and of its map
        return []
    if method == "integrated_gradients":
        return [float(t) for rule in QUADRATURES.values() for t in rule(steps)[0]]
    return [1.0]


def reference(problem: MapProblem, computes: str) -> Tensor:
    """What `computes` is for this problem, float64, on the problem's device."""
    model, x, target = problem.model, problem.x, problem.target
    if computes in float64.METHODS:
        return float64.attribution(model, x, target, computes)
    if computes in LRP_COMPOSITES:
        return by_matrices(problem, computes) if problem.tiny and _oracle() else by_engine(problem, computes)
    if computes in QUADRATURES:
        return float64.integrated_gradients(model, x, target, *QUADRATURES[computes](problem.steps))
    if computes in ("grad_cam", "grad_cam_scaled"):
        maps = float64.grad_cam(model, x, target, problem.layer)
        return maps if computes == "grad_cam" else scaled(maps, tuple(x.shape[2:]))
    raise ValueError(f"computes: one of {', '.join(GATES)} expected, got {computes!r}")


def scaled(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps (N, 1, h, w) in the form of pytorch-grad-cam, (N, *size): scaled to 0..1, enlarged, and scaled once more."""
    maps = F.interpolate(_between_0_and_1(maps), size=size, mode="bilinear", align_corners=False)
    return _between_0_and_1(maps)[:, 0]


def _between_0_and_1(maps: Tensor) -> Tensor:
    maps = maps - maps.amin((2, 3), keepdim=True)
    return maps / (1e-7 + maps.amax((2, 3), keepdim=True))


def _bounds(problem: MapProblem, name: str) -> dict[str, Tensor]:
    return {k: v.double() for k, v in problem.bounds().items()} if name == "epsilon_gamma_box" else {}


def _oracle():
    root = Path(rx.__file__).parents[1]
    if (root / "tests" / "oracles").is_dir() and str(root) not in sys.path:
        sys.path.append(str(root))  # a console script in a checkout does not look there
    try:
        from tests.oracles import lrp
    except ImportError:  # an installed package comes without the tests
        return None
    return lrp


def by_matrices(problem: MapProblem, name: str) -> Tensor:
    """Relevance (N, C, H, W) by the tests' oracle, float64, computed on the CPU; for small networks."""
    oracle = _oracle()
    chosen = oracle.composite(name, **{k: v.cpu() for k, v in _bounds(problem, name).items()})
    model, x = copy.deepcopy(problem.model).cpu().double(), problem.x.cpu().double()
    return oracle.explain(model, (x,), chosen, problem.target.cpu()).values[0].to(problem.device)


def by_engine(problem: MapProblem, name: str) -> Tensor:
    """Relevance (N, C, H, W) by the engine in plain float64 torch calls. Rows go one at a time to bound the memory."""
    n = float64.rows_at_once(problem.model)
    chosen = composite(name, **_bounds(problem, name))
    x = problem.x.double()
    explainer = rx.Explainer(copy.deepcopy(problem.model).double(), x[:n], backend="reference")
    rows = zip(x.split(n), problem.target.split(n), strict=True)
    return torch.cat([explainer.attribute(row, label, "lrp", composite=chosen).values for row, label in rows])


# Largest relative L2 distance from float64 that passes in float32: on a whole network, on its small copy.
#
# On small copies everybody who computes the right thing is within rounding: at most 1.3e-6 seen, of LRP's rules 5.5e-4
# (epsilon, Captum), 4.9e-5, 5.0e-5 and 8.5e-5, of Grad-CAM 4.7e-5 (few channels and many layers amplify rounding).
# On whole networks a few of millions of units lie within rounding of zero and fall on the other side, and all that
# passes there changes. That shows most where signs of both kinds cancel: plain float32 autograd is itself up to 2.4e-2
# away on ResNet-50 (gradient), 1.7e-2 (integrated gradients), the engine 1.6e-2 (epsilon), Zennit 7.3e-3, Captum
# 6.5e-3. Rules that keep one sign: at most 6.2e-4 (guided backpropagation), 1.6e-6 (deconvnet), 1.0e-4 (LRP). No kink
# lies between Grad-CAM's map and the logit of a ResNet: at most 3.8e-5.
# What is wrong is further away: another of these methods 0.46 (digits) or more, another composite 0.4, another rule
# for the linear layers alone 0.01, another number of steps or quadrature 0.05 (digits) to 1.3, maps scaled once 0.008.
GATES: dict[str, tuple[float, float]] = {
    "gradient": (1e-1, 1e-5),
    "guided_backprop": (2e-3, 1e-5),
    "deconvnet": (2e-3, 1e-5),
    "epsilon": (1e-1, 5e-3),
    "epsilon_plus": (2e-3, 3e-4),
    "epsilon_alpha2_beta1": (2e-3, 5e-4),
    "epsilon_gamma_box": (2e-3, 1e-3),
    "grad_cam": (1e-3, 5e-4),
    "grad_cam_scaled": (1e-3, 5e-4),
    "integrated_gradients": (1e-1, 1e-5),
    "integrated_gradients_right_riemann": (1e-1, 1e-5),
}
# For bfloat16, on networks of either size: the engine, which rounds only its result, is at most 2.0e-2 away. Peers that
# compute in it throughout let so many units change sides that maps of both signs are up to 0.41 away on VGG-16 and
# ResNet-18 (seen: gradient 0.37, epsilon 0.41, integrated gradients 0.30), and on ResNet-50 1.2, which is no map any
# more; guided backpropagation 0.07, deconvnet 0.08, other rules of LRP 0.06, Grad-CAM 0.02.
BFLOAT16_GATES = {
    "gradient": 0.7,
    "guided_backprop": 0.2,
    "deconvnet": 0.2,
    "epsilon": 0.7,
    "epsilon_plus": 0.2,
    "epsilon_alpha2_beta1": 0.2,
    "epsilon_gamma_box": 0.2,
    "grad_cam": 0.2,
    "grad_cam_scaled": 0.2,
    "integrated_gradients": 0.7,
    "integrated_gradients_right_riemann": 0.7,
}
# For float64, where no unit is within rounding of its kink: at most 2e-13 seen.
FLOAT64_GATE = 1e-9


def gate(problem: MapProblem, computes: str) -> float:
    """Largest distance that passes."""
    if problem.dtype == torch.float64:
        return FLOAT64_GATE
    if problem.dtype == torch.bfloat16:
        return BFLOAT16_GATES[computes]
    return GATES[computes][problem.tiny]


def verdict(values: Tensor, expected: Tensor, gate: float) -> Verdict:
    """Relative L2 distance over all rows together, and whether it passes."""
    if misshapen := Verdict.misshapen(values, expected, gate, "relative L2"):
        return misshapen
    values = values.detach().to(expected)
    error = float64.relative_l2(values, expected)
    cosine = float64.cosine(values, expected)
    reason = None if error <= gate else f"relative error {error:.1e} above {gate:.0e}"
    return Verdict(error, gate, "relative L2", cosine if math.isfinite(cosine) else None, reason)
