"""opcheck for every op; run as a program it checks one case of each, which may be without the library."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.library import opcheck

INF = float("inf")


def cases() -> list[tuple[str, tuple]]:
    """Op names and arguments: every op, both dense orders, strides that are neither, and optional tensors left out."""
    generator = torch.Generator(torch.get_default_device()).manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    contiguous = random(2, 3, 4, 6)
    last = contiguous.to(memory_format=torch.channels_last)
    permuted = random(6, 4, 3, 2).permute(3, 2, 1, 0)
    mask = torch.full((20,), 0b1011, dtype=torch.uint8)
    pool = ([2, 3], [2, 2], [0, 1], [1, 1])
    winner = torch.full((20,), 0b00100001, dtype=torch.uint8)
    bits = torch.full((8,), 0b101, dtype=torch.uint8)
    listed: list[tuple[str, tuple]] = []
    for x in (contiguous, last, permuted):
        listed.append(("relu_pack", (x, random(3), contiguous, 0.0, 6.0, True)))
        listed.append(("gate", (x, mask, last, 3, 144)))
        listed.append(("max_pool_pack", (x, *pool, False, True, True)))
        bounds = (1e-3, 0.0, INF, 0, False)
        listed.append(
            ("soft_gate_pack", (x, last, random(3), random(3), permuted, [0.0, 1.0, 1.0, -1.0], [0, 1], *bounds))
        )
        listed.append(("soft_gate", (x, random(1, 3, 4, 6), last)))
    listed.append(("relu_pack", (last, None, None, 0.0, INF, False)))
    listed.append(("gate", (contiguous, None, None, 2, 144)))
    listed.append(("max_pool_pack", (contiguous, *pool, True, False, False)))
    numbers = (1e-6, -INF, INF, 1)
    listed.append(("soft_gate_pack", (last, None, None, None, None, [1.0, 0.0], [0], *numbers, True)))
    listed.append(("soft_gate", (last, torch.full((2, 3, 4, 6), 7, dtype=torch.uint8), None)))
    for x in (contiguous, last):
        listed.append(("relu_pack_", (x.clone(), random(3), permuted, 0.0, INF, True)))
        listed.append(("gate_", (x.clone(), mask, permuted, 1, 144)))
        byte = torch.zeros_like(x, dtype=torch.uint8)
        listed.append(
            ("soft_gate_pack_", (x.clone(), byte, None, permuted, None, random(3), None, [1.0, 0.5], [0], *numbers))
        )
        two = (torch.zeros_like(x), torch.zeros_like(x))
        listed.append(
            ("soft_gate_pack_", (x.clone(), *two, last, random(3), None, last, [1.0, 0.0, 0.0, 1.0], [0, 2], *numbers))
        )
        listed.append(("soft_gate_", (x.clone(), last, permuted)))
        g = x[:, :, ::2, ::2].clone(memory_format=torch.preserve_format)
        listed.append(("max_pool_scatter", (g, winner, bits, [4, 6], *pool, 3, 36)))
    labels = torch.tensor([2, 0, 0, 1], dtype=torch.int32)
    ranks, jobs = (torch.tensor(x, dtype=torch.int32) for x in ([[1, 0, 2]], [[1, 0, 0, 2], [0, 0, 0, 1]]))
    for made in (torch.float32, torch.bfloat16):
        out = torch.zeros(2, 4, dtype=made)
        listed.append(("write_coalitions_", (out, random(2, 4), random(1, 4), labels, ranks, jobs)))
    chains = (torch.tensor([[1, 0]]), torch.tensor([[[1, 0], [0, 1]]]), torch.arange(3), torch.tensor([0, 1, 3]))
    layers = ([random(4, 3), random(2, 4)], [random(4), random(2)])
    chains = (random(1, 3), random(2, 3), *(index.int() for index in chains), *layers)
    listed += [("mlp_chains", (*chains, *switches)) for switches in ((True,), (False, True))]
    listed.append(("mlp_outer_sums", (random(2, 1, 3), random(2, 2, 3), [random(2, 3)], [random(2)])))
    numbers = torch.tensor([4, 2, 9])
    for rows in (numbers, numbers[::2]):
        listed.append(("draw_orders", (rows, -7, 1, 5, 2, 6)))
        moments = (torch.zeros(4, dtype=torch.int64), *torch.zeros(2, 4, 3, 2, dtype=torch.float64))
        for units in (random(len(rows), 5, 3, 2), random(3, 5, len(rows), 2).double().transpose(0, 2)):
            listed.append(("accumulate_moments_", (*moments, rows // 3, units)))
    listed.append(("max_pool_scatter", (random(4, 3, 2, 3), winner, None, [4, 6], *pool, 0, 36)))
    return listed


def check(name: str, arguments: tuple) -> None:
    """Raises where schema, fake, autograd registration or tracing of the op is wrong."""
    opcheck(getattr(torch.ops.reluxfast, name).default, arguments)


if __name__ == "__main__":
    import reluxfast.ops as ops

    one_of_each = dict(reversed(cases()))
    for name, arguments in one_of_each.items():
        check(name, arguments)
    print(sorted(one_of_each), ops.available_backends()["cpp"])
