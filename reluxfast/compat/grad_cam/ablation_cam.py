"""Ablation-CAM: channels weighted by what the score loses without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from reluxfast.compat.grad_cam.ablation_layer import AblationLayer
from reluxfast.compat.grad_cam.base_cam import BaseCAM
from reluxfast.compat.grad_cam.errors import WrongType
from reluxfast.compat.grad_cam.requests import Call, Layer
from reluxfast.compat.grad_cam.targets import fixed, scores
from reluxfast.errors import InvalidInput
from reluxfast.methods.cam_scores import ablation_weights, channels_to_ablate
from reluxfast.methods.numbers import is_number


class AblationCAM(BaseCAM):
    """Ablation-CAM: one evaluation per channel of what lies behind the target layer.

    Args:
        model, target_layers, reshape_transform: see `BaseCAM`.
        ablation_layer: where channels are: None or `AblationLayer()` for (N, C, *S), `AblationLayerVit()` for
            (N, T, C).
        batch_size: evaluations at once, across images.
        ratio_channels_to_ablate: this share of the channels is tried that lies most where the first principal component
            of the activations is large, and the same share that lies least there; the others weigh 0.

    What differs from pytorch-grad-cam, besides what `BaseCAM` says: where activations are negative, a channel is put
    1e7 below the smallest of them, whatever its place in a batch (there it sinks by another 1e7 with every place, so
    that maps depend on `batch_size`; at 1 they agree). A ratio above a half tries every channel (there those behind the
    first one chosen twice weigh 0). Layers may be given in any order (there in that of execution), and
    volumes explained. A score of 0 makes the map NaN, as there.
    """

    _needs_gradients = False

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module | str],
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
        ablation_layer: AblationLayer | None = None,
        batch_size: int = 32,
        ratio_channels_to_ablate: float = 1.0,
    ):
        super().__init__(model, target_layers, reshape_transform)
        if ablation_layer is not None and not isinstance(ablation_layer, AblationLayer):
            known = "None or an AblationLayer or AblationLayerVit of reluxfast.compat.grad_cam.ablation_layer"
            raise WrongType("ablation_layer", f"must be {known}", type(ablation_layer).__name__)
        if not is_number(ratio_channels_to_ablate) or not 0 < ratio_channels_to_ablate <= 1:
            raise InvalidInput("ratio_channels_to_ablate", "must lie in (0, 1]", ratio_channels_to_ablate)
        self.ablation_layer = AblationLayer() if ablation_layer is None else ablation_layer
        self.batch_size = batch_size
        self.ratio_channels_to_ablate = ratio_channels_to_ablate

    def _parts(self, layer: Layer, call: Call) -> Tensor:
        dim = self.ablation_layer.channel_dim
        if layer.value.shape[dim] != layer.activation.shape[1]:
            raise InvalidInput(
                "ablation_layer",
                f"must know where the {layer.activation.shape[1]} channels of the target layer are",
                f"a layer that returns {('N', *layer.value.shape[1:])}",
                "Use AblationLayerVit() for channels in the last dimension",
            )
        weights = ablation_weights(
            call.run,
            layer.name,
            layer.value,
            channels_to_ablate(layer.activation, self.ratio_channels_to_ablate),
            dim,
            call.output,
            partial(scores, fixed(call.targets, call.output)),
            self.batch_size,
        )
        return weights.view(*weights.shape, *[1] * layer.spatial) * layer.activation
