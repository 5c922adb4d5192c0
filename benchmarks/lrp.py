"""Layer-wise relevance propagation, engine against peers: `python -m benchmarks.lrp --help`.

Two references stand behind the gate, both in float64. On the small copy of a network it is the oracle of the tests,
which walks explicit matrices row by row and shares no code with the engine. Matrices of the network itself do not fit
into memory: there it is the engine's own `reference` backend, which tests hold against that oracle, Captum and Zennit.

eps of batch norms is part of their variance from the start, for everybody: Zennit merges a batch norm with it and then
divides by it once more, and what is compared is how the same numbers are computed.
"""

from __future__ import annotations

import argparse
import copy
import sys

import torch
from torch import Tensor

import reluxfast as rx
from benchmarks import compare
from benchmarks.cases import Problem
from benchmarks.gate import Standard
from benchmarks.lrp_providers import COMPOSITES, PROVIDERS, arguments_of
from reluxfast.composites import composite
from tests.oracles import lrp as oracle


def _reference(problem: Problem, name: str) -> Tensor:
    return (by_matrices if problem.tiny else by_engine)(problem, name)


def by_matrices(problem: Problem, name: str) -> Tensor:
    """Relevance (N, C, H, W) by the tests' oracle, float64, computed on the CPU; for small networks."""
    chosen = oracle.composite(name, **{k: v.double().cpu() for k, v in arguments_of(problem, name).items()})
    model, x = copy.deepcopy(problem.model).cpu(), problem.x.cpu()
    return oracle.explain(model, (x,), chosen, problem.target.cpu()).values[0].to(problem.x.device)


def by_engine(problem: Problem, name: str) -> Tensor:
    """Relevance (N, C, H, W) by the engine in plain float64 torch calls. Rows go one at a time to bound the memory."""
    chosen = composite(name, **arguments_of(problem, name))
    x = problem.x.double()
    explainer = rx.Explainer(copy.deepcopy(problem.model).double(), x[:1], backend="reference")
    rows = zip(x.split(1), problem.target.split(1), strict=True)
    return torch.cat([explainer.attribute(row, label, "lrp", composite=chosen).values for row, label in rows])


# Relative L2 distance from float64. Epsilon behaves as the gradient does (`guided.py`): where a ReLU or a pool flips,
# all that passes there changes, and what is left of sums of both signs carries the rounding of their terms. The engine
# was up to 1.4e-2 away on a whole network (ResNet-50), Zennit 7.3e-3, Captum 6.5e-3. The other rules take the larger
# part of every sum: at most 1.0e-4 for engine and Zennit alike. Small copies of ResNets have few channels and many
# layers, which amplify rounding: at most 3.0e-3 (epsilon, Captum), 2.8e-5, 1.2e-4, 1.3e-4 there. Another of these
# composites is 0.4 or more away, another rule for the linear layers alone 0.01.
GATES = {"epsilon": 1e-1, "epsilon_plus": 2e-3, "epsilon_alpha2_beta1": 2e-3, "epsilon_gamma_box": 2e-3}
SMALL_GATES = {"epsilon": 1e-2, "epsilon_plus": 3e-4, "epsilon_alpha2_beta1": 1e-3, "epsilon_gamma_box": 1e-3}
COMPARISON = compare.Comparison("lrp", PROVIDERS, Standard(_reference, GATES, SMALL_GATES), merged_eps=True)


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.lrp", description=__doc__.splitlines()[0])
    p.add_argument("--composite", action="append", choices=COMPOSITES, help="repeatable; default: all")
    compare.add_arguments(p, COMPARISON)
    return p


def main(argv: list[str] | None = None) -> int:
    """See `compare.run`."""
    args = parser().parse_args(argv)
    return compare.run(COMPARISON, args.composite or COMPOSITES, args)


if __name__ == "__main__":
    sys.exit(main())
