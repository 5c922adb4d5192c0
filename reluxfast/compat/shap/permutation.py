"""PermutationExplainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reluxfast.compat.shap.answer import Answer
from reluxfast.compat.shap.errors import WrongType
from reluxfast.compat.shap.links import Link, identity
from reluxfast.compat.shap.seeds import check_seed
from reluxfast.compat.shap.tables import Table
from reluxfast.compat.shap.tabular import TabularExplainer, one_table, refuse, rows_of_a_call
from reluxfast.errors import InvalidInput
from reluxfast.methods.numbers import flag, positive
from reluxfast.progress import silence

_CALL = {
    "max_evals": 500,
    "main_effects": False,
    "error_bounds": False,
    "batch_size": "auto",
    "outputs": None,
    "silent": False,
}


class PermutationExplainer(TabularExplainer, algorithm="permutation"):
    """Shapley values from random orders of the features, each walked there and back: `rx.shapley` over all background
    rows.

    Args:
        model: a function of arrays (M, d) of float64 (of DataFrames, if the background is one) that returns (M,) or
            (M, K); beyond shap also an nn.Module, or a fitted MLPClassifier or MLPRegressor of scikit-learn, explained
            before its output activation.
        masker: background rows (B, d): array, DataFrame or Tensor, of which every one counts; or a masker of the
            Independent kind, ours or shap's (which has cut them to 100).
        link: any function of an array of outputs, such as shap.links.logit. Behind one all rows take the same orders.
        feature_names: for X that has none.
        linearize_link: whether values are means of a weighted link(f) instead of the link of a mean.
        output_names: of the outputs, for the Explanation.
        seed: of the orders, below 2^32. Calls with one seed are equal, on one object too, where shap goes on drawing;
            None is 0.
        call_args: other defaults for calls.

    Raises:
        InvalidInput: an argument breaks a rule (a ValueError, or of shap's own types too).
    """

    def __init__(
        self,
        model: Any,
        masker: Any,
        link: Link = identity,
        feature_names: Sequence[str] | None = None,
        linearize_link: bool = True,
        seed: int | None = None,
        output_names: Sequence[str] | None = None,
        **call_args: Any,
    ):
        super().__init__(model, masker, link, feature_names, linearize_link, output_names)
        check_seed("seed", seed)
        self.seed = seed
        self._call = _settings(call_args)

    def __call__(
        self,
        *args: Any,
        max_evals: int | str | None = None,
        main_effects: bool | None = None,
        error_bounds: bool | None = None,
        batch_size: int | str | None = None,
        outputs: Any = None,
        silent: bool | None = None,
    ) -> Any:
        """Explains the rows of a table; None stands for what was given at construction.

        Args:
            args: X (N, d): array, DataFrame or Tensor.
            max_evals: evaluations of the model for a row and a background row, 500, or "auto":
                max_evals // (2n + 1) orders, n being the largest number of features that vary in a row.
            error_bounds: whether to return error_std: standard errors of the values (shap: the standard deviation of
                single marginals).
            batch_size: rows of a call of the model, "auto" or an int.
            outputs: numbers of the outputs to return, or operations on the Explanation of a row's outputs that yield
                them, such as shap.Explanation.argsort.flip[:2]; None: all. (shap takes them and returns all.)
            silent: whether to draw no progress bar.
            main_effects: must be False.

        Returns:
            shap.Explanation: values (N, d) or (N, d, K), base_values (N,), (N, 1) or (N, K), float64; data (N, d).

        Raises:
            InvalidInput: an argument breaks a rule.
            MissingExtra: shap is not installed; `shap_values` does without.
        """
        given = {
            "max_evals": max_evals,
            "main_effects": main_effects,
            "error_bounds": error_bounds,
            "batch_size": batch_size,
            "outputs": outputs,
            "silent": silent,
        }
        chosen = self._call | {name: value for name, value in given.items() if value is not None}
        flag("error_bounds", chosen["error_bounds"])
        effects = chosen["main_effects"]
        refuse("main_effects", bool(effects), effects, False, "PermutationExplainer")
        return self._explanation(
            args,
            chosen["error_bounds"],
            chosen["outputs"],
            chosen["silent"],
            max_evals=chosen["max_evals"],
            batch_size=rows_of_a_call(chosen["batch_size"]),
        )

    def shap_values(
        self,
        X: Any,
        npermutations: int = 10,
        main_effects: bool = False,
        error_bounds: bool = False,
        batch_evals: bool = True,
        silent: bool = False,
    ) -> np.ndarray:
        """Values (N, d) or (N, d, K), float64, from so many orders.

        shap takes fewer, npermutations · d // (2d + 1). `error_bounds` and `batch_evals` have no effect, as there.

        Args:
            X, silent: as for a call.
            npermutations: orders, each walked there and back.
            main_effects: must be False.
        """
        positive("npermutations", npermutations, needed=True)
        refuse("main_effects", bool(main_effects), main_effects, False, "PermutationExplainer")
        with silence(silent):
            values = self._sampled(one_table((X,)), npermutations, None).values
        return values[..., 0] if values.shape[-1] == 1 else values

    def _answer(self, x: Table, max_evals: Any, batch_size: int | None) -> Answer:
        n = int(self._game.varying(x).sum(1).max(initial=0))
        if isinstance(max_evals, str) and max_evals == "auto":
            max_evals = 20 * x.rows.shape[1]
        positive("max_evals", max_evals, needed=True)
        least = 2 * n + 1
        if max_evals < least:
            rule = f"must be at least 2 * num_features + 1 = {least} for the Permutation explainer"
            raise InvalidInput("max_evals", rule, max_evals)
        return self._sampled(x, max_evals // least, batch_size)

    def _sampled(self, x: Table, pairs: int, batch_size: int | None) -> Answer:
        seed = 0 if self.seed is None else int(self.seed)

        def options(players: int, backgrounds: int) -> dict[str, Any]:
            spent = pairs * 2 * max(players - 1, 1) * backgrounds + 1
            return {
                "estimator": "permutation",
                "background_mode": "all",
                "n_evaluations": spent,
                "seed": seed,
            }

        return self._game.ask("shapley", options, x, batch_size)


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Options of a call: defaults, overruled by those given.

    Raises:
        WrongType: there is no such option.
    """
    for name in given:
        if name not in _CALL:
            raise WrongType("options", f"are {', '.join(_CALL)}", repr(name))
    return _CALL | given
