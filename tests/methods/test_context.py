"""Arguments that are not explained, signals of one's own, and networks that begin inside: what adapters ask for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.captured import Captured, captured
from reluxfast.errors import InvalidInput
from reluxfast.explainer import attribute_captured, make_run, prepared
from reluxfast.methods.run import Run
from reluxfast.relevance.layers import layer_inputs, layer_value
from tests.device import DEVICE
from tests.support import assert_close


class Conditioned(nn.Module):
    """An image, and beside it a factor, indices and flags of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.embedding = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Embedding(5, 4)
        self.hidden, self.head = nn.Linear(4 * 12, 6), nn.Linear(6, 3)

    def forward(self, x, factor, index, flag):
        maps = self.relu(self.conv(x) + self.embedding(index)[:, :, None, None])
        hidden = torch.relu(self.hidden(maps.flatten(1))) * factor.unsqueeze(1)
        return self.head(torch.where(flag.unsqueeze(1), hidden, -hidden))


def made(dtype=torch.float64, rows=5):
    torch.manual_seed(0)
    model = Conditioned().to(DEVICE, dtype).eval()
    x = torch.randn(rows, 2, 5, 6, dtype=dtype)
    context = (torch.rand(rows, dtype=dtype) + 0.5, torch.arange(rows) % 5, torch.arange(rows) % 2 == 0)
    return model, x, context


def truth(model, x, context, weights):
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad((model(x, *context) * weights).sum(), x)[0]


def one_hot(target, rows, dtype):
    return (
        torch.eye(3, dtype=dtype)[target].expand(rows, 3)
        if isinstance(target, int)
        else torch.eye(3, dtype=dtype)[target]
    )


@pytest.mark.parametrize("rows", [1, 5])
def test_context_is_an_argument_that_nothing_goes_back_to(rows):
    model, x, context = made(rows=rows)
    known = captured(model, (x, *context), 1)
    assert known.engine().graph.explained == known.engine().graph.inputs[:1]
    result = attribute_captured(known, x, 1, "gradient", {}, context)
    assert_close(result.values, truth(model, x, context, one_hot(1, rows, x.dtype)), 1e-12)
    assert_close(result.output, model(x, *context), 1e-12)


def test_all_methods_take_it():
    model, x, context = made()
    known = captured(model, (x, *context), 1)
    values = {
        name: attribute_captured(known, x, [0, 1, 2, 0, 1], name, options, context).values
        for name, options in (
            ("input_x_gradient", {}),
            ("guided_backprop", {}),
            ("integrated_gradients", {"n_steps": 3}),
            ("smooth_grad", {"n_samples": 3}),
            ("grad_cam", {"layer": model.conv}),
            ("lrp", {"composite": rx.rules.Zero(), "fallback": "gradient"}),
        )
    }
    assert_close(values["lrp"], values["input_x_gradient"], 1e-9)
    for row in range(5):  # a row by itself gives the same: context goes with its row
        alone = tuple(c[row : row + 1] for c in context)
        one = attribute_captured(known, x[row : row + 1], row % 3, "integrated_gradients", {"n_steps": 3}, alone)
        assert_close(one.values, values["integrated_gradients"][row : row + 1], 1e-12)


def test_context_under_a_memory_budget():
    model, x, context = made(rows=9)
    known = Captured(model, (x, *context), "float32", memory_budget=1 << 16, explained=1)
    assert_close(
        attribute_captured(known, x, 1, "gradient", {}, context).values,
        truth(model, x, context, one_hot(1, 9, x.dtype)),
        1e-12,
    )


def test_context_that_does_not_fit():
    model, x, context = made()
    known = captured(model, (x, *context), 1)
    for wrong in (context[:2], (context[0][:2], *context[1:]), (context[0].float(), *context[1:])):
        with pytest.raises(InvalidInput, match="context"):
            attribute_captured(known, x, 1, "gradient", {}, wrong)


def test_other_context_is_another_capture():
    model, x, context = made()
    assert captured(model, (x, *context), 1) is captured(model, (x, *context), 1)
    floats = Conditioned().double().eval()
    assert captured(floats, (x, *context), 1) is not captured(model, (x, *context), 1)


@pytest.mark.parametrize("method", ["gradient", "guided_backprop", "integrated_gradients"])
def test_a_signal_of_ones_own(method):
    model, x, context = made()
    weights = torch.randn(5, 3, dtype=x.dtype)
    known = captured(model, (x, *context), 1)
    options = {"n_steps": 4} if method == "integrated_gradients" else {}
    own = attribute_captured(known, x, None, method, options, context, lambda output, rows: weights[rows])
    every = attribute_captured(known, x, "all", method, options, context)
    if method != "guided_backprop":
        assert_close(own.values, (every.values * weights.view(5, 3, 1, 1, 1)).sum(1), 1e-9)
    else:
        assert_close(own.values[:1], guided(known, x[:1], weights[:1], tuple(c[:1] for c in context)), 1e-12)


