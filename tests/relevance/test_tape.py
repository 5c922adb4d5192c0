"""What is kept between forward and reverse: one bit per ReLU, two per pool window, never an activation."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

import reluxfast as rx
from tests.relevance.cases import case

ROWS = 2


def _words(bits: int) -> int:
    """Bytes of a field padded to 32-bit words."""
    return 4 * -(-bits // 32)


# vgg on (3, 12, 12): 4 maps of 12x12 pooled to 6x6; 6 of 6x6; 6 of 6x6 pooled to 3x3; 8 of 3x3 pooled to 1x1; 10 units.
POOLED = [ROWS * 4 * 6 * 6, ROWS * 6 * 3 * 3, ROWS * 8]
UNPOOLED = [ROWS * 6 * 6 * 6, ROWS * 10]
WINNERS = sum(_words(2 * n) for n in POOLED)
BITS = sum(_words(n) for n in POOLED + UNPOOLED)


def test_bytes_by_hand():
    assert (WINNERS, BITS) == (72 + 28 + 4, 36 + 16 + 4 + 56 + 4)


@pytest.mark.parametrize(
    ("rule", "bound"), [("gradient", WINNERS + BITS), ("guided_backprop", WINNERS + BITS), ("deconvnet", WINNERS)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_tape_keeps_bits_and_winners_only(backend, rule, bound, dtype):
    """`nbytes` against the bound, and against the tensors that are really alive while the tape is."""
    found = case("vgg", dtype, ROWS)
    with rx.backend(backend):
        found.explainer.tape(found.x, rule=rule)  # caches of weights are filled by the first pass
        gc.freeze()  # what is there already is not looked through, which takes seconds late in a run
        try:
            before = _alive()
            tape = found.explainer.tape(found.x, rule=rule)
            kept = _alive()
        finally:
            gc.unfreeze()
    assert 0 < tape.nbytes <= bound
    new = {p: n for p, n in kept.items() if p not in before}
    assert sum(new.values()) == tape.nbytes, new


def _alive() -> dict[int, int]:
    """Storage address -> bytes, of every tensor alive (packed weights have no address: their object's id)."""
    gc.collect()
    found = {}
    for item in gc.get_objects():
        if type(item) not in (Tensor, torch.nn.Parameter):
            continue
        if item.layout != torch.strided:
            found[id(item)] = item.numel() * item.element_size()
        else:
            storage = item.untyped_storage()
            if storage.nbytes():
                found[storage.data_ptr()] = storage.nbytes()
    return found


def test_adds_and_batch_norm_keep_nothing():
    """resnet18: nine ReLUs and one pool; adds, folded batch norms and convolutions keep no bytes."""
    found = case("resnet18", torch.float32, 1)
    pooled, layer1, layer2 = 4 * 3 * 3, 4 * 3 * 3, 6 * 2 * 2
    winners = _words(4 * pooled)  # nine taps: four bits
    bits = _words(pooled) + 4 * _words(layer1) + 4 * _words(layer2)
    assert found.explainer.tape(found.x).nbytes <= winners + bits
