"""Short, seeded training of the demo's networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reluxfast.demo.data import Split
from reluxfast.progress import progress_bar


def train(
    model: nn.Module,
    split: Split,
    epochs: int,
    seed: int = 0,
    batch_size: int = 64,
    rate: float = 3e-3,
    jitter: float = 0.0,
    progress: bool = True,
) -> float:
    """Train with Adam and a one-cycle rate, leave the model in eval mode, return the held-out accuracy in [0, 1].

    `jitter > 0` mirrors half of the batches and changes brightness by up to that share. Everything random depends on
    `seed` alone. `progress` draws a bar on a terminal.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(split.train_x) // batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    name = f"train {type(model).__name__}"
    with progress_bar(desc=name, total=steps, unit="batch", show=progress) as bar:
        for _ in range(epochs):
            for rows in torch.randperm(len(split.train_x), generator=generator).split(batch_size):
                x = split.train_x[rows]
                if jitter:
                    x = _jittered(x, jitter, generator)
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(model(x), split.train_y[rows]).backward()
                optimizer.step()
                schedule.step()
                bar.update()
    model.eval()
    return accuracy(model, split.test_x, split.test_y)


def _jittered(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    if torch.rand((), generator=generator) < 0.5:
        x = x.flip(3)
    gain = 1 + amount * (2 * torch.rand(len(x), 1, 1, 1, generator=generator) - 1)
    shift = amount / 2 * (2 * torch.rand(len(x), x.shape[1], 1, 1, generator=generator) - 1)
    return x * gain + shift


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of rows of `x` whose largest logit is at `y`."""
    return (model(x).argmax(1) == y).double().mean().item()
