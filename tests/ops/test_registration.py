"""The ops as operators: opcheck, torch.compile, torch.export, no derivative, one registration."""

from __future__ import annotations

import sys

import pytest
import torch

from reluxfast import ops
from reluxfast.ops import native
from tests.ops import registration
from tests.ops.test_backend import WITHOUT_LIBRARY, python

POOL = ([3, 3], [2, 2], [1, 1], [1, 1])


class _EveryOp(torch.nn.Module):
    """Calls every op through the public functions."""

    def forward(self, x, bias, g):
        y, mask = ops.relu_pack(x, bias)
        pooled, winner, positive = ops.max_pool_pack(y, *POOL, relu=True)
        back = ops.max_pool_scatter(g, winner, positive, x.shape[2:], *POOL, mode=3)
        gated = ops.gate(back, mask, y, 1)
        changed = x * 2
        second = ops.relu_pack_(changed, bias, x, 0.0, 6.0)
        ops.gate_(gated, second, changed, 3)
        v, q, half = ops.soft_gate_pack(x, y, bias, None, changed, (0.0, 1.0, 1.0, -1.0), (0, 1), lo=0.0)
        (byte,) = ops.soft_gate_pack_(v, gated, quantise=True)
        made = torch.empty_like(x)
        ops.soft_gate_pack_(half, gated, bias, residual=gated, out=(made,))
        relevance = ops.soft_gate(x, q, half)
        ops.soft_gate_(relevance, byte)
        rows = relevance.flatten(1).contiguous()
        players = torch.arange(rows.shape[1], dtype=torch.int32, device=x.device)
        jobs = torch.tensor([[1, 0, 0, 100], [0, 1, 0, 9], [1, 1, 0, 0]], dtype=torch.int32, device=x.device)
        written = rows.new_empty(3, rows.shape[1], dtype=torch.float16)
        ops.write_coalitions_(written, rows, rows * 2, players, players.view(1, -1), jobs)
        chains = self._chains(x[:, :, 0, 0], bias)
        whole = rows.clamp(-3, 3).round()
        sums = ops.mlp_outer_sums(whole[None], whole[None, :1], [whole[:1]], [whole[0, :1]])
        sampled = self._sampled(chains[0])
        return pooled, gated, changed, mask, second, v, half, made, relevance, written, sums, *chains, *sampled

    @staticmethod
    def _chains(rows, bias):
        # Sums of whole numbers have the same bits in any order.
        rows, bias = rows.round(), bias.round()
        order = torch.arange(5, dtype=torch.int32)
        permutations = order.flip(0).expand(rows.shape[0], 2, 5)
        weights = [torch.outer(bias, bias), bias[None]]
        starts = torch.arange(6, dtype=torch.int32)
        return ops.mlp_chains(
            rows,
            bias[None],
            torch.zeros_like(permutations[..., 0]),
            permutations,
            order,
            starts,
            weights,
            [bias, bias[:1]],
        )

    @staticmethod
    def _sampled(pairs):
        rows = torch.arange(pairs.shape[0])
        count, mean, m2 = torch.zeros_like(rows), *torch.zeros(2, *pairs[:, 0].shape, dtype=torch.float64)
        ops.accumulate_moments_(count, mean, m2, rows, pairs)
        return ops.draw_orders(rows, 2**64 - 3, 1, 0, 2, 7), count, mean, m2


def _inputs(layout):
    x = torch.randn(2, 5, 7, 9).to(memory_format=layout)
    return x, torch.randn(5), torch.randn(2, 5, 4, 5).to(memory_format=layout)


def _write(out, x):
    """write_coalitions_ of rows of x that are present in full."""
    players = torch.arange(x.shape[1], dtype=torch.int32)
    jobs = torch.tensor([[0, 0, 0, x.shape[1]]], dtype=torch.int32)
    ops.write_coalitions_(out, x, torch.zeros_like(x), players, players.view(1, -1), jobs)


