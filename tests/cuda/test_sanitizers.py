"""The emulated CUDA kernels under the compiler's sanitizers, replaying calls in a process without torch."""

from __future__ import annotations

from itertools import product

import torch

from tests.cuda import build, calls, cases
from tests.cuda.test_max_pool import SHAPES_AND_POOLS
from tests.ops.chains_statement import Shape


def _calls(threads: bool, dtypes: tuple[str, ...]) -> list[calls.Call]:
    made = []
    for dtype, wide in product(dtypes, (False, True)):
        if not wide or dtype.endswith("float16"):
            # Whole chunks with players in runs, and single elements with one player each.
            made.append(cases.write_coalitions((5, 96), dtype, torch.arange(96) // 12, wide=wide, threads=threads))
            made.append(cases.write_coalitions((7, 61), dtype, torch.arange(61), wide=wide, threads=threads))
    for dtype, layout in product(dtypes, cases.LAYOUTS):
        for shape, bias in (((2, 3, 5, 7), True), ((1, 16, 9, 7), True), ((2, 5, 3, 16), True), ((45,), False)):
            made.append(cases.relu_pack(shape, dtype, layout, bias=bias, residual=True, in_place=not bias))
        for mode, classes in ((0, 1), (1, 3), (3, 1)):
            made.append(cases.gate((2, 3, 5, 7), dtype, mode, classes=classes, skip=mode == 0, threads=threads))
            made.append(cases.gate((2, 16, 3, 4), dtype, mode, classes=classes, skip=mode > 0, threads=threads))
        for two, shape in ((False, (2, 3, 5, 7)), (True, (1, 16, 9, 7)), (True, (2, 5, 3, 16))):
            gates = {"factors": (0.0, 1.0, 1.0, -1.0), "branches": (0, 2)} if two else {"numerator": 1}
            for quantise in (False, True):
                made.append(
                    cases.soft_gate_pack(
                        shape,
                        dtype,
                        layout,
                        bias=two,
                        d_bias=quantise,
                        residual=quantise,
                        quantise=quantise,
                        in_place=two,
                        threads=threads,
                        **gates,
                    )
                )
            parts = {"twice": True, "factors": (1.0, 0.0, 0.0, 1.0), "branches": (0, 0), "in_place": True}
            made.append(cases.soft_gate_pack(shape, dtype, layout, threads=threads, **parts))
        for classes, quantised in ((1, False), (3, True)):
            for shape in ((2, 3, 5, 7), (2, 16, 3, 4)):
                made.append(
                    cases.soft_gate(shape, dtype, classes=classes, skip=quantised, quantised=quantised, threads=threads)
                )
        for name in ("2x2/2 odd size", "2x2/2 chunks", "3x3/2 chunks", "5x4 chunks", "3-d chunks", "dilated"):
            made.append(cases.max_pool_pack(*SHAPES_AND_POOLS[name], dtype, layout, relu=True))
            made.append(cases.max_pool_scatter(*SHAPES_AND_POOLS[name], dtype, layout, 3, classes=2, threads=threads))
    for dtype in {"float32", "float64"} & {*dtypes}:
        # Panels and narrow products, a tile that is not full, groups; one layer; tensor cores.
        for shape in (Shape(1, 2, 17, 5, 3, (40, 17, 2)), Shape(2, 1, 1, 4, 3, (5,))):
            made.append(cases.mlp_chains(shape, dtype, True, most_blocks=1))
        made.append(cases.mlp_chains(Shape(1, 2, 2, 3, 3, (17, 40, 3)), dtype, False, tf32=()))
    # One array at a time where no chunk may be read or written at once.
    dtype, nhwc = dtypes[0], "channels_last"
    for name in ("x", "y", "residual", "bias"):
        made.append(cases.relu_pack((2, 8, 3, 3), dtype, nhwc, bias=True, residual=True, offsets={name: 1}))
    for name in ("g", "out", "skip", "mask"):
        made.append(cases.gate((2, 8, 3, 3), dtype, 3, classes=2, skip=True, offsets={name: 1}, threads=threads))
    for name in ("z", "d", "residual", "bias", "d_bias", "v", "first", "second", "first_bytes", "second_bytes"):
        made.append(
            cases.soft_gate_pack(
                (2, 8, 3, 3),
                dtype,
                nhwc,
                bias=True,
                d_bias=True,
                residual=True,
                factors=(0.0, 1.0, 1.0, -1.0),
                branches=(0, 0),
                quantise=name.endswith("bytes"),
                offsets={name: 1},
                threads=threads,
            )
        )
    for name in ("g", "out", "skip", "q", "bytes"):
        kind = {"quantised": name == "bytes", "offsets": {name: 1}, "threads": threads}
        made.append(cases.soft_gate((2, 8, 3, 3), dtype, classes=2, skip=True, **kind))
    for name in ("out", "x", "background", "labels", "ranks", "jobs"):
        labels, offsets = torch.arange(96) // 12, {name: 1}
        made.append(cases.write_coalitions((3, 96), dtype, labels, offsets=offsets, threads=threads))
    for pool in ("2x2/2 chunks", "5x4 chunks"):
        for name in ("x", "y"):
            made.append(cases.max_pool_pack(*SHAPES_AND_POOLS[pool], dtype, nhwc, relu=True, offsets={name: 1}))
        for name in ("g", "out", "winner", "mask"):
            call = cases.max_pool_scatter(*SHAPES_AND_POOLS[pool], dtype, nhwc, 3, offsets={name: 1}, threads=threads)
            made.append(call)
    return made


def _replay(sanitizer: str, made: list[calls.Call], session_folder, tmp_path) -> None:
    folder = build.emulated_kernels(session_folder, sanitizer)
    calls.save(made, tmp_path / "calls.npz")
    done = build.python_with(sanitizer, "-m", "tests.cuda.calls", tmp_path / "calls.npz", folder)
    assert done.returncode == 0 and done.stdout == f"{len(made)} calls\n", f"{done.stdout}\n{done.stderr[-6000:]}"


def test_addresses_and_undefined_behaviour(session_folder, needs_compiler, tmp_path):
    _replay("address", _calls(False, cases.DTYPES), session_folder, tmp_path)


def test_races(session_folder, needs_compiler, tmp_path):
    # One type per size of chunk: which threads share a word depends on nothing else.
    _replay("thread", _calls(True, ("float32", "float64", "float16")), session_folder, tmp_path)
