"""The modes the engine computes in, and that it leaves torch's own as they were."""

from __future__ import annotations

import pytest
import torch

from reluxfast.relevance.engine import numerics


def _settings() -> tuple:
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return (
        *(cuda.fp32_precision, cudnn.conv.fp32_precision, cuda.allow_tf32, cudnn.allow_tf32),
        *(cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        *(torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
    )


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("tf32", [False, True])
def test_float32_is_ieee_and_settings_are_put_back(device, tf32):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        outside = _settings()
        with pytest.raises(KeyError), numerics(torch.device(device)):
            assert not torch.is_grad_enabled()
            if device == "cuda":
                assert torch.backends.cudnn.conv.fp32_precision == "ieee"
                assert torch.backends.cuda.matmul.fp32_precision == "ieee"
                assert torch.backends.cudnn.enabled
            raise KeyError
        assert _settings() == outside
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_inference_mode_and_autocast_are_left_outside():
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        with numerics(torch.device("cpu")):
            assert not torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu")
            assert not torch.ones(1).is_inference()
        assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu")
