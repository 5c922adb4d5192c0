"""Problems of maps: drawn from a seed, judged by gates that tell methods apart, small copies without jumps."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.benchmarks.case import Conditions, at
from reluxfast.benchmarks.maps import CASES, float64, references
from reluxfast.benchmarks.maps.networks import NETWORKS
from reluxfast.benchmarks.maps.problem import CANDIDATES, EPSILON, LRP_COMPOSITES, METHODS, MapProblem, make
from reluxfast.benchmarks.maps.steady import steadiest
from reluxfast.benchmarks.maps.weights import images
from reluxfast.benchmarks.problem import Unavailable
from reluxfast.composites import composite

TINY = Conditions(tiny=True)


def _make(name: str, conditions: Conditions = TINY, **axes: int | str) -> MapProblem:
    point = at(CASES[name], **axes)
    return CASES[name].make(point.axes, conditions)


@cache
def _problem(name: str) -> MapProblem:
    return _make(name)


def test_cases():
    networks = [name for name in NETWORKS if name != "stack"]
    assert list(CASES) == [*(f"{n}/{m}" for n in networks for m in METHODS), "stack/guided_backprop"]
    assert {case.group for case in CASES.values()} == {"maps"} and len(METHODS) == 9
    assert CASES["vgg16/gradient"].axes == {"batch": 4, "size": 224, "dtype": "float32"}
    assert CASES["digits/integrated_gradients"].axes == {"batch": 4, "size": 8, "dtype": "float32", "steps": 8}
    assert CASES["stack/guided_backprop"].axes == {"batch": 4, "size": 64, "dtype": "float32", "depth": 8}


def test_axes_are_what_the_problem_is_made_with():
    p = _make("stack/guided_backprop", Conditions(), batch=3, size=12, depth=2)
    assert p.x.shape == (3, 3, 12, 12) and p.amount == 3 and not p.tiny
    assert sum(isinstance(m, nn.Conv2d) for m in p.model.modules()) == 2
    p = _make("digits/integrated_gradients", steps=3)
    assert p.steps == 3 and p.axes == {"batch": 2, "size": 8, "dtype": "float32", "steps": 3}


def test_tiny_problems_are_small():
    p = _make("resnet18/gradient", batch=16, size=224)
    assert p.tiny and p.x.shape == (2, 3, 32, 32) and p.axes == {"batch": 2, "size": 32, "dtype": "float32"}
    assert p.model.conv1.out_channels == 4 and p.small_copy() is None
    assert _make("resnet18/gradient", batch=1).amount == 1


def test_the_small_copy_is_made_in_the_same_way():
    whole = _make("digits/guided_backprop", Conditions(functional=True, seed=3), dtype="float64")
    small = whole.small_copy()
    assert small.tiny and small.functional and (small.seed, small.dtype, small.amount) == (3, torch.float64, 2)
    assert small.model.features[0].out_channels == 4 and whole.model.features[0].out_channels == 16
    assert small.method == whole.method and small.x.dtype == torch.float64
    assert not any(isinstance(m, nn.ReLU) for m in small.model.modules())
    assert replace(whole, network=None).small_copy() is None


@pytest.mark.parametrize("method", METHODS)
def test_eps_is_part_of_the_variance_for_relevance(method):
    network = replace(NETWORKS["resnet18"], tiny_size=16)
    p = make(CASES["resnet18/integrated_gradients"].axes, TINY, network=network, method=method)
    eps = {m.eps for m in p.model.modules() if isinstance(m, nn.BatchNorm2d)}
    assert p.merged_eps == (method in LRP_COMPOSITES) and eps == ({0.0} if p.merged_eps else {1e-5})
    assert p.merged_eps == (method.startswith("epsilon"))


def test_same_seed_same_problem_and_another_seed_another():
    first, again, other = (_make("digits/gradient", Conditions(seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(first.x, again.x) and not torch.equal(first.x, other.x)
    weights = [p.model.features[0].weight for p in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_target_is_the_highest_logit():
    p = _make("digits/gradient", Conditions())
    with torch.no_grad():
        assert torch.equal(p.target, p.model(p.x).argmax(1)) and p.target.shape == (4,)


def test_copies_leave_the_problem_alone():
    p = _make("resnet18/gradient")
    model, x = p.channels_last()
    assert x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous() and torch.equal(x, p.x)
    weight = model.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not any(
        q.requires_grad for q in model.parameters()
    )
    own, y = p.own_copy()
    x.zero_(), y.zero_()
    own.conv1.weight.data.zero_()
    assert p.x.abs().sum() > 0 and p.model.conv1.weight.abs().sum() > 0 and p.x.is_contiguous()


def test_rows_that_are_no_images_have_no_channels_last_order():
    p = replace(_problem("digits/gradient"), x=torch.randn(2, 5))
    with pytest.raises(Unavailable, match=r"order of images \(N, C, H, W\), and these are \(2, 5\)"):
        p.channels_last()


def test_bounds_are_those_of_the_images():
    p = _problem("resnet18/epsilon_gamma_box")
    low, high = p.bounds().values()
    assert low.shape == high.shape == (3, 1, 1)
    assert ((p.x >= low) & (p.x <= high)).all()
    assert ((p.x == low).flatten(2).any(2).any(0) & (p.x == high).flatten(2).any(2).any(0)).all()


def test_the_stabiliser_is_that_of_the_composites():
    p = _problem("digits/epsilon")
    for options in ({}, {"epsilon": EPSILON}):
        chosen = composite("epsilon", **options)
        values = rx.attribute(p.model, p.x, p.target, "lrp", composite=chosen).values
        assert p.judge(values, "epsilon").error < 1e-5


@pytest.mark.parametrize("computes", references.GATES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("tiny", [True, False])
def test_gate_is_where_it_says(computes, dtype, tiny):
    p = _make("digits/integrated_gradients", steps=2, dtype=dtype)
    truth = references.reference(p, computes)
    p = replace(p, tiny=tiny)
    gate = references.gate(p, computes)
    for factor, right in ((0.9, True), (1.1, False)):
        verdict = p.judge(truth * (1 + factor * gate), computes)
        assert verdict.gate == gate and verdict.measure == "relative L2"
        assert verdict.error == pytest.approx(factor * gate, rel=1e-4) and (verdict.reason is None) == right
    assert verdict.reason == f"relative error {1.1 * gate:.1e} above {gate:.0e}" and verdict.cosine > 0.999


def test_gates_widen_with_the_network_and_with_rounding():
    wide, p = (_make("digits/gradient", dtype=dtype) for dtype in ("bfloat16", "float32"))
    for computes in references.GATES:
        small, whole = (references.gate(replace(p, tiny=tiny), computes) for tiny in (True, False))
        assert references.FLOAT64_GATE < small <= whole < references.gate(wide, computes) < 1


def test_the_small_copy_of_bfloat16_is_in_float32():
    whole = _make("digits/gradient", Conditions(), dtype="bfloat16")
    small = whole.small_copy()
    assert small.dtype == torch.float32 and small.axes["dtype"] == "float32"
    assert references.gate(small, "gradient") == references.GATES["gradient"][1]


def test_a_reference_is_computed_once(monkeypatch):
    p, computed = _make("digits/gradient"), []
    reference = references.reference
    monkeypatch.setattr(references, "reference", lambda *args: (computed.append(args[1]), reference(*args))[1])
    for computes in ("gradient", "deconvnet", "gradient"):
        p.judge(p.x, computes)
    assert computed == ["gradient", "deconvnet"]


def test_wrong_values_are_wrong():
    p = _problem("digits/guided_backprop")
    truth = references.reference(p, p.method)
    assert p.judge(truth.float(), p.method).error < 1e-7  # one rounding to float32
    assert "above" in p.judge(truth.flip(0), p.method).reason
    verdict = p.judge(truth[:1], p.method)
    assert verdict.reason == "shape (1, 1, 8, 8) instead of (2, 1, 8, 8)" and verdict.error == float("inf")
    broken = truth.clone()
    broken[0, 0, 0, 0] = float("nan")
    verdict = p.judge(broken, p.method)
    assert verdict.reason and verdict.error == float("inf") and verdict.cosine is None
    verdict = p.judge(torch.zeros_like(truth), p.method)
    assert verdict.reason and verdict.error == pytest.approx(1) and verdict.cosine == 0


SAME_SHAPE = ("gradient", "guided_backprop", "deconvnet", *references.QUADRATURES)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("network", ["resnet18", "vgg16"])
def test_gates_tell_methods_apart(network, dtype):
    """The gates of whole networks included; of bfloat16 all but the quadratures, which its small copy tells apart."""
    p = _make(f"{network}/gradient", dtype=dtype)
    truth = {computes: references.reference(p, computes) for computes in SAME_SHAPE}
    whole = replace(p, tiny=False)
    for computes in SAME_SHAPE:
        for other in SAME_SHAPE:
            quadratures = {computes, other} <= set(references.QUADRATURES)
            if other != computes and not (quadratures and dtype == "bfloat16"):
                error = float64.relative_l2(truth[other], truth[computes])
                assert error > 1.1 * references.gate(whole, computes), (computes, other)


@pytest.mark.parametrize("network", ["resnet18", "vgg16", "digits"])
def test_another_number_of_steps_is_wrong(network):
    p = _problem(f"{network}/integrated_gradients")
    for computes, rule in references.QUADRATURES.items():
        other = float64.integrated_gradients(p.model, p.x, p.target, *rule(p.steps + 1))
        assert p.judge(other, computes).reason


@pytest.mark.parametrize("network", ["resnet18", "vgg16", "digits"])
def test_another_grad_cam_is_wrong(network):
    p = _problem(f"{network}/grad_cam")
    maps, size = references.reference(p, "grad_cam"), tuple(p.x.shape[2:])
    truth = references.scaled(maps, size)
    assert p.judge(truth, "grad_cam_scaled").error == 0
    for other in (
        nn.functional.interpolate(maps / maps.amax((2, 3), keepdim=True), size=size)[:, 0],
        nn.functional.interpolate(maps, size=size, mode="bilinear")[:, 0],
        truth.flip(2),
    ):
        assert p.judge(other, "grad_cam_scaled").reason
    assert p.judge(maps * maps.shape[2] * maps.shape[3], "grad_cam").reason  # summed instead of averaged weights
    another = replace(p, target=(p.target + 1) % 10)
    assert p.judge(references.reference(another, "grad_cam"), "grad_cam").reason


@pytest.mark.parametrize("name", LRP_COMPOSITES)
def test_every_other_composite_is_wrong(name):
    """The gates tell rules apart, those of whole networks included."""
    p = _problem(f"resnet18/{name}")
    truth = references.by_engine(p, name)
    for other in (*LRP_COMPOSITES, "epsilon_plus_flat", "alpha1_beta0"):
        if other != name:
            error = float64.relative_l2(_relevance(p, other), truth)
            assert error > 2 * max(references.gate(replace(p, tiny=tiny), name) for tiny in (True, False)), other


@pytest.mark.parametrize("name", LRP_COMPOSITES)
def test_another_gamma_or_epsilon_is_wrong(name):
    p = _problem(f"resnet18/{name}")
    values = _relevance(p, name, **({"gamma": 0.3} if name == "epsilon_gamma_box" else {"epsilon": 1e-1}))
    assert float64.relative_l2(values, references.by_engine(p, name)) > references.gate(p, name)


def _relevance(p: MapProblem, name: str, **changed) -> torch.Tensor:
    chosen = composite(name, **(p.bounds() if name == "epsilon_gamma_box" else {}), **changed)
    return rx.attribute(p.model, p.x, p.target, "lrp", composite=chosen).values


def test_the_steadiest_rows_are_clear_of_kinks():
    """Two rows in six lie within rounding of a ReLU's kink, one where its gradient is read at half of it."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    model[0].weight.data, model[0].bias.data = torch.eye(2), torch.tensor([0.0, -1.0])
    model[2].weight.data = torch.ones(1, 2)
    x = torch.tensor([[0.5, 3.0], [0.5, 1.0], [0.7, 4.0], [0.7, 2.0], [0.9, 1.0], [0.8, 5.0]])
    target = torch.zeros(6, dtype=torch.long)
    assert steadiest(model, x, target, 4, [1.0]).tolist() == [0, 2, 3, 5]
    assert steadiest(model, x, target, 3, [1.0, 0.5]).tolist() == [0, 2, 5]


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients"])
def test_images_of_a_small_copy_are_the_steadiest_of_more(method):
    p = _make(f"resnet50/{method}")
    x = images(CANDIDATES * 2, 3, 32)
    with torch.no_grad():
        target = p.model(x).argmax(1)
    chosen = steadiest(p.model, x, target, 2, references.gradient_points(method, p.steps))
    assert torch.equal(p.x, x[chosen]) and chosen.tolist() != [0, 1]


def test_copies_are_counted():
    p = _make("digits/gradient")
    own = sum(t.nbytes for t in (p.x, *p.model.parameters(), *p.model.buffers()))
    p.own_copy()
    assert p.copied_bytes == own
    p.channels_last()
    assert p.copied_bytes == 2 * own
