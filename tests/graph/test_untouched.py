"""An explanation reads the model: no parameter, flag, hook, gradient or attribute changes, and hooks count."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from tests.support import assert_close, assert_same_bits, assert_untouched, fingerprint
from tests.zoo import CONSTRUCTS, INPLACE_MODULES
from tests.zoo.registry import settle
from tests.zoo.spellings import ConvNet

OPTIONS = {"grad_cam": {"layer": "conv1"}, "guided_grad_cam": {"layer": "conv2"}}


def _net() -> nn.Module:
    return settle(ConvNet(INPLACE_MODULES), 0)


@pytest.mark.parametrize("method", rx.methods("relevance"))
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_nothing_changes(method, training):
    model = _net().train(training)
    model.bn.eval()  # a mixture of flags, as in fine-tuning
    model.conv2.weight.requires_grad_(False)
    x = torch.randn(2, 3, 8, 8)
    model.train(False)(x).sum().backward()
    model.train(training)
    model.bn.eval()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    x.requires_grad_()
    before, kept = fingerprint(model), x.detach().clone()
    for _ in range(2):
        result = rx.attribute(model, x, target=1, method=method, **OPTIONS.get(method, {}))
    assert_untouched(before, model)
    for name, p in model.named_parameters():
        assert (p.grad is None) == (name not in grads)
        if p.grad is not None:
            assert_same_bits(p.grad, grads[name], f"{name}.grad")
    assert x.grad is None and x.requires_grad
    assert_same_bits(x, kept, "x")
    assert not result.values.requires_grad and not result.output.requires_grad


def test_train_flag_is_explained_as_eval():
    construct = CONSTRUCTS["train_flag"]
    model = construct.model()
    assert model.training
    x = torch.randn(3, 9)
    explained = [rx.gradient(model, x, target=1) for _ in range(2)]
    expected = rx.gradient(construct.model().eval(), x, target=1)
    for result in explained:
        assert_same_bits(result.values, expected.values)
        assert_same_bits(result.output, expected.output)
    assert all(m.training for m in model.modules())


def test_a_train_step_after_an_explanation_is_the_same():
    """Dropout's random state and the running statistics are those of a run without an explanation in between."""
    outcomes = []
    for explain in (False, True):
        torch.manual_seed(7)
        model, x = CONSTRUCTS["train_flag"].model(), torch.randn(6, 9)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            if explain:
                rx.smooth_grad(model, x, target=0, n_samples=2)
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
        outcomes.append({k: v.clone() for k, v in model.state_dict().items()})
    for key, value in outcomes[0].items():
        assert_same_bits(outcomes[1][key], value, key)


def test_hook_that_changes_a_value_is_part_of_the_model():
    model, x = _net().double().eval(), torch.randn(2, 3, 8, 8).double()
    plain = rx.gradient(model, x, target=1)
    handle = model.conv2.register_forward_hook(lambda module, args, out: 3.0 * out)
    pre = model.fc2.register_forward_pre_hook(lambda module, args: (args[0] * 2.0,))
    leaf = x.clone().requires_grad_()
    out = model(leaf)
    (g,) = torch.autograd.grad(out[:, 1].sum(), leaf)
    hooked = rx.gradient(model, x, target=1)
    assert_close(hooked.values, g, 1e-12)
    assert_close(hooked.output, out.detach(), 1e-12)
    handle.remove()
    pre.remove()
    assert_same_bits(rx.gradient(model, x, target=1).values, plain.values)


def test_hook_that_only_looks_is_kept_and_not_fed_by_explanations():
    model, x = _net().eval(), torch.randn(2, 3, 8, 8)
    seen = []
    model.conv1.register_forward_hook(lambda module, args, out: seen.append(out))
    rx.gradient(model, x, target=1)
    captured = len(seen)
    for method in ("gradient", "guided_backprop", "input_x_gradient"):
        rx.attribute(model, x, target=1, method=method)
    assert len(seen) == captured, "the user's hook ran during an explanation"
    model(x)
    assert len(seen) == captured + 1 and type(seen[-1]) is torch.Tensor


def test_forward_hooks_of_autograd_do_not_run():
    model, x = _net().eval(), torch.randn(2, 3, 8, 8)
    calls = []
    model.conv2.register_full_backward_hook(lambda *a: calls.append(a))
    model.conv1.weight.register_hook(lambda g: calls.append(g))
    rx.gradient(model, x, target=1)
    assert not calls


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_grad_modes_of_the_caller(mode):
    model, x = _net().eval(), torch.randn(2, 3, 8, 8)
    expected = rx.guided_backprop(_net().eval(), x, target=1)
    with mode():
        result = rx.guided_backprop(model, x, target=1)
        assert torch.is_grad_enabled() == (mode is torch.enable_grad)
    assert_same_bits(result.values, expected.values)


def test_inference_tensors_are_taken():
    with torch.inference_mode():
        x = torch.randn(2, 5, 8)
    assert rx.gradient(CONSTRUCTS["scaled_dot_product"].model(), x, target=1).values.isfinite().all()
