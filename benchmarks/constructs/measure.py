"""One cell: a method on a network, by the peer and by ours, beside what is right."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass

import torch

from reluxfast.benchmarks.constructs.methods import METHODS, Method
from reluxfast.benchmarks.constructs.nets import NETS, SHAPE, Net
from reluxfast.progress import progress_bar

# Largest deviation over largest value: rounding of float32, and of float16, stays far below.
TOLERANCE = {"": 1e-3, "half": 5e-2}


@dataclass(frozen=True)
class Cell:
    """Attributes:
    error: largest deviation from what is right, over the largest value; None where nothing came back.
    refused: name of the error's type, "" where something came back.
    right: whether the error is rounding alone.
    """

    error: float | None
    refused: str
    right: bool

    def __str__(self) -> str:
        if self.refused:
            return f"refused: {self.refused}"
        if self.right:
            return "right"
        return "**wrong**: NaN" if self.error != self.error else f"**wrong** by {100 * self.error:.0f} %"


def measured(method: Method, net: Net, ours: bool) -> Cell:
    """What a library makes of a network."""
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    model = net.built()
    if net.state == "half":
        model, x = model.half(), x.half()
    expected = method.expected(net, model, x)
    if net.state == "compiled":
        model = torch.compile(model, backend="eager")
        # As Dynamo meets it in training: code for inputs with a gradient is there when hooks come.
        model(x.clone().requires_grad_())
    library = method.ours if ours else method.theirs()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        # Whatever a library raises is its answer.
        try:
            found = method.explain(library, model, x, net.state)
        except Exception as error:
            return Cell(None, type(error).__name__, False)
    error = float((found.double() - expected).abs().max() / expected.abs().max())
    return Cell(error, "", error <= TOLERANCE.get(net.state, TOLERANCE[""]))


def table(
    methods: tuple[Method, ...] = METHODS, nets: tuple[Net, ...] = NETS
) -> dict[str, dict[str, tuple[Cell, Cell]]]:
    """Network -> method -> (theirs, ours)."""
    found: dict[str, dict[str, tuple[Cell, Cell]]] = {}
    with progress_bar(total=len(nets) * len(methods), desc="constructs", unit="cell") as bar:
        for net in nets:
            for method in methods:
                cells = measured(method, net, ours=False), measured(method, net, ours=True)
                found.setdefault(net.name, {})[method.title] = cells
                bar.update(1)
    return found


def as_markdown(found: dict[str, dict[str, tuple[Cell, Cell]]]) -> str:
    """The table: a row for each network, a column for each method of a peer, and one for ours under all their names."""
    methods = list(next(iter(found.values())))
    lines = [
        f"| how it is written | {' | '.join(methods)} | ours, all {len(methods)} |",
        "| --- " * (len(methods) + 2) + "|",
    ]
    for name, row in found.items():
        ours = [cells[1] for cells in row.values()]
        right = [cell for cell in ours if cell.right]
        summary = (
            "right"
            if len(right) == len(ours)
            else "; ".join(f"{method}: {cell}" for method, (_, cell) in row.items() if not cell.right)
        )
        lines.append(f"| {name} | {' | '.join(str(theirs) for theirs, _ in row.values())} | {summary} |")
    return "\n".join(lines)
