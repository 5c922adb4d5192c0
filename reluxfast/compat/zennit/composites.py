"""Zennit's composites: by layer type, by module name, mixtures, and the named ones.

A layer map is a list of (type or tuple of types, rule), a name map one of (names, rule); the first entry that fits
decides. Maps given to a named composite stand in front of its own. Operations that a model writes out are shown to
layer maps as the layer of PyTorch that does the same, x + y as `Sum`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from reluxfast.compat.zennit import rules
from reluxfast.compat.zennit.canonizers import Canonizer
from reluxfast.compat.zennit.core import Composite
from reluxfast.compat.zennit.layer import Sum
from reluxfast.compat.zennit.types import Activation, AvgPool, BatchNorm, Convolution, Linear
from reluxfast.rules import Rule

LayerMap = Sequence[tuple[type | tuple[type, ...], Rule]]
NameMap = Sequence[tuple[Sequence[str], Rule]]
Canonizers = Sequence[Canonizer] | None


class LayerMapComposite(Composite):
    """Rules by the type of a layer.

    Args:
        layer_map: see the module's text.
        canonizers: see `Composite`.
    """

    def __init__(self, layer_map: LayerMap, canonizers: Canonizers = None):
        self.layer_map = layer_map
        super().__init__(self.mapping, canonizers)

    def mapping(self, ctx: dict, name: str, module: nn.Module) -> Rule | None:
        """The rule for a module, None if there is none."""
        return _by_type(self.layer_map, module)


class SpecialFirstLayerMapComposite(LayerMapComposite):
    """Rules by type, with another map for the first module, in the order of `named_modules()`, that fits that one.

    Args:
        layer_map, canonizers: as for `LayerMapComposite`.
        first_map: a layer map for the first layer.
    """

    def __init__(self, layer_map: LayerMap, first_map: LayerMap, canonizers: Canonizers = None):
        self.first_map = first_map
        super().__init__(layer_map, canonizers)

    def mapping(self, ctx: dict, name: str, module: nn.Module) -> Rule | None:
        """The rule for a module, None if there is none."""
        rule = None if ctx.get("past first") else _by_type(self.first_map, module)
        if rule is None:
            return super().mapping(ctx, name, module)
        ctx["past first"] = True
        return rule


class NameMapComposite(Composite):
    """Rules by the name of a module, as in `named_modules()`.

    Args:
        name_map: see the module's text.
        canonizers: see `Composite`.
    """

    def __init__(self, name_map: NameMap, canonizers: Canonizers = None):
        self.name_map = name_map
        super().__init__(self.mapping, canonizers)

    def mapping(self, ctx: dict, name: str, module: nn.Module) -> Rule | None:
        """The rule for a module, None if there is none."""
        for names, rule in self.name_map:
            if name == names if isinstance(names, str) else name in names:
                return rule
        return None


class MixedComposite(Composite):
    """Several composites: the first that has a rule for a module decides.

    Args:
        composites: in order; their canonizers count too.
        canonizers: see `Composite`.
    """

    def __init__(self, composites: Sequence[Composite], canonizers: Canonizers = None):
        self.composites = list(composites)
        given = [*(canonizers or ()), *(c for composite in self.composites for c in composite.canonizers)]
        listed = canonizers is not None or not all(composite.folds for composite in self.composites)
        super().__init__(self.mapping, given if given or listed else None)

    def mapping(self, ctx: dict, name: str, module: nn.Module) -> Rule | None:
        """The rule for a module, None if there is none."""
        # Each sees every module, so that each has its own first one.
        found = [c.module_map(ctx.setdefault(i, {}), name, module) for i, c in enumerate(self.composites)]
        return next((rule for rule in found if rule is not None), None)


class NameLayerMapComposite(MixedComposite):
    """Rules by name, then by type.

    Args:
        name_map, layer_map: as for `NameMapComposite` and `LayerMapComposite`; None: an empty one.
        canonizers: see `Composite`.
    """

    def __init__(
        self, name_map: NameMap | None = None, layer_map: LayerMap | None = None, canonizers: Canonizers = None
    ):
        super().__init__([NameMapComposite(name_map or []), LayerMapComposite(layer_map or [])], canonizers)


class EpsilonPlus(LayerMapComposite):
    """z⁺ for convolutions, ε for linear layers.

    Args:
        epsilon: of the ε rule.
        stabilizer: of all other rules.
        layer_map: in front of the composite's own.
        zero_params: "bias": biases stand in no denominator.
        canonizers: see `Composite`.
    """

    def __init__(
        self,
        epsilon: float = 1e-6,
        stabilizer: float = 1e-6,
        layer_map: LayerMap | None = None,
        zero_params: rules.Names = None,
        canonizers: Canonizers = None,
    ):
        maps = _weighted(rules.ZPlus(stabilizer, zero_params), rules.Epsilon(epsilon, zero_params), stabilizer)
        super().__init__([*(layer_map or ()), *maps], canonizers)


class EpsilonAlpha2Beta1(LayerMapComposite):
    """α-β with α = 2, β = 1 for convolutions, ε for linear layers. Args: as for `EpsilonPlus`."""

    def __init__(
        self,
        epsilon: float = 1e-6,
        stabilizer: float = 1e-6,
        layer_map: LayerMap | None = None,
        zero_params: rules.Names = None,
        canonizers: Canonizers = None,
    ):
        alpha_beta = rules.AlphaBeta(2, 1, stabilizer, zero_params)
        maps = _weighted(alpha_beta, rules.Epsilon(epsilon, zero_params), stabilizer)
        super().__init__([*(layer_map or ()), *maps], canonizers)


class EpsilonPlusFlat(SpecialFirstLayerMapComposite):
    """`EpsilonPlus`, flat for the first convolution or linear layer.

    Args:
        epsilon, stabilizer, layer_map, zero_params, canonizers: as for `EpsilonPlus`.
        first_map: in front of the composite's own for the first layer.
    """

    def __init__(
        self,
        epsilon: float = 1e-6,
        stabilizer: float = 1e-6,
        layer_map: LayerMap | None = None,
        first_map: LayerMap | None = None,
        zero_params: rules.Names = None,
        canonizers: Canonizers = None,
    ):
        others = EpsilonPlus(epsilon, stabilizer, layer_map, zero_params)
        first = [*(first_map or ()), (Linear, rules.Flat(stabilizer, zero_params))]
        super().__init__(others.layer_map, first, canonizers)


class EpsilonAlpha2Beta1Flat(SpecialFirstLayerMapComposite):
    """`EpsilonAlpha2Beta1`, flat for the first convolution or linear layer. Args: as for `EpsilonPlusFlat`."""

    def __init__(
        self,
        epsilon: float = 1e-6,
        stabilizer: float = 1e-6,
        layer_map: LayerMap | None = None,
        first_map: LayerMap | None = None,
        zero_params: rules.Names = None,
        canonizers: Canonizers = None,
    ):
        others = EpsilonAlpha2Beta1(epsilon, stabilizer, layer_map, zero_params)
        first = [*(first_map or ()), (Linear, rules.Flat(stabilizer, zero_params))]
        super().__init__(others.layer_map, first, canonizers)


class EpsilonGammaBox(SpecialFirstLayerMapComposite):
    """z^B for the first convolution, γ for the others, ε for linear layers.

    Args:
        low, high: bounds of the input, see `rules.ZBox`.
        epsilon, stabilizer, layer_map, first_map, zero_params, canonizers: as for `EpsilonPlusFlat`.
        gamma: of the γ rule.
    """

    def __init__(
        self,
        low: float | torch.Tensor,
        high: float | torch.Tensor,
        epsilon: float = 1e-6,
        gamma: float = 0.25,
        stabilizer: float = 1e-6,
        layer_map: LayerMap | None = None,
        first_map: LayerMap | None = None,
        zero_params: rules.Names = None,
        canonizers: Canonizers = None,
    ):
        gamma_rule = rules.Gamma(gamma, stabilizer, zero_params)
        maps = _weighted(gamma_rule, rules.Epsilon(epsilon, zero_params), stabilizer)
        first = [*(first_map or ()), (Convolution, rules.ZBox(low, high, stabilizer, zero_params))]
        super().__init__([*(layer_map or ()), *maps], first, canonizers)


class GuidedBackprop(LayerMapComposite):
    """Guided backpropagation at ReLUs.

    Args:
        layer_map, canonizers: as for `EpsilonPlus`.
    """

    def __init__(self, layer_map: LayerMap | None = None, canonizers: Canonizers = None):
        super().__init__([*(layer_map or ()), (nn.ReLU, rules.ReLUGuidedBackprop())], canonizers)


class DeconvNet(LayerMapComposite):
    """Deconvnet at ReLUs. Args: as for `GuidedBackprop`."""

    def __init__(self, layer_map: LayerMap | None = None, canonizers: Canonizers = None):
        super().__init__([*(layer_map or ()), (nn.ReLU, rules.ReLUDeconvNet())], canonizers)


class BetaSmooth(LayerMapComposite):
    """The derivative of softplus at ReLUs.

    Args:
        beta_smooth: the larger, the nearer to the ReLU's own derivative.
        layer_map, canonizers: as for `EpsilonPlus`.
        zero_params: without effect: ReLUs have no parameters. To be named: not all versions of Zennit have it.
    """

    def __init__(
        self,
        beta_smooth: float = 10.0,
        layer_map: LayerMap | None = None,
        canonizers: Canonizers = None,
        zero_params: rules.Names = None,
    ):
        super().__init__([*(layer_map or ()), (nn.ReLU, rules.ReLUBetaSmooth(beta_smooth))], canonizers)


class ExcitationBackprop(LayerMapComposite):
    """z⁺ for convolutions and linear layers, all else but sums and average pools by the derivative.

    Args:
        stabilizer, layer_map, zero_params, canonizers: as for `EpsilonPlus`.
    """

    def __init__(
        self,
        stabilizer: float = 1e-6,
        layer_map: LayerMap | None = None,
        zero_params: rules.Names = None,
        canonizers: Canonizers = None,
    ):
        norm = rules.Norm(stabilizer)
        maps = [(Sum, norm), (AvgPool, norm), (Linear, rules.ZPlus(stabilizer, zero_params))]
        super().__init__([*(layer_map or ()), *maps], canonizers)


COMPOSITES: dict[str, type[Composite]] = {
    "epsilon_gamma_box": EpsilonGammaBox,
    "epsilon_plus": EpsilonPlus,
    "epsilon_alpha2_beta1": EpsilonAlpha2Beta1,
    "epsilon_plus_flat": EpsilonPlusFlat,
    "epsilon_alpha2_beta1_flat": EpsilonAlpha2Beta1Flat,
    "deconvnet": DeconvNet,
    "guided_backprop": GuidedBackprop,
    "excitation_backprop": ExcitationBackprop,
    "beta_smooth": BetaSmooth,
}


def register_composite(name: str) -> Callable[[type[Composite]], type[Composite]]:
    """Decorator: puts a class into `COMPOSITES`."""

    def register(composite: type[Composite]) -> type[Composite]:
        COMPOSITES[name] = composite
        return composite

    return register


def layer_map_base(stabilizer: float = 1e-6) -> list[tuple[type, Rule]]:
    """What composites that carry relevance through every layer do but for convolutions and linear layers."""
    norm = rules.Norm(stabilizer)
    return [(Activation, rules.Pass()), (Sum, norm), (AvgPool, norm), (BatchNorm, rules.Pass())]


def _by_type(layer_map: LayerMap, module: nn.Module) -> Rule | None:
    return next((rule for types, rule in layer_map if isinstance(module, types)), None)


def _weighted(convolution: Rule, linear: Rule, stabilizer: float) -> LayerMap:
    return [*layer_map_base(stabilizer), (Convolution, convolution), (nn.Linear, linear)]
