"""The floor of a map: table of the full networks, small ones by hand, and what the dispatcher counts."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.benchmarks.case import Conditions
from reluxfast.benchmarks.maps import networks
from reluxfast.benchmarks.maps.floor import work_of, work_of_graph
from reluxfast.benchmarks.maps.problem import CASES, LRP_COMPOSITES, METHODS
from reluxfast.benchmarks.work import CountedWork
from reluxfast.graph import Graph, capture


def graph_of(model: nn.Module, *shape: int) -> Graph:
    return capture(model.eval(), (torch.zeros(2, *shape),))


@cache
def full(name: str) -> Graph:
    """At 224 x 224; weights are memory that nobody touches."""
    with torch.device("meta"):
        model = getattr(networks, name)()
    return graph_of(model.to_empty(device="cpu"), 3, 224, 224)


@cache
def layers(name: str) -> tuple[tuple[str, int, int], ...]:
    """(kind, FLOP of one pass, weights) of each layer, from shapes alone."""
    found = []

    def note(layer, _inputs, output):
        per_output = layer.weight[0].numel()
        found.append((type(layer).__name__, 2 * output.numel() * per_output, layer.weight.numel()))

    with torch.device("meta"):
        model = getattr(networks, name)()
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.register_forward_hook(note)
        model(torch.empty(1, 3, 224, 224))
    return tuple(found)


# GFLOP and MB per image without weights (float32, bfloat16), as derived by hand for these networks. That derivation
# leaves out that pixels have both signs, which costs the first layer more passes: up to 2.5 % of the FLOP.
TABLE = {
    ("vgg16", "gradient"): (61.9, 247, 126),
    ("vgg16", "guided_backprop"): (61.9, 247, 126),
    ("vgg16", "epsilon"): (61.9, 298, 149),
    ("vgg16", "epsilon_plus"): (92.6, 352, 176),
    ("vgg16", "epsilon_alpha2_beta1"): (123.3, 515, 258),
    ("resnet50", "gradient"): (16.4, 229, 116),
    ("resnet50", "epsilon"): (16.4, 265, 133),
    ("resnet50", "epsilon_plus"): (24.5, 304, 152),
    ("resnet50", "epsilon_gamma_box"): (26.9, None, None),
    ("resnet50", "epsilon_alpha2_beta1"): (32.7, 424, 212),
}


@pytest.mark.parametrize("name, method", TABLE)
def test_full_networks_are_those_of_the_table(name, method):
    gflop, *megabytes = TABLE[name, method]
    assert work_of_graph(full(name), method, 1, 4).flop == pytest.approx(1e9 * gflop, rel=0.025)
    for element_size, expected in zip((4, 2), megabytes, strict=True):
        one, two = (work_of_graph(full(name), method, batch, element_size).moved for batch in (1, 2))
        if expected is not None:
            assert two - one == pytest.approx(1e6 * expected, rel=0.005)


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
def test_passes_of_every_layer(name):
    flop = {"Conv2d": 0, "Linear": 0}
    for kind, of_pass, _ in layers(name):
        flop[kind] += of_pass
    whole, linear, first = sum(flop.values()), flop["Linear"], layers(name)[0][1]
    # Pixels of both signs: 5 passes instead of 3, 7 instead of 4; the box rule has 4 instead of 3.
    expected = {
        "gradient": 2 * whole,
        "deconvnet": 2 * whole,
        "epsilon": 2 * whole,
        "epsilon_plus": 3 * whole - linear + 2 * first,
        "epsilon_alpha2_beta1": 4 * whole - 2 * linear + 3 * first,
        "integrated_gradients": 6 * whole,
    }
    for method, passes in expected.items():
        assert work_of_graph(full(name), method, 5, 4, steps=3).flop == 5 * passes
    gamma = work_of_graph(full(name), "epsilon_gamma_box", 1, 4).flop - (3 * whole - linear + first)
    # Before an addition gamma needs both branches: the last convolution of each block and the downsampling ones.
    assert gamma == (0 if name == "vgg16" else pytest.approx(0.289 * whole, rel=0.01))


def test_weights_are_read_once_per_pass():
    counted = sum(weights for _, _, weights in layers("resnet50"))
    for method, passes in (("gradient", 2), ("epsilon", 2)):
        one, two = (work_of_graph(full("resnet50"), method, batch, 4).moved for batch in (1, 2))
        assert 2 * one - two == 4 * passes * counted
    # All steps of the path in one batch.
    one, many = (work_of_graph(full("resnet50"), method, 4, 4, 3) for method in ("gradient", "integrated_gradients"))
    assert many.flop == 3 * one.flop and many.moved == 3 * one.moved - 2 * 4 * 2 * counted


PLAIN = nn.Sequential(
    nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(128, 5),
)  # fmt: skip


@cache
def plain() -> Graph:
    return graph_of(PLAIN, 3, 8, 8)


# Elements at 8 x 8: pixels 192, the first map 256, the second 512, pooled 128, output 5; weights 108, 288, 640. FLOP of
# a pass: 2 * 64 * (108, 288) and 2 * 640. An index of a 2 x 2 window takes 2 bits.
BY_HAND = {
    # (FLOP, numbers read and written, of these weights, bits) of each kernel
    "gradient": [
        (13824, 192 + 256, 108, 256), (36864, 256 + 512, 288, 512), (0, 512 + 128, 0, 2 * 128), (1280, 128 + 5, 640, 0),
        (1280, 5 + 128, 640, 0), (0, 128 + 512, 0, 2 * 128 + 512), (36864, 512 + 256, 288, 256),
        (13824, 256 + 192, 108, 0),
    ],
    "epsilon_alpha2_beta1": [
        (3 * 13824, 192 + 256 + 2 * 256, 3 * 108, 0), (2 * 36864, 256 + 512 + 2 * 512, 2 * 288, 0),
        (0, 512 + 128, 0, 2 * 128), (1280, 128 + 5, 640, 0),
        (1280, 5 + 128, 640, 0), (0, 128 + 512 + 2 * 512, 0, 2 * 128), (2 * 36864, 2 * 512 + 256 + 2 * 256, 2 * 288, 0),
        (4 * 13824, 2 * 256 + 192, 4 * 108, 0),
    ],
}  # fmt: skip


def kernels(expected: list[tuple[int, int, int, int]], batch: int, element_size: int) -> list[tuple[int, int]]:
    return [
        (batch * flop, element_size * (batch * numbers + weights) + batch * bits // 8)
        for flop, numbers, weights, bits in expected
    ]


@pytest.mark.parametrize("element_size", [2, 4, 8])
@pytest.mark.parametrize("method", BY_HAND)
def test_a_plain_network_by_hand(method, element_size):
    work = work_of_graph(plain(), method, 3, element_size)
    assert list(work.kernels) == kernels(BY_HAND[method], 3, element_size)
    assert "4 kernels forward and 4 back" in work.about and "not counted" not in work.about


def test_deconvnet_keeps_no_bits_and_epsilon_reads_the_values():
    def bits(method: str) -> int:
        return 8 * (work_of_graph(plain(), method, 1, 4).moved - 4 * numbers)

    numbers = sum(read + weights for _, read, weights, _ in BY_HAND["gradient"])
    assert bits("gradient") == 2 * (256 + 512) + 4 * 128
    assert bits("deconvnet") == 4 * 128
    assert bits("epsilon") == 4 * 128 + 32 * (256 + 512)


class Residual(nn.Module):
    """1x1 convolutions: a - relu - [b - norm - relu - c] + shortcut - relu - mean."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 4, 1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        entry = self.a(x).relu()
        inside = self.norm(self.b(entry)).relu()
        return (self.c(inside) + entry).relu().mean((2, 3))


