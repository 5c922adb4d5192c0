"""The benchmark networks are the usual ones, and their weights behave like trained ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reluxfast.benchmarks.maps import networks, weights
from reluxfast.benchmarks.maps.networks import NETWORKS, build_model

# Counted by hand from the papers' tables: the sums every implementation of these networks reports.
PARAMETERS = {"vgg16": 138_357_544, "resnet18": 11_689_512, "resnet50": 25_557_032}
# Multiply-adds of one 224x224 image, 15.47 G and 4.09 G (BN folded), to the digits the design states (FLOP = 2 MAC).
GFLOP = {"vgg16": 30.94, "resnet50": 8.18}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count(name):
    with torch.device("meta"):
        model = NETWORKS[name].build()
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", GFLOP)
def test_multiply_adds(name):
    with torch.device("meta"):
        model = NETWORKS[name].build().eval()
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
        vgg, resnet = networks.vgg16().state_dict(), networks.resnet50().state_dict()
    assert vgg["features.28.weight"].shape == (512, 512, 3, 3)
    assert vgg["classifier.6.weight"].shape == (1000, 4096)
    assert resnet["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert resnet["layer4.2.conv3.weight"].shape == (2048, 512, 1, 1)
    assert "layer4.2.bn3.running_var" in resnet and resnet["fc.weight"].shape == (1000, 2048)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_runs_once(name):
    network = NETWORKS[name]
    model = build_model(network, network.tiny_size, tiny=True)
    calls = {layer: 0 for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))}

    def count(layer, _inputs, _output):
        calls[layer] += 1

    for layer in calls:
        layer.register_forward_hook(count)
    model(weights.images(1, network.channels, network.tiny_size))
    assert set(calls.values()) == {1}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_layer_of_grad_cam_is_the_last_rectified_map(name):
    network = NETWORKS[name]
    model = build_model(network, network.tiny_size, tiny=True)
    after, seen = [], {}

    def note(layer, _inputs, output):
        after.append(layer)
        seen[layer] = output.detach().clone()

    for layer in model.modules():
        layer.register_forward_hook(note)
    model(weights.images(1, network.channels, network.tiny_size))
    layer = model.get_submodule(network.layer)
    a = seen[layer]
    assert a.dim() == 4 and a.shape[1] > 1 and (a >= 0).all() and (a > 0).any()
    later = after[after.index(layer) + 1 :]
    assert later and not any(isinstance(m, (nn.Conv2d, nn.BatchNorm2d)) for m in later)


@pytest.mark.parametrize("depth", [1, 5])
def test_depth_of_the_stack(depth):
    network = NETWORKS["stack"]
    model = build_model(network, network.tiny_size, tiny=True, depth=depth)
    assert [type(m).__name__ for m in model.features] == ["Conv2d", "ReLU"] * depth
    assert {m.out_channels for m in model.features if isinstance(m, nn.Conv2d)} == {network.tiny_options["width"]}
    assert model(weights.images(2, 3, 16)).shape == (2, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_have_unit_spread_on_the_calibration_images(name):
    network = NETWORKS[name]
    calibration = weights.images(16, network.channels, network.tiny_size, seed=5)
    with torch.device("meta"):
        model = network.build(**network.tiny_options)
    model = weights.trained_like_(model.to_empty(device="cpu"), calibration)
    with torch.no_grad():
        # the same sums as in the calibration, with weights scaled before instead of after: float32 rounding
        assert model(calibration).std() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_like(name):
    network = NETWORKS[name]
    model = build_model(network, network.tiny_size, tiny=True)
    alive = []
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(
                lambda _layer, _inputs, output: alive.append((output > 0).float().mean().item())
            )
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean.abs().max() > 0 and layer.weight.std() > 0 and layer.bias.std() > 0
            assert layer.running_var.min() > 0
    with torch.no_grad():
        logits = model(weights.images(4, network.channels, network.tiny_size))
    assert not model.training
    # calibrated to 1 on other images, and few of them: within a factor of four
    assert 0.25 < logits.std() < 4
    assert alive and min(alive) > 0.1 and max(alive) < 0.95


@pytest.mark.parametrize("name", NETWORKS)
def test_functional_twin_is_the_same_function_without_relu_modules(name):
    network = NETWORKS[name]
    model, twin = (build_model(network, network.tiny_size, tiny=True, functional=flag) for flag in (False, True))
    x = weights.images(2, network.channels, network.tiny_size)
    with torch.no_grad():
        assert torch.equal(model(x), twin(x))
    assert any(isinstance(layer, nn.ReLU) for layer in model.modules())
    assert not any(isinstance(layer, nn.ReLU) for layer in twin.modules())


class _Add(nn.Module):
    calls = 0

    def forward(self, a, b):
        _Add.calls += 1
        return a + b


@pytest.mark.parametrize("name, blocks", [("resnet18", 8), ("resnet50", 16), ("vgg16", 0)])
def test_modules_may_add(name, blocks):
    model, x = build_model(NETWORKS[name], 32, tiny=True), weights.images(2, 3, 32)
    with torch.no_grad():
        expected = model(x)
        _Add.calls = 0
        assert networks.set_additions(model, _Add) == blocks
        assert torch.equal(model(x), expected) and _Add.calls == blocks


def test_eps_moved_into_the_variance_is_the_same_network():
    model, x = build_model(NETWORKS["resnet18"], 32, tiny=True), weights.images(2, 3, 32)
    with torch.no_grad():
        expected = model(x)
        weights.move_eps_into_variance_(model)
        # one more rounding of each variance
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(m.eps == 0 for m in norms)


def test_images_are_standardised_at_any_size():
    for size in (8, 33, 224):
        x = weights.images(2, 3, size)
        assert x.shape == (2, 3, size, size) and x.dtype == torch.float32
        assert abs(x.mean()) < 1e-4 and x.std() == pytest.approx(1.0, abs=1e-4)  # rounding of a float32 mean
