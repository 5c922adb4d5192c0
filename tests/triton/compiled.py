"""Compiles what the bindings launch, for an sm_90 GPU that need not be there; a program, run without the interpreter.

Triton's own launcher specialises and compiles, as it would there; only the launch is left out. Prints one JSON object
per kernel: its case, registers, stack, shared memory, and the PTX's memory accesses.
"""

from __future__ import annotations

import collections
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget

from reluxfast import ops
from reluxfast.kernels import gate as gate_kernel
from reluxfast.kernels import max_pool as max_pool_kernels
from reluxfast.kernels import mlp_chains as mlp_chains_kernels
from reluxfast.kernels import mlp_outer_sums as mlp_outer_sums_kernel
from reluxfast.kernels import relu_pack as relu_pack_kernel
from reluxfast.kernels import soft_gate as soft_gate_kernel
from reluxfast.kernels import soft_gate_pack as soft_gate_pack_kernel
from reluxfast.kernels import write_coalitions as write_coalitions_kernel
from reluxfast.ops import triton_binding as binding

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


class _AbsentGpu:
    """What Triton's launcher asks of a driver before it compiles."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


class _Compiling:
    """Stands for a kernel: compiles what is launched instead of running it."""

    def __init__(self, kernel):
        self.kernel, self.built = kernel, None

    def __getitem__(self, grid):
        def compile_only(*arguments, **constants):
            self.built = self.kernel.warmup(*arguments, grid=grid, **constants)

        return compile_only


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers and bytes of stack; whatever is spilled lies on the stack."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([CUOBJDUMP, "-res-usage", file.name], check=True, capture_output=True, text=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", text).groups()
    return int(registers), int(stack)


def described(kernel: _Compiling) -> dict:
    """What the compiler made of the kernel's last launch."""
    built = kernel.built
    registers, stack = _resources(built.asm["cubin"])
    accesses = collections.Counter(
        re.findall(r"\b((?:ld|st)\.global[\w.:]*|atom\.[\w.]+|red\.[\w.]+)", built.asm["ptx"])
    )
    return {
        "kernel": kernel.kernel.__name__.strip("_"),
        "registers": registers,
        "stack": stack,
        "threads": 32 * built.metadata.num_warps,
        "shared": built.metadata.shared,
        "accesses": dict(accesses),
        "floats": sorted({kind for kind in built.src.signature.values() if kind.startswith("fp")}),
        "barriers": len(re.findall(r"^ *\w+\.barrier", built.asm["ttir"], re.MULTILINE)),
        "tensor_cores": re.search(r"\bw?g?mma\.", built.asm["ptx"]) is not None,
        "flushes_denormals": ".ftz" in built.asm["ptx"],
        "arithmetic": sorted(
            set(re.findall(r"\b(?:add|sub|mul|div|fma|mad)\.[\w.]*f(?:16|32|64)\w*", built.asm["ptx"]))
        ),
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

    gates, other, levels = torch.zeros_like(last), torch.zeros_like(last), torch.zeros_like(last, dtype=torch.uint8)

    def pack(z, *tensors, branches=(0,), numerator=0, quantise=False, lo=0.0, into=()):
        d, b, d_b, residual = tensors + (None,) * (4 - len(tensors))
        numbers = [0.25, 0.75] * len(branches), branches, 1e-6, lo, math.inf, numerator
        if into:
            return binding.soft_gate_pack_(z, *(*into, None)[:2], d, b, d_b, residual, *numbers)
        return binding.soft_gate_pack(z, d, b, d_b, residual, *numbers, quantise)

    def scatter(pool, layout=last, mode=3):
        y, winner, bits = ops.max_pool_pack(layout, *pool, relu=True)
        return binding.max_pool_scatter(y, winner, bits, layout.shape[2:], *pool, mode, y.numel())

    def write(d, made=dtype):
        rows, labels = torch.zeros(4, d, dtype=dtype), torch.arange(d, dtype=torch.int32)
        ranks, jobs = torch.zeros(2, d, dtype=torch.int32), torch.zeros(64, 4, dtype=torch.int32)
        return binding.write_coalitions_(torch.zeros(64, d, dtype=made), rows, rows, labels, ranks, jobs)

    def chains(*widths, count=4, pairs=16, players=32, features=32, antithetic=True, tf32=False):
        rows, index = torch.zeros(count, features), torch.zeros(count, pairs, players, dtype=torch.int32)
        groups = (torch.arange(features).int(), torch.arange(players + 1).int())
        layers = [torch.zeros(size) for size in zip(widths, (features, *widths), strict=False)]
        biases = [torch.zeros(width) for width in widths]
        return binding.mlp_chains(rows, rows, index[..., 0], index, *groups, layers, biases, antithetic, tf32)

    def sums(*widths, highs=16, lows=128):
        layers = [torch.zeros(size) for size in zip(widths[1:], widths, strict=False)]
        tables = torch.zeros(2, highs, widths[0]), torch.zeros(2, lows, widths[0])
        return binding.mlp_outer_sums(*tables, layers, [torch.zeros(width) for width in widths[1:]])

    networks = {
        "mlp_outer_sums 128-64-1": lambda: sums(128, 64, 1),
        "mlp_outer_sums 256-128-10": lambda: sums(256, 128, 10),
        "mlp_outer_sums 64-256-256-10": lambda: sums(64, 256, 256, 10),
        "mlp_chains 128-64-1": lambda: chains(128, 64, 1),
        "mlp_chains 128-64-1, groups": lambda: chains(128, 64, 1, features=48),
        "mlp_chains 128-64-10, forward": lambda: chains(128, 64, 10, antithetic=False),
        "mlp_chains 256-128-1": lambda: chains(256, 128, 1),
        "mlp_chains 256-128-10, groups": lambda: chains(256, 128, 10, features=48),
        "mlp_chains 64-256-256-10": lambda: chains(64, 256, 256, 10),
        "mlp_chains 128-64-1, tf32": lambda: chains(128, 64, 1, tf32=True),
        "mlp_chains 256-128-10, tf32": lambda: chains(256, 128, 10, tf32=True),
        # Triton makes constants of ones.
        "mlp_chains 1-1, ones": lambda: chains(1, 1, count=1, pairs=1, players=1, features=1),
    }
    halves = {"float16": torch.float16, "bfloat16": torch.bfloat16} if dtype == torch.float32 else {}

    return {
        "gate, gradient": lambda: binding.gate(last, mask, None, 1, x.numel()),
        "gate, guided + skip": lambda: binding.gate(last, mask, last, 3, x.numel()),
        "gate, guided + skip, classes": lambda: binding.gate(twice, mask, twice, 3, x.numel()),
        "relu_pack": lambda: binding.relu_pack(last, None, None, 0.0, float("inf"), True),
        "relu_pack, residual": lambda: binding.relu_pack(last, None, last, 0.0, 6.0, True),
        "relu_pack, bias + residual": lambda: binding.relu_pack(last, bias, last, 0.0, 6.0, True),
        "relu_pack, bias, contiguous": lambda: binding.relu_pack(x, bias, None, 0.0, 6.0, True),
        "relu_pack, no bits": lambda: binding.relu_pack(last, None, None, 0.0, 6.0, False),
        "soft_gate": lambda: binding.soft_gate(last, gates, None),
        "soft_gate + skip": lambda: binding.soft_gate(last, gates, last),
        "soft_gate + skip, classes": lambda: binding.soft_gate(twice, gates, twice),
        "soft_gate, bytes + skip": lambda: binding.soft_gate(last, levels, last),
        "soft_gate_pack": lambda: pack(last),
        "soft_gate_pack, ones": lambda: pack(last, numerator=1),
        "soft_gate_pack, ones where v": lambda: pack(last, numerator=2),
        "soft_gate_pack, d": lambda: pack(last, last),
        "soft_gate_pack, d, v in place": lambda: pack(last, last, lo=-math.inf, into=[gates]),
        "soft_gate_pack, d as residual, two in place": lambda: pack(
            last, gates, None, None, gates, branches=[1, 2], into=[other, torch.zeros_like(last)]
        ),
        "soft_gate_pack, d + residual, branch": lambda: pack(last, last, None, None, last, branches=[1]),
        "soft_gate_pack, d + residual, two": lambda: pack(last, last, None, None, last, branches=[1, 2]),
        "soft_gate_pack, d + residual, two, bytes": lambda: pack(
            last, last, None, None, last, branches=[1, 2], quantise=True
        ),
        "soft_gate_pack, bytes": lambda: pack(last, quantise=True),
        "soft_gate_pack, biases + residual, two": lambda: pack(last, last, bias, bias, last, branches=[1, 2]),
        "soft_gate_pack, biases, contiguous": lambda: pack(x, x, bias, bias),
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
        "write_coalitions": lambda: write(8192),
        "write_coalitions, short rows": lambda: write(48),
        "write_coalitions, odd rows": lambda: write(30),
        **{f"write_coalitions, to {name}": lambda made=made: write(8192, made) for name, made in halves.items()},
        **(networks if dtype == torch.float32 else {}),
    }


def main(dtypes: list[str]) -> None:
    triton.runtime.driver.set_active(_AbsentGpu())
    kernels = []
    for module in (
        gate_kernel,
        relu_pack_kernel,
        max_pool_kernels,
        mlp_chains_kernels,
        mlp_outer_sums_kernel,
        soft_gate_kernel,
        soft_gate_pack_kernel,
        write_coalitions_kernel,
    ):
        for name in [n for n in vars(module) if n.endswith("_kernel")]:
            kernels.append(_Compiling(getattr(module, name)))
            setattr(module, name, kernels[-1])
    for dtype in dtypes:
        for name, call in cases(getattr(torch, dtype)).items():
            call()
            for kernel in [k for k in kernels if k.built is not None]:
                row = {"case": name, "dtype": dtype, "triton": triton.__version__} | described(kernel)
                print(json.dumps(row), flush=True)
                kernel.built = None


if __name__ == "__main__":
    main(sys.argv[1:])
