"""Triton kernels of mlp_chains: chains side by side, one step of all of them after another.

A program walks a tile of chains; a pair's two are neighbours in it and share each step's player, so that its marginals
are averaged where they are made. A step adds the player's columns of W_1 to the chains' pre-activations and multiplies
what ReLU leaves of them by W_2, a block of columns at a time; the layers behind are products over all rows of the tile.
Activations go through a scratch of the program's own, small enough for the caches.

What belongs to a chain is computed in its row of the tile alone, in an order that depends on nothing but the sizes of
the network: a pair has the same bits whatever else is in the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from reluxfast.kernels.common import launch
from reluxfast.kernels.mlp_layers import (
    BLOCK,
    Tiling,
    behind,
    operand,
    packed_layers,
    product,
    programs_for,
    relu,
    transposed_layer,
)


@triton.jit
def _mlp_direct_kernel(
    x_ptr,
    first_ptr,
    layers_ptr,
    z_ptr,
    f_ptr,
    scratch_ptr,
    count,
    features,
    tiles,
    WIDTHS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """z (tiles * ROWS, WIDTHS[0]) and f (count, OUTPUTS) of x (count, features); `tiles` of them in turn."""
    DEPTH: tl.constexpr = WIDTHS[0]
    LAST: tl.constexpr = WIDTHS[len(WIDTHS) - 1]
    block, output = tl.arange(0, BLOCK), tl.arange(0, LAST)
    h_ptr = scratch_ptr + tl.program_id(0).to(tl.int64) * (ROWS * HIDDEN)
    for tile in range(tl.program_id(0).to(tl.int64), tiles, tl.num_programs(0)):
        tile_ptr = z_ptr + tile * (ROWS * DEPTH)
        row = (tile * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        exists = row < count
        for start in range(0, DEPTH, BLOCK):
            z = tl.zeros((ROWS, BLOCK), tl.float32)
            for first in range(0, features, BLOCK):
                feature = first + block
                inside = feature < features
                here = exists[:, None] & inside[None, :]
                x = tl.load(x_ptr + (row * features)[:, None] + feature[None, :], mask=here, other=0.0)
                weight = tl.load(
                    first_ptr + (feature.to(tl.int64) * DEPTH)[:, None] + (start + block)[None, :],
                    mask=inside[:, None],
                    other=0.0,
                )
                z = tl.dot(x, weight, z, input_precision="ieee")
            bias_ptr = first_ptr + tl.cast(features, tl.int64) * DEPTH
            z += tl.load(bias_ptr + start + block)[None, :]
            tl.store(tile_ptr + tl.arange(0, ROWS)[:, None] * DEPTH + (start + block)[None, :], z)
        tl.debug_barrier()
        y = product(tile_ptr, layers_ptr, DEPTH, WIDTHS[1], ROWS, PRECISION)
        y = behind(y, h_ptr, layers_ptr, WIDTHS, ROWS, PRECISION)
        there = exists[:, None] & (output < OUTPUTS)[None, :]
        tl.store(f_ptr + (row * OUTPUTS)[:, None] + output[None, :], y, mask=there)


@triton.jit
def _step(z, x_ptr, b_ptr, columns_ptr, first, size, most, sign, DEPTH: tl.constexpr):
    """A block of pre-activations after `size` features of each row, at most `most`, have changed sides."""
    for member in range(most):
        feature, inside = first + member, member < size
        x = tl.load(x_ptr + feature, mask=inside, other=0.0)
        b = tl.load(b_ptr + feature, mask=inside, other=0.0)
        at = (feature.to(tl.int64) * DEPTH)[:, None] + tl.arange(0, BLOCK)[None, :]
        z += (sign * (x - b))[:, None] * tl.load(columns_ptr + at, mask=inside[:, None], other=0.0)
    return z


@triton.jit
def _mlp_chains_kernel(
    x_ptr,
    background_ptr,
    cycle_ptr,
    permutations_ptr,
    starts_ptr,
    first_ptr,
    layers_ptr,
    z_x_ptr,
    z_b_ptr,
    f_x_ptr,
    f_b_ptr,
    out_ptr,
    scratch_ptr,
    count,
    pairs,
    players,
    features,
    tiles,
    WIDTHS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    CHAINS: tl.constexpr,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """out (count, players, OUTPUTS), `pairs` for each row of x, CHAINS chains each; GROUPS: of several features."""
    DEPTH: tl.constexpr = WIDTHS[0]
    WIDTH: tl.constexpr = WIDTHS[1]
    LAST: tl.constexpr = WIDTHS[len(WIDTHS) - 1]
    PAIRS: tl.constexpr = ROWS // CHAINS
    block, column, output = tl.arange(0, BLOCK), tl.arange(0, WIDTH), tl.arange(0, LAST)
    scratch_ptr += tl.program_id(0).to(tl.int64) * (ROWS * (DEPTH + HIDDEN))
    z_ptr = scratch_ptr + (tl.arange(0, ROWS) * DEPTH)[:, None] + block[None, :]
    h_ptr = scratch_ptr + ROWS * DEPTH
    for tile in range(tl.program_id(0).to(tl.int64), tiles, tl.num_programs(0)):
        written = (tile * PAIRS + tl.arange(0, PAIRS)).to(tl.int64)
        pair = (tile * PAIRS + tl.arange(0, ROWS) // CHAINS).to(tl.int64)
        reverse = tl.arange(0, ROWS) % CHAINS == 1
        sign = tl.where(reverse, -1.0, 1.0)
        exists = pair < count
        row = pair // pairs
        back = tl.load(cycle_ptr + pair, mask=exists, other=0).to(tl.int64)
        inside = exists[:, None] & (output < OUTPUTS)[None, :]
        f_x = tl.load(f_x_ptr + (row * OUTPUTS)[:, None] + output[None, :], mask=inside, other=0.0)
        f_b = tl.load(f_b_ptr + (back * OUTPUTS)[:, None] + output[None, :], mask=inside, other=0.0)
        before, end = tl.where(reverse[:, None], f_x, f_b), tl.where(reverse[:, None], f_b, f_x)
        z_from = tl.where(reverse, z_x_ptr + row * DEPTH, z_b_ptr + back * DEPTH)
        tl.debug_barrier()
        for start in range(0, DEPTH, BLOCK):
            tl.store(
                z_ptr + start, tl.load(z_from[:, None] + (start + block)[None, :], mask=exists[:, None], other=0.0)
            )
        for t in range(players):
            y = end
            if t < players - 1:
                player = tl.load(permutations_ptr + pair * players + t, mask=exists, other=0)
                if GROUPS:
                    first = tl.load(starts_ptr + player)
                    size = tl.where(exists, tl.load(starts_ptr + player + 1) - first, 0)
                    most = tl.max(size)
                else:
                    first, size, most = player, exists.to(tl.int32), 1
                tl.debug_barrier()
                y = tl.zeros((ROWS, WIDTH), tl.float32)
                for start in range(0, DEPTH, BLOCK):
                    z = tl.load(z_ptr + start)
                    x_row, b_row = x_ptr + row * features, background_ptr + back * features
                    z = _step(z, x_row, b_row, first_ptr + start, first, size, most, sign, DEPTH)
                    tl.store(z_ptr + start, z)
                    weight = tl.load(layers_ptr + (start + block)[:, None] * WIDTH + column[None, :])
                    y = tl.dot(operand(relu(z), PRECISION), operand(weight, PRECISION), y, input_precision=PRECISION)
                y += tl.load(layers_ptr + DEPTH * WIDTH + column)[None, :]
                y = behind(y, h_ptr, layers_ptr, WIDTHS, ROWS, PRECISION)
            marginal = tl.reshape(sign[:, None] * (y - before), (PAIRS, CHAINS, LAST))
            mean = tl.sum(marginal, axis=1) * (1.0 / CHAINS)
            player = tl.load(permutations_ptr + written * players + t, mask=written < count, other=0)
            at = ((written * players + player) * OUTPUTS)[:, None] + output[None, :]
            tl.store(out_ptr + at, mean, mask=(written < count)[:, None] & (output < OUTPUTS)[None, :])
            before = y


class _Network(NamedTuple):
    """Weights, each transposed, padded with zeros, its bias in the row below it: the first, and all behind it."""

    first: Tensor
    behind: Tensor


def _network(members: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], tiling: Tiling) -> _Network:
    first = transposed_layer(weights[0].index_select(1, members), biases[0], members.shape[0], tiling.widths[0])
    return _Network(first, packed_layers(weights[1:], biases[1:], tiling))


def _direct(inputs: Tensor, network: _Network, f: Tensor, tiling: Tiling) -> Tensor:
    """Writes f of each row of `inputs`, features by player, and returns pre-activations of whole tiles of rows."""
    tiles = triton.cdiv(inputs.shape[0], tiling.rows)
    programs = programs_for(tiles, inputs.device)
    z = inputs.new_empty(tiles * tiling.rows, tiling.widths[0])
    if tiles:
        launch(
            _mlp_direct_kernel,
            programs,
            inputs,
            inputs,
            *network,
            z,
            f,
            inputs.new_empty(programs * tiling.rows * tiling.hidden),
            *inputs.shape,
            tiles,
            WIDTHS=tiling.widths,
            OUTPUTS=tiling.outputs,
            HIDDEN=tiling.hidden,
            ROWS=tiling.rows,
            PRECISION="ieee",
            num_warps=tiling.warps,
        )
    return z


def mlp_chains(
    x: Tensor,
    background: Tensor,
    cycle: Tensor,
    permutations: Tensor,
    members: Tensor,
    starts: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    results: Sequence[Tensor],
    antithetic: bool,
    allow_tf32: bool,
    tiling: Tiling,
) -> None:
    """Launches the kernels.

    Args:
        x, background: (N, d), (B, d) float32, of any strides, B at least 1.
        cycle, permutations: (N, G), (N, G, n) int32, contiguous.
        members, starts: (d,), (n + 1,) int32, contiguous.
        weights, biases: two or more, of any strides.
        results: marginals (N, G, n, K), f(x) (N, K), f(background) (B, K), contiguous.
        antithetic: whether a pair has two chains.
        allow_tf32: whether chains' products behind the first layer round their operands to TF32.
        tiling: that of the network.
    """
    marginals, f_x, f_b = results
    network = _network(members, weights, biases, tiling)
    x, background = x.index_select(1, members), background.index_select(1, members)
    z_x, z_b = _direct(x, network, f_x, tiling), _direct(background, network, f_b, tiling)
    _, pairs, players = permutations.shape
    chains = 2 if antithetic else 1
    tiles = triton.cdiv(cycle.numel() * chains, tiling.rows)
    programs = programs_for(tiles, x.device)
    if tiles:
        launch(
            _mlp_chains_kernel,
            programs,
            x,
            x,
            background,
            cycle,
            permutations,
            starts,
            *network,
            z_x,
            z_b,
            f_x,
            f_b,
            marginals,
            x.new_empty(programs * tiling.rows * (tiling.widths[0] + tiling.hidden)),
            cycle.numel(),
            pairs,
            players,
            x.shape[1],
            tiles,
            WIDTHS=tiling.widths,
            OUTPUTS=tiling.outputs,
            HIDDEN=tiling.hidden,
            CHAINS=chains,
            GROUPS=players < x.shape[1],
            ROWS=tiling.rows,
            PRECISION="tf32" if allow_tf32 else "ieee",
            num_warps=tiling.warps,
        )
