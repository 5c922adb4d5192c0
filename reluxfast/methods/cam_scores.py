"""Weights of channels from outputs alone, one evaluation per channel: Score-CAM and Ablation-CAM."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from reluxfast.methods.cam import MODES
from reluxfast.methods.cam_maps import projected
from reluxfast.methods.numbers import positive
from reluxfast.methods.run import Run
from reluxfast.progress import progress_bar

# (outputs (m, ...), number of the explained row of each) -> scores (m,)
Score = Callable[[Tensor, list[int]], Tensor]
# How far below the smallest activation a channel is put that cannot be switched off by 0.
_FAR_BELOW = 1e7
_WORTH_A_LOOK = 0.01


def score_weights(run: Run, activation: Tensor, score: Score, batch_size: int) -> Tensor:
    """Score-CAM (Wang et al. 2020, arXiv 1910.01279): softmax over channels of the score of x ⊙ H_c.

    Args:
        run: a request on one input (N, ...).
        activation: A (N, C, *S); H_c is A_c enlarged linearly, corner on corner, and scaled to [0, 1].
        score: of outputs.
        batch_size: evaluations at once.

    Returns:
        Weights (N, C).
    """
    (x,) = run.inputs
    size = x.shape[2:]

    def masked(rows: Tensor, channels: Tensor) -> Tensor:
        one = activation[rows, channels].unsqueeze(1)
        mask = F.interpolate(one, size=size, mode=MODES[len(size)], align_corners=True)
        space = tuple(range(2, mask.dim()))
        low, high = mask.amin(space, keepdim=True), mask.amax(space, keepdim=True)
        return x[rows] * ((mask - low) / (high - low + 1e-8))

    count, channels = activation.shape[:2]
    every = torch.arange(channels, device=x.device).expand(count, -1)
    found = []
    for rows, some, of in _batches(every, batch_size, "score_cam"):
        found.append(score(run.outputs([masked(rows, some)]), of))
    return torch.cat(found).view(count, channels).softmax(1)


def ablation_weights(
    run: Run, name: str, value: Tensor, chosen: Tensor, channel_dim: int, output: Tensor, score: Score, batch_size: int
) -> Tensor:
    """Ablation-CAM (Desai & Ramaswamy 2020): (f - f without channel c) / f, by what lies behind the layer alone.

    A channel is taken away by 0 where the smallest activation of its row is 0, else by 1e7 below that.

    Args:
        run: a request on the network.
        name: the value that the layer returns.
        value: that value (N, ...).
        chosen: (N, M) channels that are taken away; the weight of the others is 0.
        channel_dim: dimension of `value` that counts channels.
        output: output (N, ...) of the network.
        score: of outputs.
        batch_size: evaluations at once.

    Returns:
        Weights (N, C); NaN or infinite where f is 0.
    """
    behind = run.engine.starting_at(name)
    inputs = dict(zip(run.engine.graph.inputs, run.inputs, strict=True))
    before = [inputs[other] for other in behind.graph.inputs[:-1]]
    lowest = value.flatten(1).amin(1)
    fill = torch.where(lowest == 0, lowest, lowest - _FAR_BELOW)
    found = []
    for rows, channels, of in _batches(chosen, batch_size, "ablation_cam"):
        without = value[rows]
        by_channel = without.movedim(channel_dim, 1)
        by_channel[torch.arange(len(rows), device=value.device), channels] = fill[rows].view(
            -1, *[1] * (value.dim() - 2)
        )
        found.append(score(behind.outputs([*(x[rows] for x in before), without], run.native), of))
    full = score(output, list(range(len(value)))).unsqueeze(1)
    left = full.repeat(1, value.shape[channel_dim])
    if found:
        left = left.scatter(1, chosen, torch.cat(found).view(chosen.shape))
    return (full - left) / full


def channels_to_ablate(activation: Tensor, ratio: float) -> Tensor:
    """(N, M) channels of A (N, C, *S): the share `ratio` of them that lies most, and that lies least, where the first
    principal component of A is large; all of them from a half on."""
    count, channels = activation.shape[:2]
    each = int(channels * ratio)
    if 2 * each >= channels:
        return torch.arange(channels, device=activation.device).expand(count, -1)
    spatial = activation.dim() - 2
    where = _from_0_to_1(projected(activation, spatial).abs().flatten(1)) > _WORTH_A_LOOK
    size = _from_0_to_1(activation.abs().flatten(2))
    # Many channels lie there as a whole: ties go by number.
    order = ((size * where.unsqueeze(1)).sum(2) / size.sum(2)).float().argsort(stable=True)
    return torch.cat([order[:, channels - each :], order[:, :each]], 1)


def _from_0_to_1(x: Tensor) -> Tensor:
    x = x - x.amin(-1, keepdim=True)
    return x / x.amax(-1, keepdim=True)


def _batches(chosen: Tensor, batch_size: int, desc: str) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """Pairs of a row and one of its channels: row numbers and channels as tensors, row numbers as ints."""
    positive("batch_size", batch_size, needed=True)
    count, each = chosen.shape
    rows = torch.arange(count, device=chosen.device).repeat_interleave(each)
    channels = chosen.reshape(-1)
    with progress_bar(total=count * each, desc=desc, unit="evaluation") as bar:
        for start in range(0, count * each, batch_size):
            stop = min(start + batch_size, count * each)
            yield rows[start:stop], channels[start:stop], [i // each for i in range(start, stop)]
            bar.update(stop - start)
