"""The table of which node follows which rule."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast import rules


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.pool = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.MaxPool2d(2)
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        h = torch.relu(self.norm(self.conv(x)))
        return self.head(self.pool(h + h * 2).mean((2, 3)))


X = torch.rand(1, 1, 8, 8)


def _does(found):
    return [(row.path, row.kind, row.does) for row in found.rows]


def test_rows():
    found = rx.coverage(Net(), X, layer_rules={"head": rules.Gamma(0.5)})
    assert found.ok and _does(found) == [
        ("conv", "convolution", "Flat()"),
        ("norm", "batch_norm", "folded into conv2d"),
        ("", "activation", "Pass()"),
        ("", "scale", "unchanged"),
        ("", "sum", "Norm()"),
        ("pool", "max_pool", "to the winner"),
        ("", "sum", "Norm()"),
        ("head", "linear", "Gamma(gamma=0.5)"),
    ]
    assert [row.rule for row in found.rows][-1] == rules.Gamma(0.5)
    lines = str(found).splitlines()
    assert lines[0].split() == ["module", "node", "operation", "kind", "rule"] and len(lines) == 2 + len(found.rows)


def test_nodes_that_relevance_never_meets_are_left_out():
    class Dead(Net):
        def forward(self, x):
            self.norm(self.conv(x)).sum((1, 2, 3))
            return self.head(x.mean((2, 3)).expand(-1, 2))

    assert [row.path for row in rx.coverage(Dead(), X).rows] == ["", "", "head"]


def test_a_node_without_a_rule_is_shown_not_raised():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    found = rx.coverage(model, torch.randn(2, 3))
    assert not found.ok and ("1", "other", "NO RULE") in _does(found)
    assert "layer_norm in module '1'" in found.refusal and found.refusal in str(found)
    mended = rx.coverage(model, torch.randn(2, 3), fallback="gradient")
    assert mended.ok and ("1", "other", "Gradient()") in _does(mended)


def test_bounds_are_shown_by_shape():
    low, high = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    found = rx.coverage(Net(), X, composite=rx.composite("epsilon_gamma_box", low=low, high=high))
    assert found.rows[0].does == "ZBox(low=Tensor(1, 1, 1), high=Tensor(1, 1, 1))"


def test_relu_rules_assign_nothing():
    with pytest.raises(rx.InvalidInput, match="composite must assign rules to layers"):
        rx.coverage(Net(), X, composite="deconvnet")
