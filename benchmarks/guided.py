"""Guided backpropagation and gradient, engine against peers: `python -m benchmarks.guided --help`."""

from __future__ import annotations

import argparse
import sys

from torch import Tensor

from benchmarks import compare, float64
from benchmarks.cases import Problem
from benchmarks.gate import Standard
from benchmarks.providers import PROVIDERS


def _reference(problem: Problem, method: str) -> Tensor:
    return float64.reference(problem.model, problem.x, problem.target, method)


# Relative L2 distance from float64. On the small copy of a network everybody who computes the right thing is within
# rounding (at most 9e-7 seen). On the whole network a few of its millions of units lie within rounding of zero and fall
# on the other side, and all that passes there changes: plain float32 autograd is itself up to 2.4e-2 away on ResNet-50
# (gradient), Captum 6.2e-4 on VGG-16 (guided). A wrong method is 0.9 or more away on both.
STANDARD = Standard(
    _reference, {"gradient": 1e-1, "guided_backprop": 2e-3}, {"gradient": 1e-5, "guided_backprop": 1e-5}
)
COMPARISON = compare.Comparison("guided", PROVIDERS, STANDARD)


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.guided", description=__doc__)
    p.add_argument(
        "--method", choices=float64.METHODS, default="guided_backprop", help="what is computed; default: %(default)s"
    )
    compare.add_arguments(p, COMPARISON)
    return p


def main(argv: list[str] | None = None) -> int:
    """See `compare.run`."""
    args = parser().parse_args(argv)
    return compare.run(COMPARISON, [args.method], args)


if __name__ == "__main__":
    sys.exit(main())
