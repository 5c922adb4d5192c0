"""The largest output of each row, whatever shape the outputs have."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.top_targets import top_targets


class Shaped(nn.Module):
    """The input's rows, affine and of another shape."""

    def __init__(self, *shape: int):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return (2 * x + 1).reshape(x.shape[0], *self.shape)


ROWS = torch.tensor([[3.0, 1, 2, 0], [0, 1, 5, 2], [-4, -3, -2, -1]])


@pytest.mark.parametrize(
    ("shape", "wanted"), [((4,), [0, 2, 3]), ((2, 2), [(0, 0), (1, 0), (1, 1)]), ((1, 4), [(0, 0), (0, 2), (0, 3)])]
)
def test_the_index_has_the_form_that_attribute_takes(shape, wanted):
    explainer = rx.Explainer(Shaped(*shape), ROWS)
    found = top_targets(explainer.captured, (ROWS,))
    assert found == wanted
    output = explainer.attribute(ROWS, found).output
    chosen = [row[index] for row, index in zip(output, found, strict=True)]
    assert torch.equal(torch.stack(chosen), output.flatten(1).amax(1))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_output_per_row_needs_no_index(shape):
    x = ROWS[:, :1]
    assert top_targets(rx.Explainer(Shaped(*shape), x).captured, (x,)) is None


def test_half_precision_inputs():
    x = ROWS.half()
    assert top_targets(rx.Explainer(Shaped(4).half(), x).captured, (x,)) == [0, 2, 3]
