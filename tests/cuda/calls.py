"""Calls of the emulated CUDA kernels: arrays as bytes in memory order, and the bytes that the reference gives.

Knows numpy only, so that a process under a sanitizer can replay them without importing torch:
`python -m tests.cuda.calls CALLS.npz FOLDER_OF_THE_MODULE`.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

GUARD = 64
_BYTES = ("mask", "winner", "bytes", "first_bytes", "second_bytes")
_FLOATS = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
_ITEMSIZES = {**_FLOATS, "uint8": 1, "int16": 2, "int32": 4, "int64": 8}


@dataclass
class Call:
    """One call of one kernel.

    Attributes:
        op: name of the function in the module.
        dtype: of the values, as torch names it.
        inputs: argument -> bytes (n,), or None.
        expected: argument that is written -> the reference's bytes (n,), or None.
        parameters: the other arguments.
        aliases: argument -> the input whose memory it shares.
        offsets: argument -> elements, or bytes of a packed input, by which it lies off a multiple of 16 bytes.
        kinds: argument -> its dtype where that is another; integers are compared bit for bit.
        tolerance: by which floats may differ.
    """

    op: str
    dtype: str
    inputs: dict[str, np.ndarray | None]
    expected: dict[str, np.ndarray | None]
    parameters: dict[str, Any] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    tolerance: float = 0.0

    def kind(self, name: str) -> str:
        """The dtype of an argument."""
        return "uint8" if name in _BYTES else self.kinds.get(name, self.dtype)


def decode(values: np.ndarray, dtype: str) -> np.ndarray:
    """Bytes (n * itemsize,) as float64 (n,)."""
    if dtype == "bfloat16":
        return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return values.view(dtype).astype(np.float64)


class _Room:
    """An array inside memory filled with a pattern that must stay as it is."""

    def __init__(self, content: np.ndarray, start: int, guard: int):
        # Without guards nothing lies behind the last byte, and a sanitizer sees what is touched there.
        self._memory = np.full(guard + 16 + start + content.size + guard, 0xA5, dtype=np.uint8)
        if guard:
            start += guard + -(self._memory.ctypes.data + guard) % 16
        else:
            self._memory = self._memory[: start + content.size].copy()
            assert self._memory.ctypes.data % 16 == 0
        self._start, self._end = start, start + content.size
        self.array = self._memory[start : self._end]
        self.array[:] = content

    def intact(self) -> bool:
        return bool((self._memory[: self._start] == 0xA5).all() and (self._memory[self._end :] == 0xA5).all())


def _check(name: str, got: np.ndarray, wanted: np.ndarray, dtype: str, tolerance: float) -> None:
    if dtype not in _FLOATS:
        assert np.array_equal(got, wanted), f"{name}: bytes {np.flatnonzero(got != wanted)[:5]} differ"
        return
    a, b = decode(got, dtype), decode(wanted, dtype)
    if tolerance:
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=name)
        return
    # The kernels add in the reference's order and precision: equal, not merely close.
    # A zero has a sign, which a comparison does not see.
    wrong = np.flatnonzero(((a != b) | (np.signbit(a) != np.signbit(b))) & ~(np.isnan(a) & np.isnan(b)))
    assert not wrong.size, f"{name}: {wrong.size} of {a.size} differ, first {wrong[0]}: {a[wrong[0]]}, {b[wrong[0]]}"


def run(module: ModuleType, call: Call, guard: int = GUARD) -> dict[str, np.ndarray | None]:
    """Call the kernel, outputs filled with NaN and between guards; raise unless all are as they must be afterwards.

    Returns:
        argument that is written -> its bytes.
    """
    rooms: dict[str, _Room] = {}
    for name, content in {**call.expected, **call.inputs}.items():
        if content is None or name in call.aliases:
            continue
        start = call.offsets.get(name, 0) * _ITEMSIZES[call.kind(name)]
        # All bits set is NaN in every dtype, and no pattern that a mask should keep.
        rooms[name] = _Room(content if name in call.inputs else np.full_like(content, 0xFF), start, guard)
    arrays = {name: rooms[name].array if name in rooms else None for name in (*call.inputs, *call.expected)}
    arrays.update({name: arrays[source] for name, source in call.aliases.items()})
    getattr(module, call.op)(dtype=call.dtype, **arrays, **call.parameters)
    rewritten = {source for name, source in call.aliases.items() if name in call.expected}
    for name, room in rooms.items():
        assert room.intact(), f"{name}: written outside of it"
        if name in call.inputs and name not in rewritten:
            assert np.array_equal(room.array, call.inputs[name]), f"{name}: an input was written"
    for name, wanted in call.expected.items():
        if wanted is not None:
            _check(name, arrays[name], wanted, call.kind(name), call.tolerance)
    return {name: arrays[name] for name in call.expected}


def save(calls: list[Call], path: Path) -> None:
    """Write the calls to one .npz file."""
    arrays, about = {}, []
    for number, call in enumerate(calls):
        for kind in ("inputs", "expected"):
            for name, value in getattr(call, kind).items():
                if value is not None:
                    arrays[f"{number}/{kind}/{name}"] = value
        about.append(
            {
                **{
                    k: getattr(call, k)
                    for k in ("op", "dtype", "parameters", "aliases", "offsets", "kinds", "tolerance")
                },
                **{k: list(getattr(call, k)) for k in ("inputs", "expected")},
            }
        )
    np.savez(path, about=np.array(json.dumps(about)), **arrays)


def load(path: Path) -> list[Call]:
    """The calls that `save` wrote."""
    with np.load(path) as file:
        calls = []
        for number, about in enumerate(json.loads(str(file["about"]))):
            for kind in ("inputs", "expected"):
                keys = {name: f"{number}/{kind}/{name}" for name in about[kind]}
                about[kind] = {name: file[key] if key in file else None for name, key in keys.items()}
            calls.append(Call(**about))
    return calls


def load_module(folder: Path) -> ModuleType:
    """The module of emulated kernels that was built in `folder`."""
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("emulated_kernels")
    finally:
        sys.path.remove(str(folder))


if __name__ == "__main__":
    replayed = load(Path(sys.argv[1]))
    kernels = load_module(Path(sys.argv[2]))
    for replayed_call in replayed:
        run(kernels, replayed_call, guard=0)
    print(f"{len(replayed)} calls")
