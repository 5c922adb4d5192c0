"""What this installation can do, and why not more."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch

from reluxfast import ops
from reluxfast.ops import triton_state

_OTHERS = ("TRITON_INTERPRET",)


@dataclass(frozen=True)
class Info:
    """Versions, backends and devices.

    Attributes:
        version: of reluxfast.
        backends: backend -> "available" or the reason why not.
        active_backend: what answers here by default ("auto" picks per device).
        devices: what torch can run on.
        threads: threads torch uses for one operation.
        cpu_capability: instruction set torch's CPU kernels use.
        python, torch, triton, numpy, platform: versions; triton is None if it is not installed.
        environment: the environment variables that are set of those which reluxfast heeds.
    """

    version: str
    backends: dict[str, str]
    active_backend: str
    devices: list[str]
    threads: int
    cpu_capability: str
    python: str
    torch: str
    triton: str | None
    numpy: str
    platform: str
    environment: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"reluxfast {self.version}",
            f"python {self.python}, torch {self.torch}, triton {self.triton or 'not installed'}, numpy {self.numpy}",
            f"platform {self.platform}, {self.cpu_capability}, {self.threads} thread(s)",
            f"devices: {', '.join(self.devices)}",
            f"backend: {self.active_backend}",
            *(f"  {name:<10} {state}" for name, state in self.backends.items()),
        ]
        lines += [f"  {name}={value}" for name, value in self.environment.items()]
        return "\n".join(lines)


def info() -> Info:
    """Collects `Info`."""
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return Info(
        version=importlib.metadata.version("reluxfast"),
        backends={name: reason or "available" for name, reason in ops.available_backends().items()},
        active_backend=ops.active_backend(),
        devices=devices,
        threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        python=sys.version.split()[0],
        torch=torch.__version__,
        triton=triton_state.version(),
        numpy=importlib.metadata.version("numpy"),
        platform=platform.platform(),
        environment={k: v for k, v in sorted(os.environ.items()) if k.startswith("RELUXFAST_") or k in _OTHERS},
    )
