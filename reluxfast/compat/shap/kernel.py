"""KernelExplainer."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from reluxfast.coalitions.selection import CRITERIA
from reluxfast.compat.shap.answer import Answer
from reluxfast.compat.shap.auto import Explainer
from reluxfast.compat.shap.errors import NotOffered, wrong_dimensions
from reluxfast.compat.shap.game import TabularGame
from reluxfast.compat.shap.links import kernel_link
from reluxfast.compat.shap.models import Model
from reluxfast.compat.shap.tables import Table, background, is_frame, table
from reluxfast.errors import InvalidInput
from reluxfast.extras import need
from reluxfast.methods.numbers import is_number, positive
from reluxfast.progress import silence

# Share of all coalitions below which "auto" chooses features.
_SPARSE_BELOW = 0.2


class KernelExplainer(Explainer):
    """Shapley values by weighted least squares over coalitions of features: `rx.kernel_shap`.

    Args:
        model: as for `PermutationExplainer`; a function is always given arrays.
        data: background rows (B, d): array, DataFrame or Tensor, or what shap.kmeans returns, whose weights count.
        feature_names: for X that has none; default the columns of data.
        link: "identity", "logit", or shap's link objects: of the mean output, as there.

    Raises:
        InvalidInput: an argument breaks a rule (a ValueError, or of shap's own types too).
    """

    def __init__(
        self, model: Any, data: Any, feature_names: Sequence[str] | None = None, link: Any = "identity", **kwargs: Any
    ):
        for name, value in kwargs.items():
            if name not in ("keep_index", "keep_index_ordered") or value:
                raise NotOffered(name, "must be left out", repr(value), "shap's own KernelExplainer has it")
        held = background(data.to_frame().T if _is_series(data) else data, "data")
        self.link, self.data = link, data
        self.data_feature_names = held.columns if feature_names is None else list(feature_names)
        self._game = TabularGame(Model(model), held, kernel_link(link))

    @property
    def expected_value(self) -> float | np.ndarray:
        """The explained output of the mean over the background: a float, or (K,) float64; evaluated anew each time."""
        return self._game.expected_value()

    def __call__(self, X: Any, l1_reg: str | float | bool = "num_features(10)", silent: bool = False) -> Any:
        """Explains the rows of a table.

        Args:
            X: (N, d), or one row (d,): array, DataFrame or Tensor.
            l1_reg, silent: as for `shap_values`.

        Returns:
            shap.Explanation: values (N, d) or (N, d, K), base_values (N,) or (N, K), float64; data. Of one row
            values (d,) or (d, K), and as in shap the base value again for each feature: (d,) or (d, K).

        Raises:
            InvalidInput: an argument breaks a rule.
            MissingExtra: shap is not installed, or scikit-learn, where features are to be chosen.
        """
        shap = need("shap", "shap", "shap", "KernelExplainer(X)")
        began = time.time()
        x, single = _rows(X)
        found = self._answer(x, "auto", l1_reg, silent)
        values, base, data = found.values, found.base, x.data
        if single:
            values, base, data = values[0], base.repeat(values.shape[1], 0), data[0]
        several = bool(found.inner)
        return shap.Explanation(
            values if several else values[..., 0],
            base_values=base if several else base[..., 0],
            data=data,
            feature_names=x.columns or self.data_feature_names,
            compute_time=time.time() - began,
        )

    def shap_values(
        self,
        X: Any,
        nsamples: int | str = "auto",
        l1_reg: str | float | bool = "num_features(10)",
        silent: bool = False,
        gc_collect: bool = False,
    ) -> np.ndarray:
        """Values (N, d) or (N, d, K) of rows (N, d), (d,) or (d, K) of one row (d,); float64.

        Args:
            X: array, DataFrame or Tensor.
            nsamples: coalitions, for each background row, or "auto": 2n + 2048 for n features that vary. The draw is
                the same each time; all coalitions are taken where they suffice for them.
            l1_reg: which features have a value, chosen for each row and output: "num_features(k)" (default, k = 10):
                the first k of least-angle regression; "aic", "bic": by that criterion; a float: by the lasso of this
                penalty; "auto" (deprecated): "aic" below a fifth of all coalitions; False or 0: all have one. Choosing
                among more than k features needs scikit-learn.
            silent: whether to draw no progress bar.
            gc_collect: has no effect.

        Raises:
            InvalidInput: an argument breaks a rule.
            MissingExtra: scikit-learn is not installed, and features are to be chosen.
        """
        x, single = _rows(X)
        found = self._answer(x, nsamples, l1_reg, silent)
        values = found.values if found.inner else found.values[..., 0]
        return values[0] if single else values

    def _answer(self, x: Table, nsamples: Any, l1_reg: Any, silent: bool) -> Answer:
        most = int(self._game.varying(x).sum(1).max(initial=0))
        if isinstance(nsamples, str) and nsamples == "auto":
            nsamples = 2 * most + 2048
        positive("nsamples", nsamples, needed=True)
        least = min(4 * most, 2**most) - 2
        if nsamples < least:
            rule = f"must be at least {least} for {most} features that vary, or the regression is unstable"
            raise InvalidInput("nsamples", rule, nsamples)
        select = _selection(l1_reg, nsamples, most)

        def options(players: int, backgrounds: int) -> dict[str, Any]:
            return {"n_evaluations": (nsamples + 2) * backgrounds, "select": select}

        with silence(silent):
            return self._game.ask("kernel_shap", options, x, None, own=True)


def _selection(l1_reg: Any, nsamples: int, n: int) -> int | float | str | None:
    """shap's `l1_reg` as the engine's `select`."""
    if isinstance(l1_reg, str):
        number = re.fullmatch(r"num_features\((\d+)\)", l1_reg)
        if number and int(number[1]):
            return int(number[1])
        if l1_reg == "auto":
            warnings.warn("l1_reg='auto' is deprecated, as in shap", DeprecationWarning, stacklevel=4)
            return "aic" if nsamples < _SPARSE_BELOW * (2**n - 2) else None
        if l1_reg in CRITERIA:
            return l1_reg
    elif l1_reg is False or (is_number(l1_reg) and l1_reg == 0):
        return None
    elif is_number(l1_reg) and l1_reg > 0:
        return float(l1_reg)
    rule = "must be False, 'num_features(k)' with k above 0, 'aic', 'bic', 'auto', or a penalty above 0"
    raise InvalidInput("l1_reg", rule, repr(l1_reg))


def _rows(X: Any) -> tuple[Table, bool]:
    """Rows, and whether there is one without a dimension of rows."""
    held = X if is_frame(X) or hasattr(X, "tocsr") else np.asarray(X) if not hasattr(X, "detach") else X
    if getattr(held, "ndim", 2) == 1:
        return table(held[None], "X"), True
    if getattr(held, "ndim", 2) != 2:
        raise wrong_dimensions("X", "must have 1 or 2 dimensions", held.ndim)
    return table(held, "X"), False


def _is_series(data: Any) -> bool:
    return hasattr(data, "to_frame") and not is_frame(data)
