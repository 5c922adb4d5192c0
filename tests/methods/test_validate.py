"""validate: every method on every backend against the float64 reference, and red when the engine is wrong."""

from __future__ import annotations

import pytest
import torch

import reluxfast as rx
from reluxfast.ops.backend import available_backends
from tests.zoo import CONSTRUCTS


@pytest.mark.parametrize("name", ["relu_module", "resnet18", "mobilenet_v3", "image_and_vector"])
def test_green(name):
    construct = CONSTRUCTS[name]
    x = tuple(torch.randn(2, *s) for s in construct.shapes)
    report = rx.validate(construct.model(), x if len(x) > 1 else x[0])
    assert report.ok, str(report)
    there = {name for name, reason in available_backends("cpu").items() if reason is None}
    assert {row.backend for row in report.rows} == there
    methods = {row.method for row in report.rows}
    assert methods >= {"gradient", "guided_backprop", "deconvnet", "integrated_gradients", "smooth_grad"}
    assert all(row.worst_relative_error <= row.tolerance for row in report.rows)
    text = str(report)
    assert all(method in text for method in methods) and "worst" in text


def test_layers_are_named():
    report = rx.validate(CONSTRUCTS["relu_module"].model(), torch.randn(2, 3, 8, 8), methods=["guided_backprop"])
    layers = {row.layer for row in report.rows if row.method == "guided_backprop"}
    assert {"act2", "act3"} <= {layer.split(":")[0] for layer in layers}  # act1 is fused into the pool after it


def test_tolerance_is_obeyed():
    model, x = CONSTRUCTS["relu_module"].model(), torch.randn(2, 3, 8, 8)
    assert not rx.validate(model, x, methods=["gradient"], rtol=1e-12).ok
    assert rx.validate(model, x, methods=["gradient"], rtol=1e-5).ok


def test_red_when_a_gate_is_wrong(monkeypatch, backend):
    """A gate that forgets 1[g > 0] on one backend must be found out there."""
    from reluxfast import ops

    original = ops.gate

    def broken(g, mask, skip=None, mode=1, period=None):
        wrong = ops.active_backend() == backend and g.dtype == torch.float32
        return original(g, mask, skip, 1 if wrong and mode == 3 else mode, period)

    def broken_(g, mask, skip=None, mode=1, period=None):
        return g.copy_(broken(g, mask, skip, mode, period))

    targets = [m for m in _modules() if getattr(m, "gate", None) is original]
    originals_ = ops.gate_
    for module in _modules():
        if getattr(module, "gate", None) is original:
            monkeypatch.setattr(module, "gate", broken)
        if getattr(module, "gate_", None) is originals_:
            monkeypatch.setattr(module, "gate_", broken_)
    assert targets
    report = rx.validate(CONSTRUCTS["mlp"].model(), torch.randn(2, 10), methods=["gradient", "guided_backprop"])
    bad = {(row.method, row.backend) for row in report.rows if not row.ok}
    assert bad == {("guided_backprop", backend)}, str(report)


def _modules():
    import sys

    return [m for name, m in sys.modules.items() if name.startswith("reluxfast") and m is not None]


def test_wrong_method():
    with pytest.raises(rx.InvalidInput, match="methods"):
        rx.validate(CONSTRUCTS["mlp"].model(), torch.randn(2, 10), methods=["saliency"])
