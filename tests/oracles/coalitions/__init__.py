"""Coalition methods by their formulas (methods.md, section 6): numpy float64, one row, every coalition written out.

    table = value_table(f, x, background, labels, n)  # v(S) of all 2^n coalitions
    exact_shapley(table)                              # (n, K)

A model `f` maps `(M, ...)` to `(M, K)`, both numpy float64; `from_module` makes one of a torch module. A coalition is a
row of n booleans, True for a present player; in a table it is the index whose bit i says that player i is present.
"""

from tests.oracles.coalitions.perturbation import feature_ablation, occlusion, rise
from tests.oracles.coalitions.regression import (
    kernel_shap,
    kernel_shap_of_all,
    kernel_weights,
    leverage_estimate,
    leverage_probabilities,
    lime,
)
from tests.oracles.coalitions.shapley import (
    Estimate,
    by_permutations,
    exact_shapley,
    permutation_estimate,
    spread_residual,
)
from tests.oracles.coalitions.value import (
    Array,
    Coalitions,
    Model,
    all_coalitions,
    coalition_values,
    from_module,
    player_labels,
    value_table,
    value_tables,
)

__all__ = [
    "Array",
    "Coalitions",
    "Estimate",
    "Model",
    "all_coalitions",
    "by_permutations",
    "coalition_values",
    "exact_shapley",
    "feature_ablation",
    "from_module",
    "kernel_shap",
    "kernel_shap_of_all",
    "kernel_weights",
    "leverage_estimate",
    "leverage_probabilities",
    "lime",
    "occlusion",
    "permutation_estimate",
    "player_labels",
    "rise",
    "spread_residual",
    "value_table",
    "value_tables",
]
