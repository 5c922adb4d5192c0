"""A capture is made once per model and input shape, shared by threads, and dies with the model."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.graph.structure import structure
from tests.support import assert_same_bits, assert_untouched, fingerprint
from tests.zoo import CONSTRUCTS


@pytest.fixture
def exports(monkeypatch):
    """Counts calls of torch.export.export."""
    calls = []
    original = torch.export.export

    def counted(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(torch.export, "export", counted)
    return calls


def test_captured_once_per_shape(exports):
    model = CONSTRUCTS["pool_reused"].model()
    for rows in (1, 4, 2):
        for method in ("gradient", "guided_backprop", "integrated_gradients"):
            rx.attribute(model, torch.randn(rows, 3, 8, 8), target=1, method=method)
    assert len(exports) == 1
    with torch.no_grad():
        model.conv1.weight.mul_(2.0)
    rx.gradient(model, torch.randn(2, 3, 8, 8), target=1)
    assert len(exports) == 1, "a change of weights needs a refolding, not a new capture"


def test_another_image_size_is_another_capture(exports):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for size in (6, 9, 6, 9):
        assert rx.gradient(model, torch.randn(2, 3, size, size), target=1).values.shape == (2, 3, size, size)
    assert len(exports) == 2


def _released(make) -> bool:
    reference = make()
    gc.collect()
    return reference() is None


@pytest.mark.parametrize("name", ["resnet18", "weight_norm", "functional_conv", "multihead_attention"])
def test_model_is_released_after_attribute(name):
    def make():
        construct = CONSTRUCTS[name]
        model = construct.model()
        rx.guided_backprop(model, torch.randn(2, *construct.shapes[0]), target=1)
        return weakref.ref(model)

    assert _released(make)


def test_model_is_released_with_its_explainer():
    def make():
        model = CONSTRUCTS["resnet18"].model()
        explainer = rx.Explainer(model, torch.randn(2, 3, 12, 12))
        explainer.attribute(torch.randn(1, 3, 12, 12), target=1)
        return weakref.ref(model)

    assert _released(make)


def test_weights_are_released_with_the_model():
    def make():
        model = CONSTRUCTS["relu_module"].model()
        rx.gradient(model, torch.randn(2, 3, 8, 8), target=1)
        return weakref.ref(model.fc1.weight)

    assert _released(make)


@pytest.mark.parametrize("entry", ["attribute", "Explainer"])
def test_eight_threads_one_model(entry):
    """Same bits from every thread, from the first racing call on, and an untouched model."""
    model = CONSTRUCTS["vgg_bn"].model()
    inputs = [torch.randn(1 + i % 3, 3, 12, 12) for i in range(8)]
    methods = ["gradient", "guided_backprop", "deconvnet", "input_x_gradient"]
    reference = CONSTRUCTS["vgg_bn"].model()
    expected = {
        (i, m): rx.attribute(reference, x, target=1, method=m).values for i, x in enumerate(inputs) for m in methods
    }
    before = fingerprint(model)
    explainer = rx.Explainer(model, inputs[0]) if entry == "Explainer" else model
    barrier = threading.Barrier(8)

    def work(i: int):
        barrier.wait()
        return {(i, m): rx.attribute(explainer, inputs[i], target=1, method=m).values for m in methods * 3}

    # OpenMP counts threads per thread, and a matrix product's bits depend on the count.
    with ThreadPoolExecutor(8, initializer=lambda: torch.set_num_threads(1)) as pool:
        for found in pool.map(work, range(8)):
            for key, values in found.items():
                assert_same_bits(values, expected[key], f"thread {key}")
    assert_untouched(before, model)


def test_backend_choice_stays_in_its_thread():
    """`with rx.backend(...)` in one thread does not change another one."""
    from reluxfast.ops.backend import active_backend

    entered, done = threading.Event(), threading.Event()

    def hold():
        with rx.backend("reference"):
            entered.set()
            done.wait(10)

    before = active_backend()
    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    assert active_backend() == before
    done.set()
    thread.join()


def test_a_model_that_holds_itself():
    """As graph modules do, through their graph."""
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    model.myself, model.parts = [model], {"first": model[0]}
    x = torch.randn(2, 4)
    assert rx.gradient(model, x, 0).values.abs().max() > 0
    model.parts["first"].bias.data.fill_(-100.0)
    assert rx.gradient(model, x, 0).values.abs().max() == 0


def test_a_module_that_moved_to_another_depth_is_noticed():
    """Names, types and parameters are the same in their order; only what stands inside what is not."""
    inner, other = nn.Sequential(nn.Linear(3, 3)), nn.Sequential(nn.ReLU())
    model = nn.Sequential(OrderedDict(a=inner, b=other))
    beside = structure(model)
    assert structure(model) == beside
    del model.b
    inner.b = other
    within = structure(model)
    assert [part for part in within if isinstance(part, str)] == [part for part in beside if isinstance(part, str)]
    assert within != beside
