"""Captum's propagation rules: what users set as `module.rule`."""

from __future__ import annotations

# Captum's stabiliser wherever a rule names none.
EPSILON = 1e-9


class PropagationRule:
    """What is set as `module.rule`; only the rules of this module (and Captum's own of the same names) are followed.

    Attributes:
        STABILITY_FACTOR: ε of the stabiliser.
    """

    STABILITY_FACTOR = EPSILON

    def __repr__(self) -> str:
        given = ", ".join(f"{'epsilon' if k == 'STABILITY_FACTOR' else k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({given})"


class EpsilonRule(PropagationRule):
    """LRP-ε: R_in = x ⊙ Wᵀ(R / s(Wx + b)).

    Args:
        epsilon: ε.
    """

    def __init__(self, epsilon: float = EPSILON) -> None:
        self.STABILITY_FACTOR = epsilon


class GammaRule(PropagationRule):
    """LRP-γ in its form for inputs that are not negative: W + γW⁺ in the place of W.

    Args:
        gamma: γ.
        set_bias_to_zero: whether the denominator leaves out the bias, which is else kept as it is.
    """

    def __init__(self, gamma: float = 0.25, set_bias_to_zero: bool = False) -> None:
        self.gamma = gamma
        self.set_bias_to_zero = set_bias_to_zero


class Alpha1_Beta0_Rule(PropagationRule):
    """W⁺ in the place of W.

    Args:
        set_bias_to_zero: whether the denominator leaves out the bias, which is else kept as it is.
    """

    def __init__(self, set_bias_to_zero: bool = False) -> None:
        self.set_bias_to_zero = set_bias_to_zero


class IdentityRule(EpsilonRule):
    """Relevance is handed on unchanged; for layers whose output has the shape of their input.

    Args:
        epsilon: without effect.
    """
