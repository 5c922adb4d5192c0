"""Tensors for the kernels, and the comparison of Triton with the reference, bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor

from reluxfast import ops

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# Three whole blocks and a part of one; channels that fill rows of the tile, and channels that do not.
SHAPES = {"aligned": (3, 16, 40, 24), "odd": (3, 19, 37, 23)}


def random(shape: tuple[int, ...], dtype: torch.dtype, layout: str, special: bool = True) -> Tensor:
    """Normal numbers; `special` puts NaN, infinities and zeros of both signs among them."""
    x = torch.randn(shape, dtype=torch.float64)
    if special:
        for value in (float("nan"), float("inf"), -float("inf"), 0.0, -0.0):
            x[torch.rand(shape) < 0.02] = value
    return x.to(dtype).to(memory_format=LAYOUTS[layout])


def assert_same(got: Tensor, want: Tensor, signs: bool) -> None:
    """Equal dtypes, strides and bits; a NaN may be any NaN, and without `signs` a zero any zero."""
    assert got.dtype == want.dtype and got.stride() == want.stride()
    same = got == want
    if got.is_floating_point():
        if signs:
            same &= got.signbit() == want.signbit()
        same |= got.isnan() & want.isnan()
    assert same.all(), f"{int((~same).sum())} of {got.numel()} elements differ"


def compare(name: str, *arguments) -> tuple:
    """The op's results on Triton, after comparing them with the reference's.

    Arguments that the op writes into come first among the results, as it wrote them; the caller's are left alone.
    """
    operator, reference, triton = ops._IMPLEMENTATIONS[name]
    writes = [argument.is_write for argument in operator._schema.arguments]
    answers = []
    for answer in (triton, reference):
        given = [x.clone() if write and x is not None else x for x, write in zip(arguments, writes, strict=True)]
        results = answer(*given)
        results = results if isinstance(results, tuple) else () if results is None else (results,)
        written = [x for x, write in zip(given, writes, strict=True) if write and x is not None]
        answers.append((*written, *results))
    for got, want in zip(*answers, strict=True):
        # torch's ReLU, which a pool may contain, keeps the sign of -0.0.
        assert_same(got, want, signs=name != "max_pool_pack")
    return answers[0]
