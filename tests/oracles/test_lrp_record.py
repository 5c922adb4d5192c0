"""The tape: which operations are seen, through views and writes in place, and the matrices made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.oracles import plain
from tests.oracles.lrp import composite, explain, record, rules
from tests.oracles.lrp.rules import Flat, Zero
from tests.support import assert_untouched, fingerprint
from tests.zoo import CONSTRUCTS, FUNCTIONAL
from tests.zoo.registry import settle


def row(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        1, *shape, generator=torch.Generator(torch.get_default_device()).manual_seed(seed), dtype=torch.float64
    )


def zoo_tape(name: str, **options):
    construct = CONSTRUCTS[name]
    return record(construct.oracle(FUNCTIONAL), tuple(row(*s) for s in construct.shapes), **options)


def test_nodes_of_a_small_network():
    tape = zoo_tape("relu_module")
    assert [(n.op, n.kind, n.path, n.folded) for n in tape.nodes] == [
        ("conv2d", "convolution", "conv1", "bn"),
        ("relu", "activation", "", None),
        ("max_pool2d", "max_pool", "pool", None),
        ("conv2d", "convolution", "conv2", None),
        ("relu", "activation", "", None),
        ("linear", "linear", "fc1", None),
        ("relu", "activation", "", None),
        ("linear", "linear", "fc2", None),
    ]
    assert [n.call for n in tape.nodes if n.op == "relu"] == [0, 1, 2]
    assert [n.first for n in tape.nodes] == [True] + [False] * 7
    assert [n.kind for n in zoo_tape("relu_module", fold=False).nodes][:2] == ["convolution", "batch_norm"]


def test_the_first_layer_is_the_first_in_execution_order():
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b, self.fc, self.a = nn.Conv2d(2, 2, 1), nn.Linear(8, 3), nn.Conv2d(2, 2, 1)
            self.stem = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.b(self.a(self.stem(x))).flatten(1))

    nodes = record(settle(Late(), 0), (row(2, 2, 2),)).nodes
    assert [n.path for n in nodes if n.first] == ["stem"]
    assert [n.path for n in nodes if n.first_convolution] == ["a"]


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("shared_conv_two_norms", ["bn1", "bn2"]),
        ("conv_and_norm_called_twice", ["block.1", "block.1"]),
        ("conv_used_by_norm_and_elsewhere", []),
        ("conv_read_by_two_norms", []),
        ("norm_reused", ["bn", "bn"]),
        ("bn_after_linear", ["0.1"]),
        ("bn_after_linear_3d", []),
        ("bn_after_flattened_conv", []),
        ("bn2d_before_conv", []),
        ("bn_twice", ["0.1"]),
        ("conv_transpose2d_grouped_bn", ["0.3"]),
    ],
)
def test_where_batch_norm_folds(name, folded):
    assert [n.folded for n in zoo_tape(name).nodes if n.folded is not None] == folded


def test_explicit_matrices_against_the_definition():
    """Convolution, batch norm, average and max-pool, against matrices written out index by index."""
    conv, norm = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(6)
    model = settle(nn.Sequential(nn.Conv2d(3, 4, 1), conv, norm, nn.MaxPool2d(2, 1), nn.AvgPool2d(2, 1, 1)), 1)
    nodes = record(model, (row(3, 6, 7),)).nodes
    p = {k: v.detach().double().numpy() for k, v in model.state_dict().items()}
    expected, size = plain.convolution(p["1.weight"], p["1.bias"], (6, 7), 2, 1, 2)
    bn = plain.batch_norm(
        p["2.weight"], p["2.bias"], p["2.running_mean"], p["2.running_var"], norm.eps, int(np.prod(size))
    )
    found = nodes[1].affine
    np.testing.assert_allclose(found.matrix.numpy(), bn.matrix @ expected.matrix, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(found.bias.numpy(), bn.matrix @ expected.bias + bn.bias, rtol=1e-14)
    ones, _ = plain.convolution(np.ones_like(p["1.weight"]), p["1.bias"], (6, 7), 2, 1, 2)
    np.testing.assert_array_equal(found.ones.numpy(), ones.matrix)

    windows = plain.pool_windows(6, size, 2, 1)
    competing = np.zeros((len(windows), len(nodes[2].affine.x)))
    for k, window in enumerate(windows):
        competing[k, list(window)] = 1
    np.testing.assert_array_equal(nodes[2].affine.ones.numpy(), competing)
    padded = plain.pool_windows(6, tuple(nodes[3].inputs[0].shape[2:]), 2, 1, 1)
    average = plain.average(padded, len(nodes[3].affine.x), 4)
    np.testing.assert_allclose(nodes[3].affine.matrix.numpy(), average.matrix)


@pytest.mark.parametrize("name", ["max_pool2d_dilated", "max_pool1d_ceil_mode_padded", "adaptive_max_pool3d_odd"])
def test_winners_are_those_of_autograd(name):
    node = next(n for n in zoo_tape(name).nodes if n.kind == "max_pool")
    x = node.inputs[0].clone().requires_grad_()
    out = node.function(x)
    for k in range(0, out.numel(), 3):
        (g,) = torch.autograd.grad(out.flatten()[k], x, retain_graph=True)
        assert torch.equal(node.affine.matrix[k], g.flatten())


def test_ties_of_maxima():
    """Max-pool: the first in row-major order; amax: evenly, as torch."""
    tied = torch.tensor([[[[1.0, 2.0], [2.0, 2.0]]]])
    pool = record(nn.MaxPool2d(2), (tied,)).nodes[0]
    assert pool.affine.matrix.tolist() == [[0, 1, 0, 0]]

    class Amax(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.amax((2, 3))

    third = 1 / 3
    assert record(Amax(), (tied,)).nodes[0].affine.matrix.tolist() == [[0, third, third, third]]


def test_padding_counts_as_absent():
    """A corner's window of a padded 3x3 convolution holds 4 elements: each gets a quarter."""
    model = settle(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.Flatten()), 0)
    found = explain(model, (row(1, 3, 3),), lambda node: Flat(0.0), 0, seed=1.0)
    quarter = [[0.25, 0.25, 0], [0.25, 0.25, 0], [0, 0, 0]]
    assert found.values[0][0, 0].tolist() == quarter


