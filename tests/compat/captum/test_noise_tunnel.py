"""NoiseTunnel beside Captum's: the same noise, ours around theirs and theirs around ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reluxfast.compat import captum as ours
from reluxfast.compat.captum.noise_tunnel import TYPES
from tests.compat.captum.models import case
from tests.compat.captum.parity import agree, attr, quietly

OPTIONS = {"nt_samples": 5, "nt_samples_batch_size": 2, "stdevs": 0.2, "target": [1, 0, 3]}


def found(tunnel, method, x, **options):
    torch.manual_seed(3)
    np.random.seed(3)
    return quietly(lambda: tunnel(method).attribute(x, **OPTIONS | options))


@pytest.mark.parametrize("nt_type", TYPES)
@pytest.mark.parametrize("name", ["Saliency", "InputXGradient", "GuidedBackprop", "IntegratedGradients"])
def test_the_same_noise(name, nt_type):
    model, (x,) = case("cnn", dtype=torch.float64)
    expected = found(attr.NoiseTunnel, getattr(attr, name)(model), x, nt_type=nt_type)
    for tunnel, kind in ((ours, ours), (attr, ours), (ours, attr)):
        value = found(tunnel.NoiseTunnel, getattr(kind, name)(model), x, nt_type=nt_type)
        # Captum's integrated gradients round their weights to float32.
        agree(value.detach(), expected.detach(), tolerance=1e-6 if name == "IntegratedGradients" else None)


def test_deltas_baselines_and_further_arguments():
    model, x = case("two_inputs")
    options = {
        "return_convergence_delta": True,
        "n_steps": 4,
        "baselines": (x[0].flip(0), 0.5),
        "additional_forward_args": (torch.tensor([1.0, 2.0, 3.0]), None, 2.0),
        "stdevs": (0.1, 0.3),
    }
    values, delta = found(ours.NoiseTunnel, ours.IntegratedGradients(model), x, **options)
    expected, their_delta = found(attr.NoiseTunnel, attr.IntegratedGradients(model), x, **options)
    agree(values, expected)
    assert delta.shape == (15,)
    assert (delta - their_delta).abs().max() <= 1e-5 * their_delta.abs().max().clamp(min=1)


def test_drawn_baselines():
    model, (x,) = case("mlp")
    options = {
        "baselines": torch.randn(4, 7),
        "draw_baseline_from_distrib": True,
        "n_steps": 4,
        "nt_samples_batch_size": None,
    }
    value = found(ours.NoiseTunnel, ours.IntegratedGradients(model), x, **options)
    agree(value, found(attr.NoiseTunnel, attr.IntegratedGradients(model), x, **options))


@pytest.mark.parametrize("target", [2, torch.tensor([0, 1, 2]), (1,)], ids=str)
def test_targets(target):
    model, (x,) = case("mlp")
    value = found(ours.NoiseTunnel, ours.Saliency(model), x, target=target)
    agree(value, found(attr.NoiseTunnel, attr.Saliency(model), x, target=target))


def test_what_is_refused():
    model, (x,) = case("mlp")
    for options in ({"nt_type": "median"}, {"stdevs": 1}, {"stdevs": (0.1, 0.2)}):
        for tunnel in (ours, attr):
            with pytest.raises(AssertionError):
                found(tunnel.NoiseTunnel, tunnel.Saliency(model), x, **options)
    with pytest.raises(AssertionError, match="nt_samples"):
        found(ours.NoiseTunnel, ours.Saliency(model), x, nt_samples=0)


def test_what_other_code_relies_on():
    model, _ = case("mlp")
    tunnel = ours.NoiseTunnel(ours.IntegratedGradients(model))
    assert isinstance(tunnel, attr.Attribution) and tunnel.has_convergence_delta() and tunnel.multiplies_by_inputs
    assert not ours.NoiseTunnel(ours.Saliency(model)).has_convergence_delta()
