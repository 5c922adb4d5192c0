"""The table of constructs: ours is right everywhere, and the documentation says what is measured."""

from __future__ import annotations

import importlib.util
import re

import pytest

pytest.importorskip("captum", reason="captum is not installed: the table cannot be measured")
pytest.importorskip("shap", reason="shap is not installed: the table cannot be measured")

from reluxfast.benchmarks.constructs.__main__ import BEGIN, DOCUMENT, END, written
from reluxfast.benchmarks.constructs.measure import Cell, as_markdown, measured
from reluxfast.benchmarks.constructs.methods import METHODS
from reluxfast.benchmarks.constructs.nets import NETS


def documented() -> dict[str, list[str]]:
    """Cells of each row of the documentation's table, by the row's name."""
    (table,) = re.findall(f"{BEGIN}\n(.*?)\n{END}", DOCUMENT.read_text(), re.DOTALL)
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines())
    assert head[1:-1] == [method.title for method in METHODS]
    return {cells[0]: cells[1:] for cells in rows}


@pytest.mark.parametrize("net", NETS, ids=[net.name for net in NETS])
def test_ours_is_right(net):
    assert {method.title: str(measured(method, net, ours=True)) for method in METHODS} == {
        method.title: "right" for method in METHODS
    }


def test_the_documentation_holds_every_construct():
    rows = documented()
    assert list(rows) == [net.name for net in NETS]
    assert {cells[-1] for cells in rows.values()} == {"right"}


@pytest.mark.parametrize("number", range(len(METHODS)), ids=[method.title for method in METHODS])
def test_the_documentation_says_what_peers_do(number):
    method, rows = METHODS[number], documented()
    if importlib.util.find_spec({"grad-cam": "pytorch_grad_cam"}.get(method.peer, method.peer.lower())) is None:
        pytest.skip(f"{method.peer} is not installed: its column cannot be measured")
    wrong = [net for net in NETS if rows[net.name][number].startswith("**wrong**")]
    for net in (NETS[0], *wrong[:1]):
        kind = str(measured(method, net, ours=False)).partition(" by ")[0]
        assert kind == rows[net.name][number].partition(" by ")[0]


def test_cells():
    assert str(Cell(1e-7, "", True)) == "right"
    assert str(Cell(0.5, "", False)) == "**wrong** by 50 %"
    assert str(Cell(float("nan"), "", False)) == "**wrong**: NaN"
    assert str(Cell(None, "TypeError", False)) == "refused: TypeError"


def test_the_table_names_what_of_ours_is_not_right():
    right, wrong = Cell(0.0, "", True), Cell(2.0, "", False)
    lines = as_markdown(
        {"a": {"x": (wrong, right), "y": (right, right)}, "b": {"x": (right, wrong), "y": (right, right)}}
    )
    assert lines.splitlines()[2:] == [
        "| a | **wrong** by 200 % | right | right |",
        "| b | right | right | x: **wrong** by 200 % |",
    ]


def test_the_table_goes_between_its_marks():
    assert written(f"a{BEGIN}old{END}b", "new") == f"a{BEGIN}\nnew\n{END}b"