def test_a_shortcut_is_read_both_ways():
    work = work_of_graph(graph_of(Residual(), 2, 4, 4), "gradient", 1, 4)
    # Elements: pixels 32, a 64, b 128, c and the sum 64; a bit for each ReLU, read by the kernel that reads its value,
    # by the one that wrote it where that is none.
    expected = [
        (2 * 16 * 8, 32 + 64, 8, 64), (2 * 16 * 32, 64 + 128, 32, 128), (2 * 16 * 32, 128 + 64 + 64, 32, 64),
        (2 * 16 * 32, 64 + 128, 32, 128 + 64), (2 * 16 * 32, 128 + 64 + 64, 32, 64), (2 * 16 * 8, 64 + 32, 8, 0),
    ]  # fmt: skip
    assert list(work.kernels) == kernels(expected, 1, 4)
    assert work.about.endswith("not counted: aten.mean")


def test_signals_end_at_the_layer_of_grad_cam():
    work = work_of_graph(plain(), "grad_cam", 1, 4, layer="3")
    expected = [*BY_HAND["gradient"][:6]]
    for position in (0, 1):
        expected[position] = (*expected[position][:3], 0)  # no bits are kept in front of the layer
    expected[5] = (*expected[5][:3], 2 * 128)
    assert list(work.kernels) == kernels(expected, 1, 4)


