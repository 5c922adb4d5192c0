"""mlp_chains: marginals along Shapley permutation chains of a multilayer perceptron, masked inputs never written out.

f(z) = W_L relu(... relu(W_1 z + b_1) ...) + b_L. Each of n players owns some of the d features; v(S) is f of the input
that has x's features for the players in S and a background row's for the others. For a row r and a pair g, with the
permutation π and the background row b that belong to them,

    forward   y_t = v({π_0 .. π_{t-1}}),            y_0 = f(b), y_n = f(x):   m(π_t) = y_{t+1} - y_t
    reverse   r_t = v(all without {π_0 .. π_{t-1}}), r_0 = f(x), r_n = f(b):  m'(π_t) = r_t - r_{t+1}
    pairs[r, g, i] = (m(i) + m'(i)) / 2, or m(i) alone where chains are not antithetic

f(x) and f(b) are direct products. Kernels add one player's columns of W_1 to the first layer's pre-activations at each
step instead of masking inputs: the same but for rounding, as long as everything is finite; an infinity or a NaN in a
feature stays for the rest of the chain. Products behind the first layer may use TF32 where that is allowed and the
device has it, those of f(x) and f(b) never. Permutation sampling: Castro et al. 2009; antithetic: Mitchell et al. 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reluxfast.ops._register import register
from reluxfast.ops.mlp_layers import MOST_WEIGHTS, check_layers, check_number, network, triton_layers_limit


def _check_index(name: str, index: Tensor, x: Tensor) -> None:
    torch._check(index.dtype == torch.int32, lambda: f"{name} must be int32, got {index.dtype}; convert it with .int()")
    torch._check(index.device == x.device, lambda: f"{name} must be on the device of x, {x.device}, got {index.device}")


def _check(
    x: Tensor,
    background: Tensor,
    cycle: Tensor,
    permutations: Tensor,
    members: Tensor,
    starts: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
) -> None:
    torch._check(
        x.dtype in (torch.float32, torch.float64),
        lambda: f"x must be float32 or float64, got {x.dtype}; convert it with .float()",
    )
    torch._check(
        x.dim() == 2 and x.shape[1] > 0, lambda: f"x must have shape (N, d), d at least 1, got {tuple(x.shape)}"
    )
    rows, features = x.shape
    check_number("background", background, "x", x)
    torch._check(
        background.dim() == 2 and background.shape[0] > 0 and background.shape[1] == features,
        lambda: (
            f"background must have shape (B, d), B at least 1 and d that of x, {features}, "
            f"got {tuple(background.shape)}"
        ),
    )
    _check_index("permutations", permutations, x)
    torch._check(
        permutations.dim() == 3 and permutations.shape[0] == rows and permutations.shape[2] > 0,
        lambda: (
            f"permutations must have shape (N, G, n), N that of x, {rows}, and n at least 1, "
            f"got {tuple(permutations.shape)}"
        ),
    )
    _check_index("cycle", cycle, x)
    torch._check(
        cycle.shape == permutations.shape[:2],
        lambda: (
            f"cycle must have the shape (N, G) of permutations, {tuple(permutations.shape[:2])}, "
            f"got {tuple(cycle.shape)}"
        ),
    )
    _check_index("members", members, x)
    torch._check(
        members.dim() == 1 and members.shape[0] == features,
        lambda: f"members must have shape (d,), ({features},), got {tuple(members.shape)}",
    )
    _check_index("starts", starts, x)
    torch._check(
        starts.dim() == 1 and starts.shape[0] == permutations.shape[2] + 1,
        lambda: f"starts must have shape (n + 1,), ({permutations.shape[2] + 1},), got {tuple(starts.shape)}",
    )
    check_layers(weights, biases, MOST_WEIGHTS, "x", x)


def _check_values(background: Tensor, cycle: Tensor, permutations: Tensor, members: Tensor, starts: Tensor) -> None:
    features, players = members.shape[0], permutations.shape[2]
    torch._check(
        bool((members.sort().values == torch.arange(features, device=members.device)).all()),
        lambda: (
            f"members must hold each of the features 0 to {features - 1} once; "
            "sort the features by player, as player.argsort(stable=True).int() does"
        ),
    )
    right = torch.cat([starts[:1] == 0, starts.diff() > 0])
    right[-1] &= starts[-1] == features
    for i in (~right).nonzero()[:1, 0].tolist():
        raise RuntimeError(
            f"starts must ascend from 0 to the number of features, {features}, so that each player has a feature, "
            f"got {int(starts[i])} as starts[{i}]"
        )
    for row, g in ((cycle < 0) | (cycle >= background.shape[0])).nonzero()[:1].tolist():
        raise RuntimeError(
            f"cycle must hold rows of background, 0 to {background.shape[0] - 1}, got {int(cycle[row, g])} "
            f"for row {row}, pair {g}"
        )
    in_order = permutations.sort(-1).values == torch.arange(players, device=permutations.device)
    for row, g in (~in_order.all(-1)).nonzero()[:1].tolist():
        raise RuntimeError(
            f"permutations must hold each of the players 0 to {players - 1} once, those of row {row}, pair {g} do not"
        )


def mlp_chains_reference(
    x: Tensor,
    background: Tensor,
    cycle: Tensor,
    permutations: Tensor,
    members: Tensor,
    starts: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    antithetic: bool,
    allow_tf32: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs, f(x) and f(background) by definition, the masked inputs of one pair at a time."""
    _check(x, background, cycle, permutations, members, starts, weights, biases)
    _check_values(background, cycle, permutations, members, starts)
    rows, pairs, players = permutations.shape
    fx, fb = network(x, weights, biases), network(background, weights, biases)
    marginals = x.new_empty(rows, pairs, players, fx.shape[1])
    positions = torch.arange(players, device=x.device)
    owner = torch.empty_like(members, dtype=torch.int64)
    owner[members.long()] = positions.repeat_interleave(starts.diff().long())
    for row in range(rows):
        for g, back in enumerate(cycle[row].tolist()):
            order = permutations[row, g].long()
            place = torch.empty_like(order)
            place[order] = positions
            # Row t - 1: whether a feature's player is among the first t of the order.
            among_first = place[owner] < positions[1:, None]
            y = network(torch.where(among_first, x[row], background[back]), weights, biases)
            marginal = torch.cat([fb[back][None], y, fx[row][None]]).diff(dim=0)
            if antithetic:
                y = network(torch.where(among_first, background[back], x[row]), weights, biases)
                marginal = 0.5 * (marginal - torch.cat([fx[row][None], y, fb[back][None]]).diff(dim=0))
            marginals[row, g, order] = marginal
    return marginals, fx, fb


