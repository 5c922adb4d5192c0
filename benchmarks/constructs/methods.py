"""Libraries and methods, called as their users call them; ours under the same names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from reluxfast.benchmarks.constructs import truth
from reluxfast.benchmarks.constructs.nets import CLASSES, Net
from reluxfast.benchmarks.torchvision_operators import operators_of_torchvision
from reluxfast.compat import captum as our_captum
from reluxfast.compat import grad_cam as our_grad_cam
from reluxfast.compat import shap as our_shap
from reluxfast.compat import zennit as our_zennit
from reluxfast.compat.captum import lrp_rules as our_rules

TARGET = truth.TARGET
# (namespace, model, x, state) -> values
Explain = Callable[[SimpleNamespace, nn.Module, Tensor, str], Tensor]


def _twice(call: Callable[[], Tensor], state: str) -> Tensor:
    if state == "twice":
        call()
    return call()


def _captum(name: str) -> Explain:
    def explain(lib: SimpleNamespace, model: nn.Module, x: Tensor, state: str) -> Tensor:
        if name == "LRP" and state == "twice":
            for module in model.modules():
                if isinstance(module, nn.Conv2d):
                    module.rule = lib.rules.GammaRule()
        method = getattr(lib.attr, name)(model)
        options = {"baselines": truth.baseline(x)} if name == "DeepLift" else {}
        return _twice(lambda: method.attribute(x.clone(), target=TARGET, **options).detach(), state)

    return explain


def _zennit(name: str) -> Explain:
    def explain(lib: SimpleNamespace, model: nn.Module, x: Tensor, state: str) -> Tensor:
        composite = getattr(lib.composites, name)(canonizers=[lib.canonizers.SequentialMergeBatchNorm()])
        seed = torch.eye(CLASSES, dtype=x.dtype)[TARGET].expand(len(x), -1)

        def call() -> Tensor:
            with lib.attribution.Gradient(model, composite) as attributor:
                return attributor(x.clone().requires_grad_(), seed)[1].detach()

        return _twice(call, state)

    return explain


def _grad_cam(lib: SimpleNamespace, model: nn.Module, x: Tensor, state: str) -> Tensor:
    method = lib.GuidedBackpropReLUModel(model, torch.device("cpu"))
    rows = []
    for row in x:
        one = row.unsqueeze(0)
        rows.append(_twice(lambda one=one: torch.from_numpy(np.array(method(one, TARGET))).movedim(-1, 0), state))
    return torch.stack(rows)


def _shap(lib: SimpleNamespace, model: nn.Module, x: Tensor, state: str) -> Tensor:
    method = lib.DeepExplainer(model, truth.baseline(x))
    return _twice(lambda: torch.as_tensor(np.asarray(method.shap_values(x)))[..., TARGET], state)


@dataclass(frozen=True)
class Method:
    """Attributes:
    peer: the library.
    name: the class its users call.
    explain: values of the target, by the peer or by ours.
    expected: (net, its model, x) -> what is right.
    theirs, ours: make the namespace that `explain` takes.
    """

    peer: str
    name: str
    explain: Explain
    expected: Callable[[Net, nn.Module, Tensor], Tensor]
    theirs: Callable[[], SimpleNamespace]
    ours: SimpleNamespace

    @property
    def title(self) -> str:
        """Heading of the column."""
        return f"{self.peer} `{self.name}`"


def _their_captum() -> SimpleNamespace:
    from captum import attr
    from captum.attr._utils import lrp_rules

    return SimpleNamespace(attr=attr, rules=lrp_rules)


def _their_zennit() -> SimpleNamespace:
    operators_of_torchvision()
    from zennit import attribution, canonizers, composites

    return SimpleNamespace(attribution=attribution, composites=composites, canonizers=canonizers)


def _their_grad_cam() -> SimpleNamespace:
    operators_of_torchvision()
    from pytorch_grad_cam import GuidedBackpropReLUModel

    return SimpleNamespace(GuidedBackpropReLUModel=GuidedBackpropReLUModel)


def _their_shap() -> SimpleNamespace:
    import shap

    return SimpleNamespace(DeepExplainer=shap.DeepExplainer)


_OUR_CAPTUM = SimpleNamespace(attr=our_captum, rules=our_rules)
_OUR_ZENNIT = SimpleNamespace(attribution=our_zennit, composites=our_zennit, canonizers=our_zennit)

METHODS = (
    Method("Captum", "GuidedBackprop", _captum("GuidedBackprop"), truth.guided_backprop, _their_captum, _OUR_CAPTUM),
    Method("Zennit", "GuidedBackprop", _zennit("GuidedBackprop"), truth.guided_backprop, _their_zennit, _OUR_ZENNIT),
    Method("grad-cam", "GuidedBackpropReLUModel", _grad_cam, truth.guided_backprop, _their_grad_cam, our_grad_cam),
    Method("Captum", "LRP", _captum("LRP"), truth.captum_lrp, _their_captum, _OUR_CAPTUM),
    Method("Zennit", "EpsilonPlus", _zennit("EpsilonPlus"), truth.epsilon_plus, _their_zennit, _OUR_ZENNIT),
    Method("Captum", "DeepLift", _captum("DeepLift"), truth.deep_lift_values, _their_captum, _OUR_CAPTUM),
    Method("shap", "DeepExplainer", _shap, truth.deep_lift_values, _their_shap, our_shap),
)
