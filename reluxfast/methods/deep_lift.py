"""DeepLIFT: differences from a reference, handed back by multipliers."""

from __future__ import annotations

import math
from typing import Any

from reluxfast.errors import InvalidInput
from reluxfast.methods.baselines import baselines
from reluxfast.methods.numbers import flag, is_number
from reluxfast.methods.run import Outcome, Run
from reluxfast.relevance.deep_lift.plan import Rescale


def deep_lift(run: Run, baseline: Any = None, multiply_by_inputs: bool = True, eps: float = 1e-10) -> Outcome:
    """DeepLIFT with the rescale rule (Shrikumar et al. 2017, arXiv 1704.02685): m ⊙ (x - x'), where the multipliers m
    make every node hand on exactly the difference of its value between x and the baseline x'.

    Linear maps use their transpose; ReLU, and any function of each element, Δy/Δz; max-pooling and other maxima give
    their difference to the winner at x and the winner at x'; a product takes either difference times the other's mean,
    so attention, gates and normalisations conserve too; softmax is exp of x less its log-sum-exp.

    Args:
        baseline: x': None (zeros), a number, a Tensor like one row or like x; a tuple of these for several inputs.
        multiply_by_inputs: False: the multipliers m themselves.
        eps: where abs(Δz) is below it, the multiplier is the derivative at x.

    Returns:
        values like x; base_value f(x'); options["completeness_gap"] = Σ m ⊙ (x - x') - (f(x) - f(x')), (N,) or (N, K):
        rounding, unless differences below eps were dropped.

    Raises:
        UnsupportedNode: an operation has no rule that conserves.
    """
    flag("multiply_by_inputs", multiply_by_inputs)
    if not is_number(eps) or not 0 < eps < math.inf:
        raise InvalidInput("eps", "must be a finite number above 0", repr(eps))
    bases = baselines(run.inputs, baseline)
    walked = run.walk("gradient", progress="deep_lift", rules=Rescale(float(eps)), reference=bases)
    multipliers = run.input_signals(walked)
    differences = [run.over_classes(x - b) for x, b in zip(run.inputs, bases, strict=True)]
    values = [d * m for d, m in zip(differences, multipliers, strict=True)]
    base = run.selected(walked.reference.expand_as(walked.output))
    lead = 1 if run.single else 2
    gap = sum(v.flatten(lead).sum(lead) for v in values) - (run.selected(walked.output) - base)
    facts = {"completeness_gap": gap}
    return Outcome(
        values if multiply_by_inputs else multipliers, walked.output, facts, base_value=base, n_evaluations=2
    )
