"""Examples of several inputs as rows of one dtype, and back, to the bit."""

from __future__ import annotations

import math

import torch

from reluxfast.errors import InvalidInput

# Dtypes whose values float32 holds exactly, and the whole numbers that float64 does.
_NARROW = (torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int8, torch.int16)
_MOST_WHOLE = 1 << 53


class Packing:
    """Where each input is in a row.

    Args:
        inputs: (N, ...) each.
        dtypes: of the tensors that rows are unpacked to.
        numbered: whether a row ends with the number of its example.

    Attributes:
        shapes: of an example of each input.
        width: elements of a row.
        place: for each input (1, p), where the elements of an example are in a row.
    """

    def __init__(self, inputs: tuple[torch.Tensor, ...], dtypes: tuple[torch.dtype, ...], numbered: bool):
        self.shapes = tuple(tuple(x.shape[1:]) for x in inputs)
        self._dtypes, self.numbered = dtypes, numbered
        self._sizes = [math.prod(shape) for shape in self.shapes]
        narrow = all(d in _NARROW for d in (*dtypes, *(x.dtype for x in inputs)))
        self._dtype = torch.float32 if narrow and len(inputs[0]) < 1 << 24 else torch.float64
        self._device = inputs[0].device
        self.width = sum(self._sizes) + numbered
        self.place = torch.arange(sum(self._sizes), device=self._device).unsqueeze(0).split(self._sizes, 1)

    def pack(self, tensors: tuple[torch.Tensor, ...], name: str) -> torch.Tensor:
        """Rows (N, width) of tensors (N, ...), which are numbered from 0."""
        parts = []
        for tensor, size in zip(tensors, self._sizes, strict=True):
            _check_exact(tensor, name)
            parts.append(tensor.detach().reshape(len(tensor), size).to(self._device, self._dtype))
        if self.numbered:
            parts.append(torch.arange(len(parts[0]), device=self._device, dtype=self._dtype).unsqueeze(1))
        return torch.cat(parts, 1).contiguous()

    def unpack(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Tensors (T, ...) of rows (T, width), in memory of their own."""
        parts = rows[:, : sum(self._sizes)].split(self._sizes, 1)
        listed = zip(parts, self.shapes, self._dtypes, strict=True)
        return tuple(part.to(dtype, copy=True).reshape(len(rows), *shape) for part, shape, dtype in listed)

    @staticmethod
    def numbers(rows: torch.Tensor) -> torch.Tensor:
        """(T,) int64 example that each numbered row comes from."""
        return rows[:, -1].long()


def _check_exact(tensor: torch.Tensor, name: str) -> None:
    if tensor.is_complex() or tensor.layout != torch.strided:
        raise InvalidInput(name, "must be dense Tensors of real numbers", f"{tensor.dtype}, {tensor.layout}")
    if tensor.dtype == torch.int64 and tensor.numel():
        low, high = map(int, tensor.aminmax())
        if max(high, -low) > _MOST_WHOLE:
            raise InvalidInput(name, "must hold integers of at most 2**53", max(high, -low))
