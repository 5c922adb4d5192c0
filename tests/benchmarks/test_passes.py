"""Work is counted to the last product, and LRP keeps to its number of passes."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import astuple, replace
from functools import cache, partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reluxfast.benchmarks import passes
from reluxfast.benchmarks.case import Conditions
from reluxfast.benchmarks.maps import networks
from reluxfast.benchmarks.maps.networks import NETWORKS, Network
from reluxfast.benchmarks.maps.problem import LRP_COMPOSITES, MapProblem, make
from reluxfast.benchmarks.maps.providers import PROVIDERS
from reluxfast.benchmarks.work import CountedWork


def tiny(network: str, method: str) -> MapProblem:
    axes = {"batch": 2, "size": NETWORKS[network].size, "dtype": "float32"}
    return make(axes, Conditions(tiny=True), network=NETWORKS[network], method=method)


def flop(call) -> int:
    with CountedWork() as work:
        call()
    return work.flop


def by_hand(model: nn.Module, x: Tensor) -> int:
    """Two for each output element and each weight that reaches it, layer by layer."""
    total = 0

    def add(layer, _inputs, output):
        nonlocal total
        total += 2 * output.numel() * layer.weight[0].numel()

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(add)
    with torch.no_grad():
        model(x)
    return total


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("name", ["vgg16", "resnet50", "resnet18", "digits"])
def test_a_forward_pass_is_the_sum_over_its_layers(name, mode):
    p = tiny(name, "gradient")
    with mode():
        counted = flop(lambda: p.model(p.x))
    assert counted == by_hand(p.model, p.x) > 0
    assert passes.forward_flop(p) == counted


@pytest.mark.parametrize("name", ["digits", "resnet50"])
def test_an_input_gradient_by_autograd_is_two_passes(name):
    p = tiny(name, "gradient")
    assert flop(PROVIDERS["autograd"](p).call) == 2 * passes.forward_flop(p)


def test_weight_gradients_count_too():
    p = tiny("digits", "gradient")
    x = p.x.clone().requires_grad_(True)
    assert flop(lambda: p.model(x).sum().backward()) == 3 * passes.forward_flop(p)


W = torch.ones(4, 3, 2, 5)
FORMS = {
    # weight elements per element of the larger side, which is the output (N, 4, 6, 4) or, transposed, the input
    "conv": (lambda: F.conv2d(torch.ones(2, 3, 7, 8), W), 2 * (2 * 4 * 6 * 4) * 30),
    "grouped": (lambda: F.conv2d(torch.ones(2, 6, 7, 8), W, groups=2), 2 * (2 * 4 * 6 * 4) * 30),
    "transposed": (lambda: F.conv_transpose2d(torch.ones(2, 4, 6, 4), W), 2 * (2 * 4 * 6 * 4) * 30),
    "strided": (lambda: F.conv2d(torch.ones(2, 3, 8, 9), W, stride=2), 2 * (2 * 4 * 4 * 3) * 30),
    "linear": (lambda: F.linear(torch.ones(7, 3, 5), torch.ones(2, 5), torch.ones(2)), 2 * 7 * 3 * 5 * 2),
    "matmul": (lambda: torch.ones(3, 7, 5) @ torch.ones(3, 5, 2), 2 * 3 * 7 * 5 * 2),
    "einsum": (lambda: torch.einsum("ni,oi->no", torch.ones(7, 5), torch.ones(2, 5)), 2 * 7 * 5 * 2),
    "addmm": (lambda: torch.addmm(torch.ones(2), torch.ones(7, 5), torch.ones(5, 2)), 2 * 7 * 5 * 2),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_every_form_of_product(form, mode):
    call, expected = FORMS[form]
    with mode():
        assert flop(call) == expected


def test_prepacked_calls_of_onednn():
    """What the engine asks for on a CPU, groups included."""
    x, w = torch.ones(2, 6, 7, 8), torch.ones(4, 3, 2, 5)
    geometry = ([0, 0], [1, 1], [1, 1], 2)
    packed = torch.ops.mkldnn._reorder_convolution_weight(w, *geometry, list(x.shape))
    call = partial(torch.ops.mkldnn._convolution_pointwise, x, packed, None, *geometry, "none", [], "")
    assert flop(call) == 2 * (2 * 4 * 6 * 4) * 30
    packed = torch.ops.mkldnn._reorder_linear_weight(torch.ones(2, 5), 4)
    call = partial(torch.ops.mkldnn._linear_pointwise, torch.ones(7, 5), packed, None, "none", [], "")
    assert flop(call) == 2 * 7 * 5 * 2


def test_nothing_that_looks_like_a_product_goes_uncounted():
    with pytest.raises(RuntimeError, match=r"aten::mv: this operation looks like a product"):
        flop(lambda: torch.ones(3, 4) @ torch.ones(4))
    x = torch.ones(1, 2, 4, 4)
    assert flop(lambda: F.interpolate(x, scale_factor=2, mode="bilinear")) == 0


class VGGLike(networks.VGG16):
    """VGG-16's convolutions at full width; a small head, as at 224 pixels linear layers are 1 % of the work."""

    def __init__(self, functional: bool = False):
        super().__init__(width=64, functional=functional)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))