def guided(known, x, weights, context):
    return attribute_captured(known, x, None, "guided_backprop", {}, context, lambda output, rows: weights).values


def test_a_signal_that_depends_on_the_output():
    model, x, context = made()
    known = captured(model, (x, *context), 1)
    result = attribute_captured(known, x, None, "gradient", {}, context, lambda output, rows: output)
    assert_close(result.values, truth(model, x, context, model(x, *context).detach()), 1e-12)


def test_a_signal_of_zero_hides_an_output_that_is_not_finite():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2)).eval()
    model[0].bias.data[1] = float("inf")
    x = torch.randn(2, 3)
    known = captured(model, (x,))
    result = attribute_captured(known, x, None, "gradient", {}, (), lambda output, rows: torch.eye(2)[:1].expand(2, 2))
    assert result.values.isfinite().all()


def test_a_batch_of_nothing_with_context_and_signal():
    model, x, context = made()
    known = captured(model, (x, *context), 1)
    none = tuple(c[:0] for c in context)
    assert attribute_captured(known, x[:0], 1, "gradient", {}, none).values.shape == (0, 2, 5, 6)
    assert (
        attribute_captured(known, x[:0], None, "gradient", {}, none, lambda output, rows: output).values.shape
        == x[:0].shape
    )


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        inner = torch.relu(self.first(x))
        return self.last(torch.relu(self.second(inner)) + inner + x)


def test_networks_that_begin_inside():
    torch.manual_seed(0)
    model, x = Residual().double().eval(), torch.randn(3, 4, dtype=torch.float64)
    known = captured(model, (x,))
    run = make_run(known, prepared(known, x)[1], 1)
    engine, graph = run.engine, run.engine.graph
    second = layer_value(graph, model.second, known.path_of)
    behind = engine.starting_at(second)
    assert behind is engine.starting_at(second)
    value = torch.randn(3, 4, dtype=torch.float64)
    inner = torch.relu(model.first(x))
    assert_close(behind.outputs([x, value], True), model.last(torch.relu(value) + inner + x).detach(), 1e-12)
    assert behind.graph.explained == (second,) and behind.graph.inputs[0] in behind.graph.context
    (last,) = layer_inputs(graph, model.last, known.path_of)
    alone = engine.starting_at(last)
    assert alone.graph.inputs == (last,)
    assert_close(alone.outputs([value], False), model.last(value).detach(), 1e-12)
    both = engine.starting_at(second, layer_value(graph, model.first, known.path_of))
    made = both.outputs([x, value, 2 * value], True)
    assert_close(made, model.last(torch.relu(value) + torch.relu(2 * value) + x).detach(), 1e-12)


class Text(nn.Module):
    """Tokens, their places and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.hidden, self.head = (
            nn.Embedding(9, 4),
            nn.Embedding(5, 4),
            nn.Linear(22, 8),
            nn.Linear(8, 3),
        )

    def forward(self, tokens, vector):
        x = self.words((tokens + 1) % 9) + self.places(torch.arange(5, device=tokens.device))
        return self.head(torch.relu(self.hidden(torch.cat([x.flatten(1), vector], 1))))


def test_signals_end_where_explained_integers_lead():
    torch.manual_seed(0)
    model = Text().to(DEVICE).double().eval()
    tokens, vector = torch.arange(20).view(4, 5) % 9, torch.randn(4, 2, dtype=torch.float64)
    known = captured(model, (tokens, vector))
    graph = known.engine().graph
    root = layer_value(graph, model.words, known.path_of)
    assert root in graph.roots and len(graph.roots) == 1
    run = Run(known.engine(), True, [tokens, vector], 1, known.path_of)
    walked = run.walk("gradient", stops=frozenset((root, graph.inputs[1])))
    leaves = model.words((tokens + 1) % 9).detach().requires_grad_(), vector.clone().requires_grad_()
    inner = leaves[0] + model.places(torch.arange(5))
    output = model.head(torch.relu(model.hidden(torch.cat([inner.flatten(1), leaves[1]], 1))))
    expected = torch.autograd.grad(output[:, 1].sum(), leaves)
    for name, g in zip((root, graph.inputs[1]), expected, strict=True):
        assert_close(walked.signals[name], g, 1e-12, name)
    assert_close(walked.layers[root], leaves[0], 1e-12)
    with pytest.raises(InvalidInput, match="floating-point"):
        rx.gradient(model, (tokens, vector), 1)
