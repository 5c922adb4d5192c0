"""What cannot be explained rightly is refused, with the operation, the module path and the source line."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import reluxfast as rx
from tests.zoo import REFUSED


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    refused = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which one model here is made with
        model = refused.build()
    with pytest.raises(rx.UnsupportedNode) as raised:
        rx.gradient(model, torch.randn(2, *refused.shape), target=0)
    error, text = raised.value, str(raised.value)
    assert isinstance(error, ValueError) and isinstance(error, rx.ReluxfastError)
    assert refused.says in text
    assert refused.op in error.op and error.op in text
    if refused.module_path is not None:
        assert error.module_path == refused.module_path and f"'{refused.module_path}'" in text
    if refused.line:
        assert refused.line in error.source and error.source in text
        assert ".py" in error.source and any(part.isdigit() for part in error.source.replace(":", " ").split())


def test_refused_for_every_method_and_leaves_the_model_alone():
    refused = REFUSED["WrongImageSize"]
    model, x = refused.build(), torch.randn(1, *refused.shape)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    for method in rx.methods("relevance"):
        options = {"layer": "inner.conv"} if method.endswith("grad_cam") else {}
        with pytest.raises(rx.UnsupportedNode, match="batch"):
            rx.attribute(model, x, target=0, method=method, **options)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_right_image_size_is_explained():
    """The very model that is refused at 56 px is right at the size it was built for."""
    refused = REFUSED["WrongImageSize"]
    model, x = refused.build(), torch.randn(2, 3, 28, 28, requires_grad=True)
    (g,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    error = (rx.gradient(model, x.detach(), target=1).values - g).abs().max() / g.abs().max()
    assert error < 1e-5  # float32 on both sides


def test_capture_reports_the_first_call_of_a_broken_module():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 4), REFUSED["AlwaysDropout"].build()

        def forward(self, x):
            return self.second(torch.relu(self.first(x)))

    with pytest.raises(rx.UnsupportedNode) as raised:
        rx.gradient(Twice().eval(), torch.randn(2, 4), target=0)
    assert raised.value.module_path == "second.inner"


def test_own_derivatives_work_as_before_outside_of_capture():
    """Capture looks at torch.autograd.Function.apply only while it traces."""
    from tests.zoo.refused import _Reversed

    with pytest.raises(rx.UnsupportedNode):
        rx.gradient(REFUSED["OwnDerivative"].build(), torch.randn(2, 6), target=0)
    x = torch.randn(3, requires_grad=True)
    (g,) = torch.autograd.grad(_Reversed.apply(x).sum(), x)
    assert torch.equal(g, -torch.ones(3))


def test_nothing_is_printed(capfd):
    """torch.export itself prints the graph so far."""

    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(rx.UnsupportedNode, match="control flow"):
        rx.gradient(Branch(), torch.randn(3, 6), 1)
    assert capfd.readouterr() == ("", "")
