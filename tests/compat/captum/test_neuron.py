"""NeuronGradient, NeuronGuidedBackprop, NeuronDeconvolution beside Captum's."""

from __future__ import annotations

import pytest
import torch

from reluxfast.compat import captum as ours
from tests.compat.captum.models import CNN, FunctionalCNN, case, rows, shared
from tests.compat.captum.parity import agree, attr, both, quietly, same_error

CLASSES = [ours.NeuronGradient, ours.NeuronGuidedBackprop, ours.NeuronDeconvolution]
SELECTORS = [
    ("conv1", (0, 1, 2)),
    ("relu2", (3, slice(0, 2), slice(None))),
    ("bn1", (-1, 0, 0)),
    ("linear1", 3),
    ("linear2", (0,)),
    ("relu3", lambda value: value[:, 1] * value[:, 2]),
    ("pool1", lambda value: value.flatten(1).amax(1)),
    ("relu1", lambda value: value.sum()),
]


@pytest.mark.parametrize("layer, selector", SELECTORS, ids=[name for name, _ in SELECTORS])
@pytest.mark.parametrize("kind", CLASSES)
def test_neurons_of_outputs(kind, layer, selector):
    model, (x,) = case("cnn", dtype=torch.float64)
    agree(*both(kind, model, x, selector, construct=(getattr(model, layer),)))


@pytest.mark.parametrize("kind", CLASSES)
def test_neurons_of_inputs(kind):
    model, (x,) = case("cnn", dtype=torch.float64)
    for layer, selector in (("conv2", (1, 2, 0)), ("linear1", 30), ("relu3", 4)):
        agree(*both(kind, model, x, selector, construct=(getattr(model, layer),), attribute_to_neuron_input=True))


@pytest.mark.parametrize("kind", CLASSES)
def test_several_inputs_and_further_arguments(kind):
    model, x = case("two_inputs")
    extra = (None, torch.tensor([4, 0, 2]))
    agree(*both(kind, model, x, 2, construct=(model.linear1,), additional_forward_args=extra))


@pytest.mark.parametrize("kind", CLASSES)
def test_functional_relus(kind):
    twin, model, (x,) = shared(CNN), shared(FunctionalCNN), rows(((3, 11, 9),))
    expected = quietly(lambda: getattr(attr, kind.__name__)(twin, twin.linear1).attribute(x.clone(), 3))
    agree(kind(model, model.linear1).attribute(x, 3), expected)


def test_neurons_that_are_refused():
    model, (x,) = case("cnn")
    for layer, selector in (("conv1", (0, 1, 2, 3)), ("conv1", (0, 99, 0)), ("linear1", 10), ("conv1", 2)):
        same_error(ours.NeuronGradient, model, x, selector, construct=(getattr(model, layer),))


def test_what_other_code_relies_on():
    model, _ = case("cnn")
    for kind in CLASSES:
        a, b = kind(model, model.conv2), getattr(attr, kind.__name__)(model, model.conv2)
        assert isinstance(a, attr.NeuronAttribution) and isinstance(a, attr.GradientAttribution)
        assert a.get_name() == b.get_name() and a.multiplies_by_inputs == b.multiplies_by_inputs
