"""Who computes maps: right on the networks they can take, wrong where that is known, and told apart by the gates."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache, partial
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import reluxfast as rx
from reluxfast.benchmarks.case import Conditions
from reluxfast.benchmarks.maps.networks import NETWORKS
from reluxfast.benchmarks.maps.problem import LRP_COMPOSITES, METHODS, MapProblem, make
from reluxfast.benchmarks.maps.providers import (
    PROVIDERS,
    ablation,
    autograd,
    captum,
    engine,
    grad_cam,
    providers_for,
    zennit,
)
from reluxfast.benchmarks.maps.references import GATES
from reluxfast.benchmarks.problem import Unavailable
from reluxfast.benchmarks.quiet import quiet_peers
from reluxfast.composites import Layer, composite
from reluxfast.relevance import maps as engine_maps

PACKAGES = {"captum": "captum", "zennit": "zennit", "pytorch-grad-cam": "pytorch_grad_cam"}
INSTALLED = {peer for peer, package in PACKAGES.items() if importlib.util.find_spec(package) is not None}
needs = {
    peer: pytest.mark.skipif(peer not in INSTALLED, reason=f"{peer} is not installed") for peer in ("captum", "zennit")
}
needs["pytorch-grad-cam"] = pytest.mark.skipif("pytorch-grad-cam" not in INSTALLED, reason="it is not installed")


def fresh(network: str, method: str, functional: bool = False, **axes: int | str) -> MapProblem:
    axes = {"batch": 2, "size": NETWORKS[network].size, "dtype": "float32", "steps": 4} | axes
    conditions = Conditions(tiny=True, functional=functional)
    return make(axes, conditions, network=NETWORKS[network], method=method)


@cache
def problem(network: str, method: str, functional: bool = False) -> MapProblem:
    """Providers leave a problem as it was, which a test below holds them to; references are computed once."""
    # the float64 walk over explicit matrices takes its time for each row of a residual network
    return fresh(network, method, functional, batch=1 if network == "resnet18" else 2)


def library(name: str) -> str:
    return name.removesuffix(" channels_last").removesuffix(" additions")


def here(p: MapProblem) -> list[str]:
    """Providers of the problem whose library is installed."""
    return [name for name in providers_for(p) if library(name) not in PACKAGES or library(name) in INSTALLED]


def status(p: MapProblem, name: str) -> str:
    try:
        with quiet_peers():
            prepared = PROVIDERS[name](p)
            values = prepared.call()
    except Unavailable:
        return "unavailable"
    if prepared.computes is None:
        assert values is None
        return "floor"
    verdict = p.judge(values, prepared.computes)
    return "ok" if verdict.reason is None else "wrong"


def expected(method: str, name: str) -> str:
    if name == "bare":
        return "unavailable" if method == "grad_cam" else "floor"
    return "ok"


@pytest.mark.parametrize("method", METHODS)
def test_everybody_is_right_on_a_small_network(method):
    p = problem("digits", method)
    assert {name: status(p, name) for name in here(p)} == {name: expected(method, name) for name in here(p)}


@pytest.fixture
def captured_once(monkeypatch):
    """Capturing a residual network takes a second; the problems of several methods share model and images."""
    original = engine.explainer_of
    known: dict[tuple, rx.Explainer] = _CAPTURED

    def explainer_of(p: MapProblem, backend: str = "auto") -> rx.Explainer:
        key = (p.network.name, tuple(p.x.shape), p.merged_eps, p.functional, backend)
        if key not in known:
            known[key] = original(p, backend)
        return known[key]

    monkeypatch.setattr(engine, "explainer_of", explainer_of)


_CAPTURED: dict[tuple, rx.Explainer] = {}


@pytest.mark.parametrize("method", METHODS)
def test_engine_and_peers_are_right_on_a_residual_network(method, captured_once):
    p = problem("resnet18", method)
    names = [name for name in here(p) if name not in ("bare", "algebra")]
    wrong = {"captum", "captum channels_last"} if method == "epsilon" else set()
    assert {name for name in names if status(p, name) == "wrong"} == wrong & set(names)
    assert all(status(p, name) == "ok" for name in names if name.startswith("captum additions"))


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet", "epsilon_plus"])
def test_the_engine_is_right_on_functional_relus(method):
    assert status(problem("digits", method, functional=True), "reluxfast cpp") == "ok"


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
@pytest.mark.parametrize("network", ["digits", "resnet18"])
@pytest.mark.parametrize("peer", [pytest.param(peer, marks=needs[peer]) for peer in ("captum", "zennit")])
def test_hooks_on_modules_are_wrong_on_functional_relus(peer, network, method):
    for functional, outcome in ((False, "ok"), (True, "wrong")):
        p = problem(network, method, functional)
        assert {status(p, name) for name in (peer, f"{peer} channels_last")} == {outcome}


@needs["captum"]
def test_captum_passes_functional_relus_in_relevance():
    p, same = problem("resnet18", "epsilon", functional=True), problem("resnet18", "epsilon")
    for name, right in (("captum", False), ("captum additions", True)):
        with quiet_peers():
            values = PROVIDERS[name](p).call()
        assert (same.judge(values, "epsilon").reason is None) == right


@needs["captum"]
def test_captum_is_asked_only_for_rules_that_it_has():
    for name in ("captum", "captum additions"):
        with pytest.raises(Unavailable, match="no such rule"):
            PROVIDERS[name](problem("resnet18", "epsilon_plus"))
    with pytest.raises(Unavailable, match="adds nothing"):
        PROVIDERS["captum additions"](problem("digits", "epsilon"))


def test_who_is_offered_for_what():
    """Nobody stands in a table for a method that the library does not have, on a device where it cannot run."""

    def both(name: str) -> list[str]:
        return [name, f"{name} channels_last"]

    own = ["reluxfast cpp", "reluxfast reference"]
    floors = ["bare", "algebra"]
    gradients = [*own, *both("autograd"), *both("captum"), *both("zennit"), *floors]
    expected = dict.fromkeys(("gradient", "guided_backprop", "deconvnet", "integrated_gradients"), gradients)
    expected["epsilon"] = [*own, *both("captum"), *both("captum additions"), *both("zennit"), *floors]
    expected |= {name: [*own, *both("zennit"), *floors] for name in LRP_COMPOSITES[1:]}
    expected["grad_cam"] = [*own, *both("captum"), *both("pytorch-grad-cam"), *floors]
    assert {method: list(providers_for(problem("resnet18", method))) for method in METHODS} == expected
    assert "captum additions" not in providers_for(problem("digits", "epsilon"))
    assert "pytorch-grad-cam" not in providers_for(fresh("digits", "grad_cam", dtype="float64"))


def offered(device: str, method: str, tiny: bool = False) -> set[str]:
    p = problem("digits", method)
    return set(
        providers_for(
            SimpleNamespace(device=torch.device(device), method=method, tiny=tiny, model=p.model, dtype=p.dtype)
        )
    )


def test_devices_have_backends_of_their_own():
    on_gpu, on_cpu = offered("cuda", "gradient"), offered("cpu", "gradient")
    assert on_gpu - on_cpu == {"reluxfast cuda", "reluxfast triton"} and on_cpu - on_gpu == {"reluxfast cpp"}


def test_compilation_is_offered_where_it_is_worth_its_minute():
    compiled = "compiled channels_last"
    assert [m for m in METHODS if compiled in offered("cpu", m)] == ["gradient"]
    yardstick = ["gradient", "guided_backprop", "deconvnet", "integrated_gradients"]
    assert [m for m in METHODS if compiled in offered("cuda", m)] == yardstick
    assert compiled not in offered("cpu", "gradient", tiny=True)


def test_a_problem_is_left_as_it_was():
    for method in ("guided_backprop", "epsilon", "grad_cam", "integrated_gradients"):
        p = fresh("digits", method)
        weights = {name: value.clone() for name, value in p.model.state_dict().items()}
        attributes = [sorted(vars(m)) for m in p.model.modules()]
        x = p.x.clone()
        for name in here(p):
            status(p, name)
        assert list(p.model.state_dict()) == list(weights), name
        assert all(torch.equal(value, weights[name]) for name, value in p.model.state_dict().items())
        assert torch.equal(p.x, x) and not p.x.requires_grad
        assert all(w.grad is None and w.requires_grad for w in p.model.parameters())
        assert [sorted(vars(m)) for m in p.model.modules()] == attributes
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in p.model.modules())


@pytest.mark.parametrize("method", METHODS)
def test_the_engine_computes_float64_where_that_is_asked_for(method):
    p = fresh("digits", method, dtype="float64")
    prepared = PROVIDERS["reluxfast cpp"](p)
    values = prepared.call()
    assert values.dtype == torch.float64
    assert p.judge(values, prepared.computes).error < 1e-9


@pytest.mark.parametrize("method", ["epsilon_plus", "epsilon_gamma_box"])
def test_a_slightly_other_rule_is_wrong(method, monkeypatch):
    p = problem("digits", method)
    other = {"epsilon_plus": {"epsilon": 1e-1}, "epsilon_gamma_box": {**p.bounds(), "gamma": 0.3}}[method]
    monkeypatch.setattr(engine, "composite_arguments", lambda p: other)
    assert status(p, "reluxfast reference") == "wrong"


@pytest.mark.parametrize("method", LRP_COMPOSITES)
def test_every_other_composite_is_wrong_by_far(method):
    p = problem("resnet18", method)
    for other in (*LRP_COMPOSITES, "epsilon_plus_flat", "alpha1_beta0"):
        if other != method:
            bounds = p.bounds() if other == "epsilon_gamma_box" else {}
            values = captured().attribute(p.x, p.target, "lrp", composite=composite(other, **bounds)).values
            verdict = p.judge(values, method)
            assert verdict.reason is not None and verdict.error > 2 * max(GATES[method]), other


@cache
def captured() -> rx.Explainer:
    return engine.explainer_of(problem("resnet18", "epsilon"), "reference")


def test_the_box_rule_gets_the_bounds_of_the_images():
    p = problem("digits", "epsilon_gamma_box")
    arguments = engine.composite_arguments(p)
    assert arguments.keys() == {"low", "high"}
    assert all(torch.equal(arguments[name], bound) for name, bound in p.bounds().items())
    assert engine.composite_arguments(problem("digits", "epsilon_plus")) == {}


PIECES = {
    "captum": ("captum.attr._utils.lrp_rules", captum._captum, "gradient", r"pip install 'reluxfast\[bench\]'"),
    "zennit": ("zennit.rules", zennit._zennit, "gradient", "pip install --no-deps zennit"),
    "pytorch-grad-cam": (
        "pytorch_grad_cam.utils.model_targets",
        grad_cam._library,
        "grad_cam",
        "pip install --no-deps grad-cam",
    ),
}


@pytest.mark.parametrize("peer", PIECES)
def test_a_missing_peer_says_what_to_install(peer, monkeypatch):
    module, imported, method, remedy = PIECES[peer]
    monkeypatch.setitem(sys.modules, module, None)
    imported.cache_clear()
    try:
        with pytest.raises(Unavailable, match=remedy):
            PROVIDERS[peer](problem("digits", method))
    finally:
        imported.cache_clear()


def test_a_missing_backend_is_unavailable():
    assert status(problem("digits", "gradient"), "reluxfast cuda") == "unavailable"


@pytest.mark.parametrize(
    "name, method, message",
    [
        pytest.param("captum", "unknown", "does not compute", marks=needs["captum"]),
        pytest.param("zennit", "grad_cam", "does not compute", marks=needs["zennit"]),
        pytest.param("pytorch-grad-cam", "gradient", "does not compute", marks=needs["pytorch-grad-cam"]),
        ("compiled channels_last", "epsilon", "does not compute"),
        ("autograd", "epsilon", "does not compute"),
        ("bare", "grad_cam", "ends at its layer"),
    ],
)
def test_who_cannot_do_it_says_so(name, method, message):
    known = problem("digits", method if method in METHODS else "gradient")
    known = known if method in METHODS else SimpleNamespace(**{**vars(known), "method": method})
    with pytest.raises(Unavailable, match=message):
        PROVIDERS[name](known)


@pytest.mark.parametrize("method, rows", [("guided_backprop", 2), ("deconvnet", 2), ("integrated_gradients", 8)])
def test_bare_calls_are_those_of_a_gradient_for_each_point(method, rows, monkeypatch):
    (asked,) = asked_of_bare(monkeypatch, problem("digits", method))
    assert asked == (rows, {"method": "gradient"})


def test_bare_calls_are_those_of_the_composite(monkeypatch):
    ((rows, options),) = asked_of_bare(monkeypatch, problem("digits", "epsilon_plus"))
    assert rows == 2 and options["method"] == "lrp" and set(options) == {"method", "composite"}
    for kind, rule in (("convolution", "ZPlus"), ("linear", "Epsilon")):
        assert type(options["composite"](Layer(kind, "", "", False, False))).__name__ == rule


def asked_of_bare(monkeypatch, p: MapProblem) -> list[tuple]:
    asked = []

    def bare_calls(self, x, **options):
        asked.append((len(x), options))
        return [lambda: x]

    monkeypatch.setattr(rx.Explainer, "bare_calls", bare_calls)
    assert status(p, "bare") == "floor"
    return asked


class Convolved(TorchDispatchMode):
    """Notes in which order the inputs and weights of convolutions lie."""

    def __init__(self) -> None:
        super().__init__()
        self.plain: list[bool] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "convolution" in func._schema.name:
            self.plain += [a.is_contiguous() for a in args if isinstance(a, Tensor) and a.dim() == 4]
        return func(*args, **(kwargs or {}))


def layouts(p: MapProblem, name: str) -> list[bool]:
    with Convolved() as seen:
        PROVIDERS[name](p).call()
    return seen.plain


@pytest.mark.parametrize("method", ["guided_backprop", "epsilon_plus"])
def test_the_algebra_alone_lays_nothing_out_channels_last(method):
    p = problem("digits", method)
    before = engine_maps.channels_last
    assert (found := layouts(p, "algebra")) and all(found)
    assert engine_maps.channels_last is before
    assert not all(layouts(p, "reluxfast reference"))


@pytest.mark.parametrize("method", ["guided_backprop", "epsilon_plus"])
def test_the_algebra_alone_is_right_on_a_residual_network(method):
    assert status(problem("resnet18", method), "algebra") == "ok"


def test_the_default_layout_ends_with_an_error():
    before = engine_maps.channels_last
    with pytest.raises(RuntimeError, match="within"), ablation.default_layout():
        assert engine_maps.channels_last is not before
        raise RuntimeError("within")
    assert engine_maps.channels_last is before


@pytest.mark.parametrize("network, norms", [("resnet18", 20), ("resnet50", 53), ("digits", 0)])
def test_batch_norms_are_folded(network, norms):
    p = fresh(network, "gradient", dtype="float64")
    model, x = p.channels_last()
    folded, note = autograd.folded(model)
    assert note == (f"{norms} of {norms} batch norms folded" if norms else "")
    ran = []
    for module in folded.modules():
        module.register_forward_hook(lambda module, *_: ran.append(type(module)))
    with torch.no_grad():
        torch.testing.assert_close(folded(x), p.model(p.x), rtol=1e-9, atol=1e-9)
    assert torch.nn.Conv2d in ran and torch.nn.BatchNorm2d not in ran
    assert not any(w.requires_grad for w in folded.parameters())


class Branching(torch.nn.Module):
    """Something that torch.fx cannot trace."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(1).eval()

    def forward(self, x):
        return self.norm(x) if x.sum() > 0 else x