def problem_of(name: str):
    return CASES[name].make(CASES[name].axes, Conditions(tiny=True))


ENGINE = [f"digits/{method}" for method in METHODS]
ENGINE += ["resnet18/epsilon_alpha2_beta1", "resnet18/epsilon_gamma_box", "stack/guided_backprop"]


@pytest.mark.parametrize("name", ENGINE)
def test_the_engine_multiplies_as_often_as_the_floor_says(name):
    """On its reference backend; the compiled one repeats some zeros in the first layer."""
    p = problem_of(name)
    explainer = rx.Explainer(p.model, p.x, backend="reference")
    if p.method in LRP_COMPOSITES:
        bounds = p.bounds() if p.method == "epsilon_gamma_box" else {}
        method, options = "lrp", {"composite": rx.composite(p.method, **bounds)}
    else:
        cam = {"grad_cam": {"layer": p.layer}, "integrated_gradients": {"n_steps": p.steps}}
        method, options = p.method, cam.get(p.method, {})
    explainer.attribute(p.x, p.target, method, **options)
    with CountedWork() as counted:
        explainer.attribute(p.x, p.target, method, **options)
    floor = p.work().flop
    if p.method == "integrated_gradients":
        # Besides, the engine looks at both ends of the path, of which all rows share the baseline, and sums over the
        # path by a matrix product.
        rows = len(p.x)
        floor += (rows + 1) * floor // (2 * rows * p.steps) + 2 * p.steps * p.x.numel()
    assert counted.flop == floor > 0


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, 3, stride=2, groups=2)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        x = torch.sigmoid(self.up(self.grouped(x).relu()))
        return self.out(x.flatten(2).transpose(1, 2)).mean(1)


def test_groups_transposed_convolutions_and_rows_of_features():
    model, x = Odd().eval(), torch.randn(2, 4, 9, 9)
    with torch.no_grad(), CountedWork() as counted:
        model(x)
    work = work_of_graph(graph_of(model, 4, 9, 9), "gradient", 2, 4)
    assert work.flop == 2 * counted.flop > 0
    assert work.about.endswith("not counted: aten.mean, aten.sigmoid")


@pytest.mark.parametrize("sizes", [{0: torch.export.Dim("batch")}, {}])
def test_an_exported_program_costs_what_its_module_does(sizes):
    x = torch.zeros(3, 3, 8, 8)
    program = torch.export.export(PLAIN.eval(), (x,), dynamic_shapes=(sizes,))
    for method in ("gradient", "epsilon_plus"):
        known = work_of_graph(capture(program, (x,)), method, 3, 4)
        assert known == work_of_graph(plain(), method, 3, 4)


def test_a_problem_knows_its_rows_steps_layer_and_dtype():
    p = CASES["digits/integrated_gradients"].make(
        {"batch": 2, "size": 8, "dtype": "bfloat16", "steps": 5}, Conditions(tiny=True)
    )
    graph = graph_of(problem_of("digits/gradient").model, *p.x.shape[1:])
    assert p.work() == work_of_graph(graph, "integrated_gradients", len(p.x), 2, 5)
    p = problem_of("vgg16/grad_cam")
    assert len(p.work().kernels) == 21 + 4  # back through the classifier and the last pool


def test_what_cannot_be_captured_has_no_floor():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    p = problem_of("digits/gradient")
    p.model = Branch()
    assert work_of(p) is None


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match=r"method: one of gradient, .* expected, got 'magic'"):
        work_of_graph(plain(), "magic", 1, 4)
