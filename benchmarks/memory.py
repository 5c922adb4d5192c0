"""Measuring memory of this process on Linux: live storages, what autograd saves, allocator and resident size."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class _MallInfo2(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33 and later."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def allocated_bytes() -> int | None:
    """Bytes that malloc has handed out and not got back, all arenas and mappings; None where glibc cannot say."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return None
    library.mallinfo2.restype = _MallInfo2
    info = library.mallinfo2()
    return info.uordblks + info.hblkhd


def trim() -> None:
    """Collect garbage and give free heap pages back to the system, so that resident size means memory in use."""
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def map_large_blocks(least: int = 1 << 17) -> None:
    """Have malloc map every block of `least` bytes or more by itself, so that freeing it shrinks the resident set."""
    library = ctypes.CDLL(None)
    m_mmap_threshold = -3
    if hasattr(library, "mallopt"):
        library.mallopt(m_mmap_threshold, least)


def live_storages() -> dict[int, int]:
    """Address -> bytes of every storage behind a tensor that Python's garbage collector can see, each once."""
    gc.collect()
    found = (obj for obj in gc.get_objects() if issubclass(type(obj), Tensor) and not isinstance(obj, FakeTensor))
    return _storages([tensor for tensor in found if tensor.device.type == "cpu" and tensor.layout == torch.strided])


def new_bytes(after: dict[int, int], before: dict[int, int]) -> int:
    """Bytes of the storages in `after` that are not in `before`."""
    return sum(size for address, size in after.items() if before.get(address) != size)


def saved_by_autograd(model: nn.Module, x: Tensor) -> int:
    """Bytes of the storages that autograd saves in `model(x)`, each once, without parameters, buffers and the input."""
    own = _storages([x, *model.parameters(), *model.buffers()])
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(x.detach().requires_grad_(True))
    found = _storages(saved)
    del output
    return sum(size for address, size in found.items() if address not in own)


def resident_bytes() -> int:
    """Resident set size of this process now."""
    return _status("VmRSS")


def reset_high_water() -> None:
    """Let the next `high_water_bytes` speak only of the time from here on."""
    _CLEAR_REFS.write_text("5", encoding="ascii")


def high_water_bytes() -> int:
    """Largest resident set size since the last reset, or since the process began."""
    return _status("VmHWM")


def _storages(tensors: list[Tensor]) -> dict[int, int]:
    storages = [tensor.untyped_storage() for tensor in tensors]
    return {storage.data_ptr(): storage.nbytes() for storage in storages if storage.nbytes() > 0}


def _status(field: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"{_STATUS} has no field {field}; this measurement needs Linux")
