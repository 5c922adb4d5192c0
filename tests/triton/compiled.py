"""Compiles what the bindings launch, for an sm_90 GPU that need not be there; run as a program without the interpreter.

Prints one JSON object per kernel: its case, registers, stack, shared memory, and the PTX's memory accesses.
"""

from __future__ import annotations

import collections
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from reluxfast.kernels import gate as gate_kernel
from reluxfast.kernels import max_pool as max_pool_kernels
from reluxfast.kernels import relu_pack as relu_pack_kernel
from reluxfast.ops import triton_binding as binding

NAMES = {
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.uint8: "u8",
}
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
_launched: list[tuple] = []


def _record(kernel, programs, on, *arguments, **constants) -> None:
    _launched.append((kernel, arguments, constants))


def _source(kernel, arguments: tuple, constants: dict) -> ASTSource:
    """Types, constants and alignments as a launch with these arguments finds them."""
    signature, fixed, attributes = {}, {}, {}
    values = dict(zip(kernel.arg_names, arguments, strict=False)) | constants
    for index, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
            signature[parameter.name], fixed[(index,)] = "constexpr", value
            continue
        if isinstance(value, Tensor):
            signature[parameter.name], number = "*" + NAMES[value.dtype], value.data_ptr()
        elif isinstance(value, int):
            signature[parameter.name], number = "i32" if abs(value) < 2**31 else "i64", value
        else:
            assert isinstance(value, float) and parameter.annotation_type == "fp64", (parameter.name, value)
            signature[parameter.name], number = "fp64", 1
        if number % 16 == 0:
            attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(fn=kernel, signature=signature, constexprs=fixed, attrs=attributes)


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers and bytes of stack; whatever is spilled lies on the stack."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([CUOBJDUMP, "-res-usage", file.name], check=True, capture_output=True, text=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", text).groups()
    return int(registers), int(stack)


def compiled(kernel, arguments: tuple, constants: dict) -> dict:
    """What the compiler made of one launch."""
    built = triton.compile(_source(kernel, arguments, constants), target=GPUTarget("cuda", 90, 32))
    registers, stack = _resources(built.asm["cubin"])
    accesses = collections.Counter(
        re.findall(r"\b((?:ld|st)\.global[\w.:]*|atom\.[\w.]+|red\.[\w.]+)", built.asm["ptx"])
    )
    return {
        "kernel": kernel.__name__.strip("_"),
        "registers": registers,
        "stack": stack,
        "shared": built.metadata.shared,
        "accesses": dict(accesses),
        "flushes_denormals": ".ftz" in built.asm["ptx"],
    }


def cases(dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Name -> a call of a binding: each branch of each kernel, in sizes that are multiples of 16."""
    x = torch.zeros(2, 64, 16, 16, dtype=dtype)
    last = x.to(memory_format=torch.channels_last)
    bias, mask = torch.zeros(64, dtype=dtype), torch.zeros(x.numel() // 8, dtype=torch.uint8)
    twice = torch.cat([last, last])
    two, three = ([2, 2], [2, 2], [0, 0], [1, 1]), ([3, 3], [2, 2], [1, 1], [1, 1])
    five, dilated = ([5, 5], [2, 2], [2, 2], [1, 1]), ([3, 3], [1, 1], [1, 1], [2, 2])
    deep = torch.zeros(1, 64, 4, 8, 8, dtype=dtype).to(memory_format=torch.channels_last_3d)
    cube = ([2, 2, 2], [2, 2, 2], [0, 0, 0], [1, 1, 1])

    def scatter(pool, layout=last, mode=3):
        y, winner, bits = binding.max_pool_pack(layout, *pool, False, True, True)
        _launched.clear()
        return binding.max_pool_scatter(y, winner, bits, layout.shape[2:], *pool, mode, y.numel())

    return {
        "gate, gradient": lambda: binding.gate(last, mask, None, 1, x.numel()),
        "gate, guided + skip": lambda: binding.gate(last, mask, last, 3, x.numel()),
        "gate, guided + skip, classes": lambda: binding.gate(twice, mask, twice, 3, x.numel()),
        "relu_pack": lambda: binding.relu_pack(last, None, None, 0.0, float("inf"), True),
        "relu_pack, residual": lambda: binding.relu_pack(last, None, last, 0.0, 6.0, True),
        "relu_pack, bias + residual": lambda: binding.relu_pack(last, bias, last, 0.0, 6.0, True),
        "relu_pack, bias, contiguous": lambda: binding.relu_pack(x, bias, None, 0.0, 6.0, True),
        "relu_pack, no bits": lambda: binding.relu_pack(last, None, None, 0.0, 6.0, False),
        "max_pool_pack 2x2": lambda: binding.max_pool_pack(last, *two, False, True, True),
        "max_pool_pack 3x3": lambda: binding.max_pool_pack(last, *three, False, True, True),
        "max_pool_pack 5x5": lambda: binding.max_pool_pack(last, *five, False, False, True),
        "max_pool_pack 3x3, contiguous": lambda: binding.max_pool_pack(x, *three, False, True, True),
        "max_pool_pack 2x2x2": lambda: binding.max_pool_pack(deep, *cube, False, True, True),
        "max_pool_scatter 2x2": lambda: scatter(two),
        "max_pool_scatter 3x3": lambda: scatter(three),
        "max_pool_scatter 5x5": lambda: scatter(five, mode=0),
        "max_pool_scatter 3x3 dilated": lambda: scatter(dilated),
        "max_pool_scatter 3x3, contiguous": lambda: scatter(three, x),
        "max_pool_scatter 2x2x2": lambda: scatter(cube, deep),
    }


if __name__ == "__main__":
    for module in (gate_kernel, relu_pack_kernel, max_pool_kernels):
        module.launch = _record
    for dtype in map(lambda name: getattr(torch, name), sys.argv[1:]):
        for name, call in cases(dtype).items():
            _launched.clear()
            call()
            (launched,) = _launched
            found = {"case": name, "dtype": str(dtype).removeprefix("torch."), "triton": triton.__version__}
            print(json.dumps(found | compiled(*launched)), flush=True)
