"""RISE: outputs under random smooth masks, averaged where the masks let the image through."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from reluxfast.coalitions.counter import MASKS
from reluxfast.coalitions.estimate import Estimate
from reluxfast.coalitions.masks import generator
from reluxfast.coalitions.moments import Moments
from reluxfast.coalitions.request import GameRequest
from reluxfast.errors import InvalidInput
from reluxfast.methods.numbers import is_number, positive, whole
from reluxfast.progress import progress_bar


def rise(
    request: GameRequest, n_evaluations: int = 4000, grid: int = 7, probability: float = 0.5, seed: int = 0
) -> Estimate:
    """RISE (Petsiuk et al. 2018, arXiv 1806.07421): 1/(K p) Σ_k f(x ⊙ M_k + b ⊙ (1 - M_k)) M_k.

    Masks are grids of Bernoulli(p), enlarged bilinearly and cut at a random offset.

    Args:
        n_evaluations: number of masks K.
        grid: cells of the grid along each spatial dimension.
        probability: p, the share of open cells.
        seed: of the masks, which all rows share.

    Returns:
        values like x, the same for each channel; standard_error over masks.
    """
    positive("n_evaluations", n_evaluations, needed=True)
    positive("grid", grid, needed=True)
    whole("seed", seed)
    if not is_number(probability) or not 0 < probability < 1:
        raise InvalidInput("probability", "must lie between 0 and 1", repr(probability))
    shape = request.order.shape
    if len(shape) not in (2, 3):
        raise InvalidInput("x", "must hold images (N, C, H, W) or series (N, C, L) for rise", (len(request.x), *shape))
    if len(request.background) != 1:
        raise InvalidInput("baselines", "must be one row for rise", f"{len(request.background)} rows")
    game = request.game(n_evaluations)
    moments = Moments(game.rows, request.x.shape[1] // shape[0], game.full.shape[1], game.x.device)
    masks = _Masks(n_evaluations, grid, probability, shape[1:], seed)
    with progress_bar(total=n_evaluations * game.rows, desc="rise", unit="image") as bar:
        for start in range(0, n_evaluations, game.tile):
            some = masks[start : start + game.tile].to(game.x)
            for row in range(game.rows):
                v = game.blended(row, request.order.rows(some.unsqueeze(1).expand(-1, *shape)))
                found = v.unsqueeze(1) * some.flatten(1).double().unsqueeze(2) / probability
                moments.add(torch.tensor([row], device=game.x.device), found.unsqueeze(0))
                bar.update(len(some))
    positions = torch.arange(request.x.shape[1] // shape[0], device=game.x.device).repeat(shape[0])
    spent = torch.full_like(game.numbers, n_evaluations + 1)
    error = moments.standard_error[:, positions]
    return Estimate(moments.mean[:, positions], error, spent)


class _Masks:
    """Smooth masks in [0, 1], float32 (count, *spatial), made when they are asked for from grids drawn beforehand."""

    def __init__(self, count: int, grid: int, p: float, spatial: tuple[int, ...], seed: int):
        rng = generator(seed, MASKS)
        self._spatial = spatial
        self._step = [-(-size // grid) for size in spatial]
        self._cells = torch.from_numpy((rng.random((count, 1, *[grid] * len(spatial))) < p).astype(np.float32))
        self._offsets = np.stack([rng.integers(0, step, count) for step in self._step], 1)
        # One cell more than is seen, so that a grid can be cut anywhere.
        self._size = [(grid + 1) * step for step in self._step]

    def __getitem__(self, which: slice) -> torch.Tensor:
        how = "bilinear" if len(self._spatial) == 2 else "linear"
        large = F.interpolate(self._cells[which], size=self._size, mode=how, align_corners=False)[:, 0]
        cut = [
            one[tuple(slice(o, o + n) for o, n in zip(at, self._spatial, strict=True))]
            for one, at in zip(large, self._offsets[which], strict=True)
        ]
        return torch.stack(cut)
