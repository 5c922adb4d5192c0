"""What must be refused, with the operation, the module path and the source line, instead of a wrong number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Refused:
    """A model that is refused.

    Attributes:
        name: unique id.
        build: () -> model.
        shape: of one row of the input.
        op: part of the operation's name, as the error must give it.
        module_path: where it is called; None where no place exists (a model refused as a whole).
        line: part of the source line the error must quote; "" where no line exists.
        says: part of the message.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    op: str
    module_path: str | None
    line: str
    says: str


REFUSED: dict[str, Refused] = {}


def _refused(shape: tuple[int, ...], op: str, says: str, line: str = "", module_path: str | None = "inner"):
    """The construct is put at `inner` of a small model, so that the module path is not trivial."""

    def register(cls: type[nn.Module]) -> type[nn.Module]:
        REFUSED[cls.__name__] = Refused(cls.__name__, lambda: _Outer(cls()).eval(), shape, op, module_path, line, says)
        return cls

    return register


class _Outer(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@_refused((6,), "control flow", "values of a tensor", line="if x.sum() > 0:")
class DataDependentBranch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x * 2
        return F.relu(x)


@_refused((6,), "control flow", "values of a tensor", line="for _ in range(int(x.abs().max()))")
class DataDependentLoop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(x.abs().max())):
            x = F.relu(x)
        return x


@_refused((3, 56, 56), "view", "batch", line="x.view(-1, 64 * 7 * 7)")
class WrongImageSize(nn.Module):
    """Built for 28 px: at 56 px each image becomes four rows without an error."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 64, 3, padding=1), nn.MaxPool2d(4), nn.Linear(64 * 7 * 7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv(x)))
        return self.fc(x.view(-1, 64 * 7 * 7))


@_refused((4, 6), "reshape", "batch", line="x.reshape(-1, 6)")
class RowsFlattened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(x.reshape(-1, 6)))


@_refused((6,), "mean", "row", line="x.mean(0, keepdim=True)")
class BatchCentred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x - x.mean(0, keepdim=True))


@_refused((6,), "softmax", "row", line="x.softmax(0)")
class BatchSoftmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x.softmax(0))


@_refused((6,), "sum", "batch", line="F.relu(x).sum()")
class WholeBatchSum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).sum()


@_refused((6,), "", "row", line="x @ x.t()")
class RowsCompared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x @ x.t()) @ x


@_refused((6,), "", "row", line="torch.einsum(")
class RowsContracted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ni,mi,mj->nj", x, x, F.relu(x))


@_refused((6,), "", "row", line="x - x.max()")
class BatchMaximum(nn.Module):
    """The usual guard of a softmax, over the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x - x.max()).exp()


@_refused((6,), "", "row", line="x / x.norm()")
class BatchNormalised(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x / x.norm())


@_refused((6,), "", "row", line="F.normalize(x, dim=0)")
class BatchNormalisedColumns(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.normalize(x, dim=0))


@_refused((6,), "cumsum", "row", line="x.cumsum(0)")
class RowsAccumulated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x.cumsum(0))


@_refused((6,), "", "row", line="torch.roll(x, 1, 0)")
class RowsRolled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x - torch.roll(x, 1, 0))


@_refused((6,), "conv1d", "row", line="self.conv(x.t().unsqueeze(0))", module_path="inner.conv")
class ConvolvedOverBatch(nn.Module):
    """A convolution that slides over the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x.t().unsqueeze(0))[0].t())


@_refused((5, 8), "", "row", line="self.attention(x, x, x", module_path=None)
class AttentionOverBatch(nn.Module):
    """The default of nn.MultiheadAttention has the sequence first: fed batch first, rows attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.attention(x, x, x, need_weights=False)[0]).mean(1)


@_refused((5, 4), "", "batch", module_path=None)
class RecurrenceOverBatch(nn.Module):
    """The default of nn.GRU has the sequence first: fed batch first, a row depends on those before it."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x)[0][:, -1]


@_refused((6,), "flip", "row", line="x.flip(0)")
class RowsReversed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + x.flip(0))


@_refused((6,), "", "batch", module_path=None)
class BatchByLen(nn.Module):
    """`len(x)` makes the batch size a Python int, which fixes the capture to one batch size."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) + torch.ones(len(x), 6)


@_refused((6,), "batch_norm", "batch", line="self.bn(x)", module_path="inner.bn")
class NormWithoutStatistics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(6, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(x))


@_refused((6,), "dropout", "dropout", line="F.dropout(x, 0.5, training=True)")
class AlwaysDropout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=True)


@_refused((6,), "rand", "random", line="torch.randn_like(x)")
class NoiseInside(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + torch.randn_like(x))


@_refused((6,), "output", "tensor", module_path=None)
class TupleOutput(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.relu(x), x


@_refused((6,), "output", "tensor", module_path=None)
class DictOutput(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": F.relu(x)}


@_refused((6,), "", "no gradient", line="argmax", module_path=None)
class IntegerOutput(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).argmax(1)


def _scripted() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Linear(6, 4), nn.ReLU()).eval())


def _traced() -> nn.Module:
    return torch.jit.trace(nn.Sequential(nn.Linear(6, 4), nn.ReLU()).eval(), torch.zeros(2, 6))


for _name, _build in {"Scripted": _scripted, "Traced": _traced}.items():
    REFUSED[_name] = Refused(_name, _build, (6,), "", None, "", "TorchScript")


class _Reversed(torch.autograd.Function):
    """A gradient-reversal layer: its backward is not the derivative of its forward."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return -g


@_refused((6,), "_Reversed", "derivative of its own", line="_Reversed.apply(x)")
class OwnDerivative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(_Reversed.apply(x))