class Writes(nn.Module):
    """Every element ends up where the comment says."""

    def forward(self, x: Tensor) -> Tensor:  # x = a b c d
        y = x.clone()
        y[:, 1:3] *= 2.0  # a 2b 2c d
        y[:, 0] = x[:, 3]  # d 2b 2c d
        z = torch.cat([y, torch.full((1, 1), 7.0, dtype=x.dtype)], 1)  # d 2b 2c d 7
        z = F.pad(z.flip(1), (1, 0), value=9.0)  # 9 7 d 2c 2b d
        w = torch.zeros_like(z)
        w[:, ::2].copy_(z[:, ::2])  # 9 0 d 0 2b 0
        return w.view(1, 3, 2).transpose(1, 2).reshape(1, 6)  # 9 d 2b 0 0 0


def test_provenance_through_copies_and_writes():
    tape = record(Writes(), (torch.tensor([[1.0, 2.0, 3.0, 4.0]]),))
    assert tape.output.tolist() == [[9.0, 4.0, 4.0, 0.0, 0.0, 0.0]]
    _, b, c, d = tape.input_cells[0][0].tolist()
    (double,) = tape.nodes
    assert double.kind == "scale" and double.cells[0].tolist() == [[b, c]]
    assert tape.output_cells[0].tolist() == [0, d, int(double.output_cells[0, 0]), 0, 0, 0]


def test_written_padding_is_constant():
    class Padded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.constant_pad_nd(x, (1, -1), 1.0)

    tape = record(Padded(), (torch.tensor([[5.0, 6.0]]),))
    assert tape.output.tolist() == [[1.0, 5.0]]
    assert tape.output_cells.tolist() == [[0, int(tape.input_cells[0][0, 0])]]


