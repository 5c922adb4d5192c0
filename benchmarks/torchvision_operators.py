"""torchvision beside a CPU build of torch: Zennit and pytorch-grad-cam import it.

Its wheel registers fakes for operators that it brings only for other builds of torch; they are defined here.
"""

from __future__ import annotations

import importlib
from functools import cache

import torch


@cache
def operators_of_torchvision() -> torch.library.Library | None:
    """Makes `import torchvision` work; keeps what it defines. None: there was nothing to do.

    Raises:
        ImportError: torchvision is not installed.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None
