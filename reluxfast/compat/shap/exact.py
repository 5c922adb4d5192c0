"""ExactExplainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reluxfast.coalitions.exact import MOST_PLAYERS, evaluations
from reluxfast.compat.shap.answer import Answer
from reluxfast.compat.shap.links import Link, identity
from reluxfast.compat.shap.tables import Table
from reluxfast.compat.shap.tabular import TabularExplainer, refuse, rows_of_a_call
from reluxfast.errors import InvalidInput
from reluxfast.methods.numbers import positive


class ExactExplainer(TabularExplainer, algorithm="exact"):
    """Shapley values from all coalitions of the features: `rx.shapley(estimator="exact")`.

    Args:
        model, masker, link, linearize_link, feature_names, output_names: as for `PermutationExplainer`.

    Raises:
        InvalidInput: an argument breaks a rule (a ValueError, or of shap's own types too).
    """

    def __init__(
        self,
        model: Any,
        masker: Any,
        link: Link = identity,
        linearize_link: bool = True,
        feature_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
    ):
        super().__init__(model, masker, link, feature_names, linearize_link, output_names)

    def __call__(
        self,
        *args: Any,
        max_evals: int | str | None = 100000,
        main_effects: bool = False,
        error_bounds: bool = False,
        batch_size: int | str = "auto",
        interactions: int | bool = 1,
        silent: bool = False,
    ) -> Any:
        """Explains the rows of a table.

        Args:
            args: X (N, d): array, DataFrame or Tensor.
            max_evals: evaluations of the model for a row and a background row; "auto" and None are no limit but that of
                the engine, 26 features that vary.
            error_bounds: has no effect: exact values have no errors.
            batch_size, silent: as for `PermutationExplainer`.
            main_effects, interactions: must be False and 1.

        Returns:
            shap.Explanation: values (N, d) or (N, d, K), base_values (N,), (N, 1) or (N, K), float64; data (N, d).

        Raises:
            InvalidInput: an argument breaks a rule; a row has too many features that vary from the background.
            MissingExtra: shap is not installed.
        """
        refuse("main_effects", bool(main_effects), main_effects, False, "ExactExplainer")
        several = interactions is True or interactions not in (1, False)
        refuse("interactions", several, interactions, 1, "ExactExplainer")
        return self._explanation(args, False, None, silent, max_evals=max_evals, batch_size=rows_of_a_call(batch_size))

    def _answer(self, x: Table, max_evals: Any, batch_size: int | None) -> Answer:
        varying = self._game.varying(x)
        n = int(varying.sum(1).max(initial=0))
        if isinstance(max_evals, str) and max_evals == "auto":
            max_evals = None
        positive("max_evals", max_evals)
        if max_evals is not None and max_evals < 2**n:
            rule = (
                f"must be at least {2**n}, the masked evaluations it takes to run the Exact explainer on this instance"
            )
            raise InvalidInput("max_evals", rule, max_evals, "PermutationExplainer takes any number")
        if n > MOST_PLAYERS:
            rule = f"must not have more than {MOST_PLAYERS} features that vary from the background"
            raise InvalidInput("X", rule, n, "Use PermutationExplainer")

        def options(players: int, backgrounds: int) -> dict[str, Any]:
            return {"estimator": "exact", "n_evaluations": evaluations(players, backgrounds)}

        # Rows whose features vary in different places may cost more together than each by itself.
        together = int(varying.any(0).sum())
        return self._game.ask("shapley", options, x, batch_size, own=together > max(n, 1))
