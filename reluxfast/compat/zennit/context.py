"""A model whose gradient is a composite's relevance, for code that calls autograd itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from reluxfast.compat.zennit.errors import NotHere
from reluxfast.compat.zennit.walk import explain, outputs

if TYPE_CHECKING:
    from reluxfast.compat.zennit.core import Composite


class CompositeContext:
    """`with composite.context(model) as modified:` gives what is called in the place of the model.

    Other than in Zennit the model itself is not changed, so `modified` must be called, not `model`. Values inside have
    no gradients: for relevance there use `rx.lrp(model, x, target, return_layers=[...])` in the place of hooks.

    Args:
        module: the model.
        composite: the composite.
    """

    def __init__(self, module: nn.Module, composite: Composite):
        self.module, self.composite = module, composite

    def __enter__(self) -> ModifiedModel:
        return ModifiedModel(self.module, self.composite)

    def __exit__(self, *error: Any) -> bool:
        return False


class ModifiedModel:
    """Computes what a model computes; the gradient with respect to its inputs is relevance under a composite.

    That gradient can be differentiated itself (`create_graph=True`). Parameters get none from the output: their `.grad`
    stays as it is. It can be handed to an attributor in the place of model and composite.

    Args:
        module: the model.
        composite: the composite.
    """

    def __init__(self, module: nn.Module, composite: Composite):
        self.module, self.composite = module, composite

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Output (N, ...) for inputs (N, ...); its gradient comes from the engine."""
        return _Modified.apply(self.module, self.composite, *inputs)

    def __getitem__(self, index: Any) -> Any:
        raise NotHere(f"a composite's model can only be called; read layer {index!r} from the model itself")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotHere(f"a composite's model can only be called; read {name!r} from the model itself")


class _Modified(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, module: nn.Module, composite: Composite, *inputs: torch.Tensor) -> torch.Tensor:
        context.module, context.composite = module, composite
        context.save_for_backward(*inputs)
        return outputs(module, inputs)

    @staticmethod
    def backward(context: Any, signal: torch.Tensor) -> tuple:
        composite = context.composite if context.composite.active else None
        again = torch.is_grad_enabled()
        _, relevance = explain(context.module, composite, context.saved_tensors, signal, create_graph=again)
        return None, None, *relevance