def _accumulate(mean, unit):
    """accumulate_moments_ of one unit of one row."""
    state = torch.zeros(1, dtype=torch.int64), mean, torch.zeros(1, 4, 1, dtype=torch.float64)
    ops.accumulate_moments_(*state, torch.zeros(1, dtype=torch.int64), unit.view(1, 1, 4, 1))


@pytest.mark.parametrize("index", range(len(registration.cases())), ids=lambda i: f"{registration.cases()[i][0]}-{i}")
def test_opcheck(index, poisoned_memory):
    # Uninitialised memory is compared by opcheck's own clones, so its filling is of no use here.
    torch.use_deterministic_algorithms(False)
    registration.check(*registration.cases()[index])


def test_opcheck_without_the_library():
    done = python(WITHOUT_LIBRARY + "import runpy; runpy.run_module('tests.ops.registration', run_name='__main__')")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{sorted(ops._IMPLEMENTATIONS)} reluxfast was installed without its compiled kernels"


def test_the_library_answers_where_it_is():
    for name in ops._IMPLEMENTATIONS:
        compiled = torch._C._dispatch_has_kernel_for_dispatch_key(f"reluxfast::{name}", "CPU")
        assert compiled == (native.MISSING_REASON is None)


@pytest.mark.parametrize(
    ("compiler", "layout"),
    [
        ("aot_eager", torch.contiguous_format),
        ("aot_eager", torch.channels_last),
        ("inductor", torch.channels_last),
    ],
)
def test_compile(compiler, layout):
    inputs = _inputs(layout)
    expected = _EveryOp()(*inputs)
    torch._dynamo.reset()
    with torch.no_grad():
        actual = torch.compile(_EveryOp(), fullgraph=True, backend=compiler)(*inputs)
    for got, want in zip(actual, expected, strict=True):
        assert torch.equal(got, want) and got.stride() == want.stride()


def test_compile_with_a_dynamic_batch():
    torch._dynamo.reset()
    function = torch.compile(_EveryOp(), fullgraph=True, backend="aot_eager", dynamic=True)
    for batch in (2, 3, 5):
        inputs = torch.randn(batch, 5, 7, 9), torch.randn(5), torch.randn(batch, 5, 4, 5)
        for got, want in zip(function(*inputs), _EveryOp()(*inputs), strict=True):
            assert torch.equal(got, want)


def test_export():
    inputs = _inputs(torch.contiguous_format)
    program = torch.export.export(_EveryOp(), inputs)
    called = {str(node.target) for node in program.graph.nodes if "reluxfast" in str(node.target)}
    assert called == {f"reluxfast.{name}.default" for name in ops._IMPLEMENTATIONS}
    for got, want in zip(program.module()(*inputs), _EveryOp()(*inputs), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: ops.relu_pack(x)[0],
        lambda x: ops.gate(x, None, None, 2),
        lambda x: ops.soft_gate_pack(x)[1],
        lambda x: ops.soft_gate(x, x),
    ],
    ids=["relu_pack", "gate", "soft_gate_pack", "soft_gate"],
)
def test_a_derivative_is_refused(call):
    with pytest.raises(RuntimeError, match=r"has no derivative.*torch\.no_grad"):
        call(torch.randn(4, requires_grad=True)).sum().backward()


