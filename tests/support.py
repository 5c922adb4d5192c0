"""Comparisons that say where two results differ, and a fingerprint of a model that must not change."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Worst deviation relative to scale: `max|actual - expected| / max|expected|` over the finite elements.

    NaN must stand at the same places and infinities must be equal, else the error is inf. If `expected` is all zero,
    the error is 0 for zeros and inf for anything else. Shapes must agree (ValueError).
    """
    if actual.shape != expected.shape:
        raise ValueError(f"shapes differ: {tuple(actual.shape)} and {tuple(expected.shape)}")
    a, e = actual.detach().double().cpu(), expected.detach().double().cpu()
    if a.numel() == 0:
        return 0.0
    finite = e.isfinite()
    same_elsewhere = (a.isnan() & e.isnan()) | (a == e)
    if not bool((finite | same_elsewhere).all()) or not bool(a[finite].isfinite().all()):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    worst, scale = float((a - e)[finite].abs().max()), float(e[finite].abs().max())
    return worst / scale if scale > 0 else (0.0 if worst == 0 else float("inf"))


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, name: str = "values", show: int = 5) -> None:
    """Fails unless `relative_error(actual, expected) <= tolerance`; names the first bad elements with both values."""
    assert isinstance(actual, Tensor), f"{name}: expected a Tensor, got {type(actual).__name__}"
    assert actual.shape == expected.shape, f"{name}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    error = relative_error(actual, expected)
    if error <= tolerance:
        return
    a, e = actual.detach().double().cpu(), expected.detach().double().cpu()
    finite = e.isfinite()
    scale = float(e[finite].abs().max()) if bool(finite.any()) else 0.0
    good = torch.where(finite, (a - e).abs() <= tolerance * scale, (a.isnan() & e.isnan()) | (a == e))
    bad = (~good).nonzero()
    lines = [
        f"{name}: relative error {error:.3g} above {tolerance:.3g} (scale {scale:.6g}), "
        f"{len(bad)} of {a.numel()} elements differ; the first:"
    ]
    lines += [f"  {tuple(i.tolist())}: got {a[tuple(i)]:.17g}, expected {e[tuple(i)]:.17g}" for i in bad[:show]]
    raise AssertionError("\n".join(lines))


def assert_same_bits(actual: Tensor, expected: Tensor, name: str = "values") -> None:
    """Fails unless shape, dtype and every bit agree (so -0.0 differs from 0.0, and NaN equals the same NaN)."""
    assert actual.shape == expected.shape, f"{name}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    assert actual.dtype == expected.dtype, f"{name}: dtype {actual.dtype}, expected {expected.dtype}"
    a, e = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (actual, expected))
    bad = (a != e).nonzero().flatten() // actual.element_size()
    if len(bad):
        i = int(bad[0])
        got, wanted = actual.detach().reshape(-1)[i].item(), expected.detach().reshape(-1)[i].item()
        raise AssertionError(
            f"{name}: {len(bad.unique())} elements differ in bits; first flat {i}: {got!r}, {wanted!r}"
        )


@dataclass(frozen=True)
class Fingerprint:
    """Everything about a model that an explanation must leave alone."""

    state: dict[str, Tensor]
    storages: dict[str, tuple[int, int]]
    flags: dict[str, tuple[bool, tuple[str, ...], tuple[int, ...]]]
    parameters: dict[str, tuple[bool, bool]]


_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


def fingerprint(model: nn.Module) -> Fingerprint:
    """State bits, storage addresses and versions, training flags, attributes, hook counts, requires_grad, grads."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return Fingerprint(
        state={k: v.detach().clone() for k, v in model.state_dict().items() if isinstance(v, Tensor)},
        storages={k: (v.data_ptr(), v._version) for k, v in tensors.items()},
        flags={
            name: (m.training, tuple(sorted(vars(m))), tuple(len(getattr(m, h, ())) for h in _HOOKS))
            for name, m in model.named_modules()
        },
        parameters={k: (p.requires_grad, p.grad is None) for k, p in model.named_parameters()},
    )


def assert_untouched(before: Fingerprint, model: nn.Module) -> None:
    """Fails if anything that `fingerprint` records has changed."""
    after = fingerprint(model)
    assert after.state.keys() == before.state.keys(), "state_dict keys changed"
    for key, value in before.state.items():
        assert_same_bits(after.state[key], value, f"state_dict[{key!r}]")
    assert after.storages == before.storages, "a parameter or buffer was replaced or written to"
    assert after.flags == before.flags, "a training flag, module attribute or hook changed"
    assert after.parameters == before.parameters, "requires_grad or .grad changed"