def test_padding_modes_copy_elements():
    class Reflect(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.pad(x, (2, 1), mode="reflect")

    tape = record(Reflect(), (row(1, 4),))
    a, b, c, d = tape.input_cells[0][0, 0].tolist()
    assert tape.output_cells[0, 0].tolist() == [c, b, a, b, c, d, c]


def test_constants_take_the_bias_share():
    """y = x + 3 at x = 1: a quarter of the relevance is x's under the norm rule; composites hand all of it on."""

    class Shift(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 3.0

    passed = explain(Shift(), (torch.tensor([[1.0]]),), composite("epsilon"), 0, seed=8.0)
    assert passed.values[0].item() == 8.0 and passed.nodes[0].to_bias.item() == 0.0
    found = explain(Shift(), (torch.tensor([[1.0]]),), lambda node: rules.Norm(), 0, seed=8.0)
    assert found.values[0].item() == pytest.approx(2.0, rel=1e-6)
    assert found.nodes[0].to_bias.item() == pytest.approx(6.0, rel=1e-6)
    assert found.nodes[0].to_stabiliser.item() == pytest.approx(8e-6 / 4, rel=1e-5)


def test_the_model_is_not_touched():
    construct = CONSTRUCTS["resnet18"]
    model = construct.model().train()
    before = fingerprint(model)
    x = torch.randn(1, *construct.shapes[0])
    kept = x.clone()
    explain(model, (x,), composite("epsilon_plus"), 1)
    assert_untouched(before, model)
    assert torch.equal(x, kept) and not x.requires_grad


def test_spellings_on_the_model_as_a_user_wrote_it():
    """In-place modules, `+=`, `clamp`, `maximum`: the same relevance as with functional ReLUs."""
    names = ["residual_block_inplace", "resnet18", "inplace_live_view", "inplace_slice", "inplace_setitem"]
    names += ["relu: torch.maximum(x, zeros_like)", "relu: x.clamp_(min=0)", "relu: F.threshold_(x, 0, 0)"]
    for name in names:
        construct = CONSTRUCTS[name]
        x = row(*construct.shapes[0])
        for rule in ("epsilon", "epsilon_plus_flat"):
            found = explain(construct.model(), (x,), composite(rule), 1)
            twin = explain(construct.oracle(FUNCTIONAL), (x,), composite(rule), 1)
            torch.testing.assert_close(found.values[0], twin.values[0], rtol=1e-12, atol=1e-12, msg=name)


def test_one_row_at_a_time():
    with pytest.raises(ValueError, match="one row"):
        record(nn.ReLU(), (torch.zeros(2, 3),))
    model = settle(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), 0)
    x = torch.randn(3, 3)
    together = explain(model, (x,), lambda n: Zero() if n.affine else composite("epsilon")(n), [0, 1, 0])
    for n, target in enumerate([0, 1, 0]):
        alone = explain(model, (x[n : n + 1],), lambda n: Zero() if n.affine else composite("epsilon")(n), target)
        assert torch.equal(together.values[0][n], alone.values[0][0])


@pytest.mark.parametrize("rule", ["epsilon", "excitation_backprop"])
def test_a_broadcast_factor_collects_its_copies(rule):
    """One element times four constants: all the relevance comes back to it."""

    class Spread(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=x.dtype)).sum(1, keepdim=True)

    found = explain(Spread(), (torch.tensor([[0.5]]),), composite(rule), 0, seed=3.0)
    factor = {"epsilon": 3.0, "excitation_backprop": 9.0}[
        rule
    ]  # norm splits 3 by .1 .2 .3 .4; the gradient weighs again
    assert found.values[0].item() == pytest.approx(factor, rel=1e-6)


@pytest.mark.parametrize(
    ("function", "slope", "shift"),
    [
        (lambda x: torch.rsub(x, 3.0, alpha=2.0), -2.0, 3.0),
        (lambda x: torch.sub(x, 3.0, alpha=2.0), 1.0, -6.0),
        (lambda x: x.div(4.0), 0.25, 0.0),
        (lambda x: 5.0 * -x, -5.0, 0.0),
    ],
    ids=["rsub", "sub", "div", "neg"],
)
def test_arithmetic_with_constants(function, slope, shift):
    class Arithmetic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    value, inner = 1.0, 0.0
    for node in record(Arithmetic(), (torch.tensor([[2.0]]),)).nodes:
        weights = node.affine.matrix[0].tolist()
        constant = float(node.affine.bias[0])
        value, inner = value * weights[0], inner * weights[0] + constant
    assert (value, inner) == (slope, shift)
