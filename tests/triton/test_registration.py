"""Triton behind the dispatcher, the package without Triton, and Triton imported only where it is used."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from reluxfast import ops
from reluxfast.ops import native, triton_state
from tests.ops.test_backend import WITHOUT_LIBRARY, python

NEEDS_TRITON = pytest.mark.skipif(triton_state.MISSING_REASON is not None, reason=str(triton_state.MISSING_REASON))
# Ops that the compiled library has for the CPU only, and those that no kernel for CUDA has.
WITHOUT_CUDA = {"mlp_outer_sums", "draw_orders", "accumulate_moments_"}
WITHOUT_KERNEL = {"draw_orders", "accumulate_moments_"}
WITHOUT_TRITON = "import sys; sys.modules['triton'] = None\n"
ON_CUDA = (
    "print([torch._C._dispatch_has_kernel_for_dispatch_key('reluxfast::' + n, 'CUDA') for n in o._IMPLEMENTATIONS])\n"
)


@NEEDS_TRITON
def test_opcheck_compile_and_export():
    program = "import runpy; runpy.run_module('tests.triton.operators', run_name='__main__')"
    done = python(WITHOUT_LIBRARY + program, TRITON_INTERPRET="1")
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


def test_triton_answers_on_cuda_where_the_library_does_not():
    for name in ops._IMPLEMENTATIONS:
        registered = torch._C._dispatch_has_kernel_for_dispatch_key(f"reluxfast::{name}", "CUDA")
        compiled = native.has_cuda() and name not in WITHOUT_CUDA
        assert registered == (compiled or (triton_state.MISSING_REASON is None and name not in WITHOUT_KERNEL))


@NEEDS_TRITON
def test_auto_takes_on_cuda_what_tritons_kernel_does():
    def takes(device, dtype, *widths):
        with FakeTensorMode():
            layers = [torch.empty(a, b, device=device, dtype=dtype) for b, a in itertools.pairwise(widths)]
        return ops.takes("mlp_chains", *layers[:1] * 6, layers, layers, True)

    for dtype, widths, right in ((torch.float32, (8, 4, 2), True), (torch.float32, (8, 2), False),
                                 (torch.float64, (8, 4, 2), False)):  # fmt: skip
        assert takes("cpu", dtype, *widths) and takes("cuda", dtype, *widths) == right


@NEEDS_TRITON
def test_the_librarys_cuda_kernels_are_left_alone():
    taken = "import torch; torch.library.impl('reluxfast::gate', 'CUDA', lambda *a: None)\n"
    # As a library with this one kernel would have left it, and a library must be there to be asked.
    library = "import types; sys.modules['reluxfast._C'] = types.ModuleType('reluxfast._C')\n"
    watched = "real = torch.library.impl; seen = []\n"
    watched += "torch.library.impl = lambda q, k, f: (seen.append(q) if k == 'CUDA' else None, real(q, k, f))\n"
    done = python("import sys\n" + library + taken + watched + "import reluxfast.ops\nprint(sorted(seen))\n")
    assert done.returncode == 0, done.stderr
    assert "reluxfast::gate'" not in done.stdout and "reluxfast::gate_'" in done.stdout


def test_importing_the_package_does_not_import_triton():
    done = python(
        "import sys, reluxfast\nassert 'triton' not in sys.modules\n"
        + "import reluxfast.kernels\nprint('triton' in sys.modules)\n"
    )
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_without_triton():
    done = python(
        WITHOUT_TRITON
        + "import torch, reluxfast as rx, reluxfast.ops as o\n"
        + ON_CUDA
        + "print(rx.info().triton, o.available_backends()['triton'])\n"
        + "print(o.relu_pack(torch.tensor([-1., 2.]))[0].tolist())\n"
        + "with o.backend('triton'): pass\n"
    )
    registered, state, values = done.stdout.splitlines()
    assert registered == str([native.has_cuda() and name not in WITHOUT_CUDA for name in ops._IMPLEMENTATIONS])
    assert (state, values) == ("None triton is not installed", "[0.0, 2.0]")
    assert "BackendUnavailable" in done.stderr and "pip install 'reluxfast[triton]'" in done.stderr


@NEEDS_TRITON
def test_with_the_interpreter_off():
    if torch.cuda.is_available():
        pytest.skip("Triton runs compiled on this machine")
    done = python(
        "import os, sys, torch, reluxfast.ops as o\n"
        # Too late for kernels that are there already.
        + "import reluxfast.kernels.common; os.environ['TRITON_INTERPRET'] = '1'\n"
        + "print(o.available_backends()['triton'], '/', o.available_backends()['cpp'])\n"
        + "print(o.relu_pack(torch.tensor([-1., 2.]))[0].tolist())\n"
        + "with o.backend('triton'): pass\n"
    )
    state, values = done.stdout.splitlines()
    assert state == f"there is no CUDA device and Triton's interpreter is off / {native.MISSING_REASON}"
    assert values == "[0.0, 2.0]"
    assert "BackendUnavailable" in done.stderr and "set TRITON_INTERPRET=1" in done.stderr


@NEEDS_TRITON
def test_the_environment_chooses_triton():
    done = python(
        "import torch, reluxfast as rx\n"
        + "print(rx.info().active_backend, rx.ops.relu_pack(torch.tensor([-1., 2.]))[1].tolist())\n"
        + "import sys; print('triton' in sys.modules)\n",
        RELUXFAST_BACKEND="triton",
        TRITON_INTERPRET="1",
    )
    assert (done.returncode, done.stdout) == (0, "triton [2, 0, 0, 0]\nTrue\n"), done.stderr
