"""pytorch-grad-cam: maps scaled to 0..1 at the size of the image, computed on the host from the layer's tensors."""

from __future__ import annotations

import importlib
from functools import cache
from types import SimpleNamespace

import torch
from torch import nn

from reluxfast.benchmarks.maps.problem import MapProblem
from reluxfast.benchmarks.problem import Prepared, Unavailable
from reluxfast.benchmarks.torchvision_operators import operators_of_torchvision


def takes(problem: MapProblem) -> bool:
    """Its arrays are float32."""
    return problem.dtype == torch.float32


def prepare(problem: MapProblem, channels_last: bool = False) -> Prepared:
    """On a copy of the model, whose gradients it fills. Channels-last weights are frozen besides, but for one bias."""
    library = _library()
    if problem.method != "grad_cam":
        raise Unavailable(f"pytorch-grad-cam does not compute {problem.method}")
    if not takes(problem):
        raise Unavailable(f"pytorch-grad-cam computes in float32, not in {problem.axes['dtype']}")
    model, x = problem.channels_last() if channels_last else problem.own_copy()
    note = ""
    if channels_last:
        # Its backward pass has to reach the layer, and ends there when no weight below wants a gradient.
        last_bias(model, problem.layer).requires_grad_(True)
        note = "weights below the layer frozen"
    cam = library.cam.GradCAM(model, [model.get_submodule(problem.layer)])
    targets = [library.targets.ClassifierOutputTarget(t) for t in problem.target.tolist()]
    return Prepared(lambda: torch.from_numpy(cam(x, targets)), "grad_cam_scaled", note)


def last_bias(model: nn.Module, layer: str) -> nn.Parameter:
    """The last bias that the output of a layer depends on, in a model whose modules are called as they are listed."""
    found = None
    for name, module in model.named_modules():
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            found = bias
        if name == layer:
            inside = [m.bias for m in module.modules() if isinstance(getattr(m, "bias", None), nn.Parameter)]
            found = inside[-1] if inside else found
            break
    if found is None:
        raise Unavailable(f"no parameter lies below {layer}")
    return found


@cache
def _library() -> SimpleNamespace:
    """Its modules; Unavailable without them."""
    try:
        operators_of_torchvision()
        cam = importlib.import_module("pytorch_grad_cam")
        targets = importlib.import_module("pytorch_grad_cam.utils.model_targets")
    except ImportError as error:
        install = "pip install 'reluxfast[bench]'; pip install --no-deps grad-cam torchvision ttach"
        raise Unavailable(f"{error}; {install}") from error
    return SimpleNamespace(cam=cam, targets=targets)