@pytest.mark.parametrize(
    "call",
    [
        ops.relu_pack_,
        lambda x: ops.gate_(x, None, None, 2),
        ops.soft_gate_pack_,
        lambda x: ops.soft_gate_(x, x * 1),
        lambda x: _write(torch.empty(1, 4), x.view(1, 4)),
        lambda x: _write(x.view(1, 4), torch.ones(1, 4)),
        lambda x: _accumulate(torch.zeros(1, 4, 1, dtype=torch.float64), x),
        lambda x: _accumulate(x.double().view(1, 4, 1), torch.ones(4)),
    ],
    ids=[
        "relu_pack_",
        "gate_",
        "soft_gate_pack_",
        "soft_gate_",
        "write_coalitions_ of",
        "write_coalitions_ into",
        "accumulate_moments_ of",
        "accumulate_moments_ into",
    ],
)
def test_a_derivative_in_place_is_refused(call):
    leaf = torch.randn(4, requires_grad=True)
    with ops.backend("auto"), pytest.raises(RuntimeError, match=r"has no derivative.*torch\.no_grad"):
        call(leaf * 1)
    with torch.no_grad():
        call(leaf * 1)


def test_fakes_refuse_what_the_ops_refuse():
    meta = torch.empty(2, 3, 4, 4, device="meta")
    with pytest.raises(RuntimeError, match="padding must be at most half of the kernel"):
        ops.max_pool_pack(meta, [2, 2], [2, 2], [2, 2], [1, 1])
    with pytest.raises(RuntimeError, match="mask must be given"):
        ops.gate(meta, None)
    with pytest.raises(RuntimeError, match="d_bias must be None without d"):
        ops.soft_gate_pack(meta, None, None, torch.empty(3, device="meta"))
    with pytest.raises(RuntimeError, match="q must have z's shape and dense order"):
        ops.soft_gate_pack_(meta, out=(meta.to(memory_format=torch.channels_last),))
    with pytest.raises(RuntimeError, match="a number of rows that divides"):
        ops.soft_gate(meta, torch.empty(3, 3, 4, 4, device="meta"))
    rows, index = torch.empty(2, 4, device="meta"), torch.empty(2, 4, device="meta", dtype=torch.int32)
    ops.write_coalitions_(rows, rows, rows, index[0], index, index)
    with pytest.raises(RuntimeError, match=r"out must have shape \(M, d\)"):
        ops.write_coalitions_(rows[:1], rows, rows, index[0], index, index)
    index = torch.empty(4, 1, 2, dtype=torch.int32, device="meta")
    rows = meta[0, 0]
    with pytest.raises(RuntimeError, match="members must be int32"):
        ops.mlp_chains(rows, rows, index[..., 0], index, rows, rows, [rows], [rows[0]])
    assert ops.mlp_outer_sums(meta[0], meta[1, :, :1], [rows], [rows[:, 0]]).shape == (*meta.shape[1:3], 1, len(rows))
    with pytest.raises(RuntimeError, match=r"low must have shape \(M, Q, H\)"):
        ops.mlp_outer_sums(meta[0], meta[1, :1], [rows], [rows[:, 0]])
    assert ops.draw_orders(index[:, 0, 0].long(), 0, 0, 5, 2, 3).shape == (4, 2, 3)
    with pytest.raises(RuntimeError, match="rows must be int64"):
        ops.draw_orders(index[:, 0, 0], 0, 0, 5, 2, 3)
    mean = rows.double().unsqueeze(-1)
    with pytest.raises(RuntimeError, match=r"mean must have shape \(N, n, K\)"):
        ops.accumulate_moments_(index[:1, 0, 0].long(), mean, mean, index[:, 0, 0].long(), meta)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_output_sizes_are_torchs(padding, ceil_mode):
    for size in range(3, 12):
        for kernel, stride, dilation in [(2, 2, 1), (3, 2, 1), (3, 1, 2), (2, 5, 1), (3, 4, 1)]:
            if size < dilation * (kernel - 1) + 1:
                continue
            x = torch.empty(1, 1, size, size, device="meta")
            want = torch.nn.functional.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)
            pair = [[v, v] for v in (kernel, stride, padding, dilation)]
            assert ops.max_pool_pack(x, *pair, ceil_mode)[0].shape == want.shape


def test_the_kernels_folder_has_one_name():
    import reluxfast.kernels

    assert reluxfast.kernels.__name__ == "reluxfast.kernels" and "kernels" not in sys.modules
