"""Score-CAM: channels weighted by the score of the image seen through them."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from reluxfast.compat.grad_cam.base_cam import BaseCAM
from reluxfast.compat.grad_cam.requests import Call, Layer
from reluxfast.compat.grad_cam.targets import fixed, scores
from reluxfast.methods.cam_scores import score_weights


class ScoreCAM(BaseCAM):
    """Score-CAM: one evaluation per channel, `batch_size` (16) of them at once, across images."""

    _needs_gradients = False

    def _parts(self, layer: Layer, call: Call) -> Tensor:
        score = partial(scores, fixed(call.targets, call.output))
        weights = score_weights(call.run, layer.activation, score, self.batch_size)
        return weights.view(*weights.shape, *[1] * layer.spatial) * layer.activation
