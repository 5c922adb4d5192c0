"""The benchmark networks are the usual ones, and their weights behave like trained ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import models
from benchmarks.cases import CASES, build_model, make_problem

# Counted by hand from the papers' tables: the sums every implementation of these networks reports.
PARAMETERS = {"vgg16": 138_357_544, "resnet18": 11_689_512, "resnet50": 25_557_032}
# Multiply-adds of one 224x224 image, 15.47 G and 4.09 G (BN folded), to the digits the design states (FLOP = 2 MAC).
GFLOP = {"vgg16": 30.94, "resnet50": 8.18}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count(name):
    with torch.device("meta"):
        model = getattr(models, name)()
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", GFLOP)
def test_multiply_adds(name):
    with torch.device("meta"):
        model = getattr(models, name)().eval()
        x = torch.empty(1, 3, 224, 224)
    count = 0

    def add(layer, _inputs, output):
        nonlocal count
        count += 2 * output.numel() * layer.weight[0].numel()

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(add)
    assert model(x).shape == (1, 1000)
    assert count / 1e9 == pytest.approx(GFLOP[name], abs=0.005)


def test_state_dict_keys_are_the_usual_ones():
    with torch.device("meta"):
        vgg, resnet = models.vgg16().state_dict(), models.resnet50().state_dict()
    assert vgg["features.28.weight"].shape == (512, 512, 3, 3)
    assert vgg["classifier.6.weight"].shape == (1000, 4096)
    assert resnet["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert resnet["layer4.2.conv3.weight"].shape == (2048, 512, 1, 1)
    assert "layer4.2.bn3.running_var" in resnet and resnet["fc.weight"].shape == (1000, 2048)


@pytest.mark.parametrize("name", CASES)
def test_every_layer_runs_once(name):
    case = CASES[name]
    model = build_model(case, case.tiny_size, tiny=True)
    calls = {layer: 0 for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))}

    def count(layer, _inputs, _output):
        calls[layer] += 1

    for layer in calls:
        layer.register_forward_hook(count)
    model(models.images(1, case.channels, case.tiny_size))
    assert set(calls.values()) == {1}


@pytest.mark.parametrize("name", CASES)
def test_logits_have_unit_spread_on_the_calibration_images(name):
    case = CASES[name]
    calibration = models.images(16, case.channels, case.tiny_size, seed=5)
    with torch.device("meta"):
        model = case.build(**case.tiny_options)
    model = models.trained_like_(model.to_empty(device="cpu"), calibration)
    with torch.no_grad():
        # the same sums as in the calibration, with weights scaled before instead of after: float32 rounding
        assert model(calibration).std() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_trained_like(name):
    problem = make_problem(CASES[name], batch=4, tiny=True)
    alive = []
    for layer in problem.model.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(
                lambda _layer, _inputs, output: alive.append((output > 0).float().mean().item())
            )
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean.abs().max() > 0 and layer.weight.std() > 0 and layer.bias.std() > 0
            assert layer.running_var.min() > 0
    with torch.no_grad():
        logits = problem.model(problem.x)
    assert not problem.model.training
    # calibrated to 1 on other images, and few of them: within a factor of four
    assert 0.25 < logits.std() < 4
    assert alive and min(alive) > 0.1 and max(alive) < 0.95


@pytest.mark.parametrize("name", CASES)
def test_functional_twin_is_the_same_function_without_relu_modules(name):
    case = CASES[name]
    model, twin = (build_model(case, case.tiny_size, tiny=True, functional=flag) for flag in (False, True))
    x = models.images(2, case.channels, case.tiny_size)
    with torch.no_grad():
        assert torch.equal(model(x), twin(x))
    assert any(isinstance(layer, nn.ReLU) for layer in model.modules())
    assert not any(isinstance(layer, nn.ReLU) for layer in twin.modules())


def test_same_seed_same_problem_and_another_seed_another():
    first, again, other = (make_problem(CASES["digits"], 2, tiny=True, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.x, again.x) and not torch.equal(first.x, other.x)
    weights = [p.model.features[0].weight for p in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_images_are_standardised_at_any_size():
    for size in (8, 33, 224):
        x = models.images(2, 3, size)
        assert x.shape == (2, 3, size, size) and x.dtype == torch.float32
        assert abs(x.mean()) < 1e-4 and x.std() == pytest.approx(1.0, abs=1e-4)  # rounding of a float32 mean
