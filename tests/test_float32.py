"""The switches for TF32: set for a while, put back as they were, however they were set."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluxfast as rx
from reluxfast.float32 import flags_that_agree, ieee_float32

BACKENDS = torch.backends


def _newer() -> list[str]:
    return [s.fp32_precision for s in (BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn, BACKENDS.cuda.matmul)]


def _older() -> list[bool | None]:
    found = []
    for backend in (BACKENDS.cudnn, BACKENDS.cuda.matmul):
        try:
            found.append(backend.allow_tf32)
        except RuntimeError:
            found.append(None)
    return found


def _one_convolution():
    BACKENDS.cudnn.conv.fp32_precision = "ieee"


def _all_newer():
    for switch, value in ((BACKENDS.cudnn.conv, "ieee"), (BACKENDS.cudnn.rnn, "ieee"), (BACKENDS.cuda.matmul, "tf32")):
        switch.fp32_precision = value


def _older_off():
    BACKENDS.cudnn.allow_tf32 = False


def _older_on():
    BACKENDS.cuda.matmul.allow_tf32 = True


SETTINGS = {
    "default": lambda: None,
    "one convolution": _one_convolution,
    "all newer": _all_newer,
    "older off": _older_off,
    "older on": _older_on,
}


@pytest.fixture(params=SETTINGS)
def settings(request):
    SETTINGS[request.param]()
    yield request.param
    BACKENDS.cudnn.allow_tf32, BACKENDS.cuda.matmul.allow_tf32 = True, False
    for switch, value in zip(
        (BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn, BACKENDS.cuda.matmul), ("tf32", "tf32", "none"), strict=True
    ):
        switch.fp32_precision = value


@pytest.mark.parametrize("block", [ieee_float32, flags_that_agree])
def test_flags_are_put_back(settings, block):
    before = _newer(), _older()
    with pytest.raises(KeyError), block():
        assert None not in _older()
        raise KeyError
    assert (_newer(), _older()) == before


def test_ieee_inside(settings):
    with ieee_float32():
        assert _newer() == ["ieee"] * 3 and _older() == [False, False]


def test_the_newer_flags_rule_inside(settings):
    """One older flag stands for convolutions and recurrent layers: convolutions decide."""
    before = _newer()
    with flags_that_agree():
        assert [value == "tf32" for value in _newer()[::2]] == [value == "tf32" for value in before[::2]]


def test_capture_works_whatever_is_set(settings):
    """torch.export by itself fails where the two sets contradict each other."""
    before = _newer(), _older()
    assert rx.gradient(nn.Linear(6, 4), torch.randn(2, 6), 0).values.shape == (2, 6)
    assert (_newer(), _older()) == before