LIKE = {
    "vgg": Network("vgg", VGGLike, 3, 64, 64, {}, "features.29"),
    "resnet": Network("resnet", partial(networks.resnet50, n_classes=10), 3, 64, 64, {}, "layer4"),
}
ENGINE = ("reluxfast cpp", "reluxfast reference")
# Forward passes. Epsilon needs one pass each way; z+ and gamma a second denominator; alpha-beta a second numerator
# besides. Before a residual addition gamma needs a second numerator too.
BARS = {
    ("vgg", "epsilon"): 2.05,
    ("vgg", "epsilon_plus"): 3.1,
    ("vgg", "epsilon_gamma_box"): 3.1,
    ("vgg", "epsilon_alpha2_beta1"): 4.1,
    ("resnet", "epsilon"): 2.05,
    ("resnet", "epsilon_plus"): 3.1,
    ("resnet", "epsilon_gamma_box"): 3.4,
    ("resnet", "epsilon_alpha2_beta1"): 4.1,
}


@cache
def problem(network: str) -> MapProblem:
    """Real widths on small images: layers keep their shares of the work."""
    axes = {"batch": 1, "size": 64, "dtype": "float32"}
    return make(axes, Conditions(), network=LIKE[network], method="epsilon")


@pytest.mark.parametrize("provider", ENGINE)
@pytest.mark.parametrize("network, composite", BARS)
def test_the_engine_keeps_to_its_passes(network, composite, provider):
    found = passes.passes(replace(problem(network), method=composite), provider)
    assert 1.9 < found <= BARS[network, composite]


@pytest.mark.parametrize("composite", LRP_COMPOSITES)
@pytest.mark.parametrize("network", ["digits", "resnet50"])
def test_the_bare_calls_do_the_work_of_the_walk(network, composite):
    p = tiny(network, composite)
    walk = passes.products(p, "reluxfast cpp")
    assert sorted(map(astuple, walk)) == sorted(map(astuple, passes.products(p, "bare")))


@pytest.mark.parametrize("network", LIKE)
def test_shares_of_the_work_are_those_of_real_images(network):
    """What the bars lean on: the first convolution's share, and that of linear layers, at 224 pixels."""
    p = problem(network)
    with torch.no_grad(), CountedWork() as work:
        p.model(p.x)
    first, linear = work.products[0].flop, sum(c.flop for c in work.products if len(c.weight) == 2)
    expected = {"vgg": 0.1734 / 30.94, "resnet": 0.236 / 8.18}[network]
    assert first / work.flop == pytest.approx(expected, rel=0.02)
    assert linear / work.flop < 0.01


@pytest.mark.skipif(importlib.util.find_spec("zennit") is None, reason="zennit is not installed")
@pytest.mark.parametrize("composite, expected", [("epsilon", 4), ("epsilon_plus", 6), ("epsilon_alpha2_beta1", 10)])
def test_zennit_spends_what_its_hooks_say(composite, expected):
    """One forward, one input-gradient that is thrown away, and both again for every modified weight."""
    assert passes.passes(tiny("resnet50", composite), "zennit") == pytest.approx(expected, abs=0.02)


def test_who_is_counted_when_nobody_is_named():
    own = ["reluxfast cpp", "reluxfast reference"]
    assert passes.counted_for(tiny("digits", "epsilon"), ["epsilon_plus"]) == [*own, "zennit"]
    assert passes.counted_for(tiny("digits", "epsilon"), LRP_COMPOSITES) == [*own, "captum", "zennit"]
    everybody = [*own, "captum", "captum additions", "zennit"]
    assert passes.counted_for(tiny("resnet18", "epsilon"), LRP_COMPOSITES) == everybody


def test_table_and_rows(tmp_path, capsys):
    path = tmp_path / "made" / "rows.jsonl"
    argv = ["--tiny", "--case", "digits", "--provider", "reluxfast reference", "--provider", "captum"]
    assert (
        passes.main([*argv, "--composite", "epsilon", "--composite", "epsilon_plus", "--calls", "--store", str(path)])
        == 0
    )
    out = capsys.readouterr().out
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["provider"], r["composite"]) for r in rows] == [
        (p, c) for p in ("reluxfast reference", "captum") for c in ("epsilon", "epsilon_plus")
    ]
    assert rows[0]["passes"] == 2.0 and rows[0]["calls"] == 8  # four layers, both ways
    assert rows[0]["passes"] == sum(f for *_, f in rows[0]["products"]) / rows[0]["forward_flop"]
    assert rows[3]["passes"] is None and rows[3]["reason"] in out
    assert "2.000 (8)" in out and "reluxfast reference, epsilon_plus\nweight" in out
