"""The arguments of one call of `attribute`, in one form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from reluxfast.compat.captum.errors import Refused, Undefined


@dataclass(frozen=True)
class Call:
    """Attributes:
    inputs: tensors (N, ...).
    many: whether they came as a tuple, so that results do too.
    target: as given.
    extra: further arguments of the model.
    """

    inputs: tuple[torch.Tensor, ...]
    many: bool
    target: Any = None
    extra: tuple[Any, ...] = ()

    @classmethod
    def of(cls, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Call:
        """The arguments as Captum takes them.

        Raises:
            AssertionError: inputs are no Tensor or tuple of Tensors.
        """
        many = isinstance(inputs, tuple)
        given = inputs if many else (inputs,)
        if not given or not all(isinstance(x, torch.Tensor) for x in given):
            shown = f"a tuple of {[type(x).__name__ for x in given]}" if many else type(inputs).__name__
            remedy = "Use a tuple, not a list" if isinstance(inputs, list) else "Use torch.as_tensor(...)"
            raise Refused("inputs", "must be a Tensor or a tuple of Tensors", shown, remedy)
        if additional_forward_args is None:
            extra = ()
        else:
            whole = isinstance(additional_forward_args, tuple)
            extra = additional_forward_args if whole else (additional_forward_args,)
        return cls(given, many, target, extra)

    @property
    def rows(self) -> int:
        """N."""
        return self.inputs[0].shape[0]

    @property
    def dtype(self) -> torch.dtype | None:
        """dtype of the first input that is not whole; None: there is none."""
        return next((x.dtype for x in self.inputs if x.is_floating_point()), None)

    def at(self, inputs: Sequence[torch.Tensor]) -> Call:
        """The same call of other inputs."""
        return replace(self, inputs=tuple(inputs))

    def repeated(self, inputs: Sequence[torch.Tensor], times: int) -> Call:
        """The call of inputs (times * N, ...) that hold the rows one time after the other."""
        if times == 1:
            return self.at(inputs)
        target = self.target
        if isinstance(target, list):
            target = target * times
        elif isinstance(target, torch.Tensor) and target.numel() > 1:
            target = target.repeat(times)
        extra = tuple(
            e.repeat(times, *[1] * (e.dim() - 1)) if isinstance(e, torch.Tensor) and e.dim() else e for e in self.extra
        )
        return Call(tuple(inputs), self.many, target, extra)

    def packed(self, values: Sequence[torch.Tensor]) -> Any:
        """Results as the inputs came."""
        return tuple(values) if self.many else values[0]

    def refuse_integers(self) -> None:
        """Refuses inputs that have no gradient."""
        for x in self.inputs:
            if not x.is_floating_point():
                remedy = "Convert them, as in x.float()"
                raise Undefined("inputs", "must be floating-point to be explained", x.dtype, remedy)

    def check_rows(self, tensors: Sequence[torch.Tensor], name: str) -> None:
        """Refuses tensors with another number of rows."""
        for tensor in tensors:
            if tensor.shape[0] != self.rows:
                raise Refused(name, f"must have as many rows as the inputs ({self.rows})", tensor.shape[0])


def given_baselines(baselines: Any, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Baselines as tensors like the inputs, in their dtypes: None (zeros), numbers, rows (1, ...) or tensors like them.

    Raises:
        AssertionError: another form, or another number of them.
    """
    given = (0,) * len(inputs) if baselines is None else baselines if isinstance(baselines, tuple) else (baselines,)
    if len(given) != len(inputs):
        raise Refused("baselines", f"must be as many as the inputs ({len(inputs)})", len(given))
    return tuple(_baseline(b, x) for b, x in zip(given, inputs, strict=True))


def _baseline(baseline: Any, x: torch.Tensor) -> torch.Tensor:
    if isinstance(baseline, (int, float)):
        return x.new_full((1, *x.shape[1:]), baseline).expand_as(x)
    if not isinstance(baseline, torch.Tensor):
        raise Refused("baselines", "must be Tensors or numbers", type(baseline).__name__)
    try:
        if baseline.shape == x.shape or (baseline.dim() == x.dim() and len(baseline) == 1):
            return baseline.detach().to(x).expand_as(x)
    except RuntimeError:
        pass  # it does not broadcast
    rule = f"must be a number, one row that broadcasts to the inputs {tuple(x.shape)}, or shaped like them"
    raise Refused("baselines", rule, tuple(baseline.shape))
