"""TFLOP/s of the library's convolutions, both ways: `python -m reluxfast.benchmarks.gpu.convolutions --help`.

The rates stand beside two ceilings measured in the same run: a large matrix product in the same precision, and a copy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reluxfast.benchmarks import rows
from reluxfast.benchmarks.gpu.clock import interleaved_ms, sets_for
from reluxfast.benchmarks.precision import float32_as
from reluxfast.benchmarks.timing import summarise

# Layers that make up VGG-16 and ResNet-50 at 224 x 224: name -> C_in, C_out, kernel, stride, input size.
LAYERS = {
    "first 3x3": (3, 64, 3, 1, 224),
    "3x3 64": (64, 64, 3, 1, 224),
    "3x3 256": (256, 256, 3, 1, 56),
    "3x3 512": (512, 512, 3, 1, 28),
    "3x3 512 late": (512, 512, 3, 1, 14),
    "first 7x7/2": (3, 64, 7, 2, 224),
    "1x1 64>256": (64, 256, 1, 1, 56),
    "1x1 256>64": (256, 64, 1, 1, 56),
    "1x1 512>1024/2": (512, 1024, 1, 2, 28),
    "1x1 2048>512": (2048, 512, 1, 1, 7),
    "3x3/2 128": (128, 128, 3, 2, 56),
}
PRECISIONS = ("ieee", "tf32", "bfloat16")


@dataclass(frozen=True)
class Layer:
    """A convolution on buffers of one precision and layout."""

    x: Tensor
    weight: Tensor
    g: Tensor
    stride: int
    padding: int

    def forward(self) -> Tensor:
        return F.conv2d(self.x, self.weight, None, self.stride, self.padding)

    def input_gradient(self) -> Tensor:
        return torch.nn.grad.conv2d_input(self.x.shape, self.weight, self.g, self.stride, self.padding)

    def flops(self) -> float:
        """Multiplications and additions, two per weight and output position."""
        return 2.0 * self.g.numel() * self.weight[0].numel()


def layer(name: str, batch: int, precision: str, channels_last: bool, device: torch.device, shrink: int = 1) -> Layer:
    """The layer on fresh random values; `shrink` divides channels (but 3) and pixels for a smoke test."""
    c_in, c_out, kernel, stride, size = LAYERS[name]
    c_in, c_out, size = (v if v <= 3 else max(1, v // shrink) for v in (c_in, c_out, size))
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    format = torch.channels_last if channels_last else torch.contiguous_format

    def values(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(dtype).contiguous(memory_format=format)

    x, weight = values(batch, c_in, size, size), values(c_out, c_in, kernel, kernel)
    g = torch.randn_like(F.conv2d(x, weight, None, stride, kernel // 2))
    return Layer(x, weight, g, stride, kernel // 2)


@contextmanager
def searching() -> Iterator[None]:
    """cuDNN tries its algorithms at the first call of each shape."""
    before = torch.backends.cudnn.benchmark
    try:
        torch.backends.cudnn.benchmark = True
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def measure(batch: int, device: torch.device, rounds: int, shrink: int = 1) -> list[dict[str, Any]]:
    """One row per precision, layer, direction and layout."""
    found = []
    for precision in PRECISIONS:
        with float32_as("tf32" if precision == "tf32" else "ieee"), searching(), torch.no_grad():
            peak = _matmul_tflops(precision, device, rounds, 8192 // shrink)
            for name in LAYERS:
                for direction in ("forward", "input_gradient"):
                    found += _rows(name, direction, batch, precision, device, rounds, shrink, peak)
    return found


def _rows(name, direction, batch, precision, device, rounds, shrink, peak) -> list[dict[str, Any]]:
    layers: dict[str, list[Layer]] = {}
    for layout in ("channels_last", "contiguous"):
        first = layer(name, batch, precision, layout == "channels_last", device, shrink)
        size = (first.x.numel() + first.g.numel()) * first.x.element_size()
        more = range(min(sets_for(size), 8) - 1)
        layers[layout] = [
            first,
            *(layer(name, batch, precision, layout == "channels_last", device, shrink) for _ in more),
        ]
    calls: dict[str, list[Callable[[], Any]]] = {k: [getattr(one, direction) for one in v] for k, v in layers.items()}
    fused = direction == "forward" and device.type == "cuda"
    if fused:
        calls["cudnn_convolution_relu"] = [
            lambda c=c: torch.cudnn_convolution_relu(c.x, c.weight, None, [c.stride] * 2, [c.padding] * 2, [1, 1], 1)
            for c in layers["channels_last"]
        ]
    times = interleaved_ms(calls, device, rounds)
    found = []
    for form, ms in times.items():
        stats = summarise(ms)
        rate = layers["channels_last"][0].flops() / stats.median / 1e9
        found.append(
            {
                "benchmark": "convolutions",
                "layer": name,
                "direction": direction,
                "form": form,
                "precision": precision,
                "batch": batch,
                "median_ms": stats.median,
                "p20_ms": stats.low,
                "p80_ms": stats.high,
                "tflops": rate,
                "of_matmul": rate / peak,
            }
        )
    return found


def _matmul_tflops(precision: str, device: torch.device, rounds: int, n: int) -> float:
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    ms = interleaved_ms({"matmul": [lambda: a @ b]}, device, rounds)["matmul"]
    return 2.0 * n**3 / summarise(ms).median / 1e9


def to_text(found: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    header = ("layer", "direction", "form", "precision", "ms", "TFLOP/s", "of matmul")
    body = [
        (
            r["layer"],
            r["direction"],
            r["form"],
            r["precision"],
            f"{r['median_ms']:.4f}",
            f"{r['tflops']:.2f}",
            f"{r['of_matmul']:.2f}",
        )
        for r in found
    ]
    return rows.table(header, body)


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m reluxfast.benchmarks.gpu.convolutions", description=__doc__)
    p.add_argument("--device", default="cuda", help="default: %(default)s")
    p.add_argument("--batch", type=int, default=64, help="default: %(default)s")
    p.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    p.add_argument("--shrink", type=int, default=1, help="divide all sizes: a smoke test, no measurement")
    p.add_argument("--store", type=Path, help="append the rows to this JSON-lines file")
    return p


def main(argv: list[str] | None = None) -> int:
    """Measure, print, store on request."""
    args = parser().parse_args(argv)
    device = torch.device(args.device)
    found = measure(args.batch, device, args.rounds, args.shrink)
    print(to_text(found), flush=True)
    if args.store:
        environment = rows.environment(device)
        rows.store(({**row, "environment": environment} for row in found), args.store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