def _fake(
    x: Tensor,
    background: Tensor,
    cycle: Tensor,
    permutations: Tensor,
    members: Tensor,
    starts: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    antithetic: bool,
    allow_tf32: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    _check(x, background, cycle, permutations, members, starts, weights, biases)
    outputs = weights[-1].shape[0]
    return (
        x.new_empty((*permutations.shape, outputs)),
        x.new_empty((x.shape[0], outputs)),
        x.new_empty((background.shape[0], outputs)),
    )


def triton_limit(
    x: Tensor,
    background: Tensor,
    cycle: Tensor,
    permutations: Tensor,
    members: Tensor,
    starts: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    antithetic: bool,
    allow_tf32: bool = False,
) -> str | None:
    """Why the Triton kernel does not take a call, None if it does or if the call is wrong anyway."""
    if len(weights) == 1 and x.dtype == torch.float32:
        return "its kernel for mlp_chains needs a hidden layer, got a single weight"
    return triton_layers_limit("mlp_chains", weights[1:], x)


register(
    "mlp_chains",
    "(Tensor x, Tensor background, Tensor cycle, Tensor permutations, Tensor members, Tensor starts, Tensor[] weights, "
    "Tensor[] biases, bool antithetic, bool allow_tf32=False) -> (Tensor, Tensor, Tensor)",
    mlp_chains_reference,
    _fake,
    triton_limit=triton_limit,
)