def test_a_model_that_cannot_be_traced_keeps_its_batch_norms():
    model = Branching()
    same, note = autograd.folded(model)
    assert same is model and "not folded: TraceError" in note


@pytest.mark.parametrize(
    "network, method", [*product(["digits"], autograd.METHODS), *product(["resnet18"], autograd.COMPUTED)]
)
def test_compiled_gradients_are_right(network, method):
    """One graph forward and back, whatever generates its code."""
    p = problem(network, method)
    assert status(p, "compiled channels_last") == "ok"


def test_a_compiler_that_fails_is_unavailable(monkeypatch):
    def failing(graph, inputs):
        raise RuntimeError("no compiler on this machine")

    monkeypatch.setattr(torch, "compile", lambda f, compile=torch.compile, **how: compile(f, backend=failing))
    with pytest.raises(Unavailable, match="no compiler on this machine"):
        PROVIDERS["compiled channels_last"](problem("digits", "gradient"))


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_autograd_takes_any_number_of_steps_at_once(steps):
    p = problem("digits", "integrated_gradients")
    gradient = partial(autograd._gradient, p.model)
    assert p.steps == 4
    values = autograd._integrated(gradient, p.x, p.target, p.steps, steps)
    assert p.judge(values, "integrated_gradients").reason is None


@pytest.mark.parametrize(
    "network, bias",
    [
        ("vgg16", "features.28.bias"),
        ("resnet18", "layer4.1.bn2.bias"),
        ("resnet50", "layer4.2.bn3.bias"),
        ("digits", "features.5.bias"),
    ],
)
def test_backward_passes_of_grad_cam_end_at_the_layer(network, bias):
    """One bias wants a gradient: the last one below the layer, which the layer's map depends on."""
    model = problem(network, "grad_cam").model
    assert grad_cam.last_bias(model, NETWORKS[network].layer) is dict(model.named_parameters())[bias]
