"""The files of the CUDA build, compiled for real where there is nvcc, with or without a GPU and whatever torch has.

Warnings are errors and no kernel may spill; what each of them uses is recorded in build/cuda_resources.json.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.utils.cpp_extension import include_paths

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "csrc/cuda").glob("*.c*") if p.suffix != ".cuh")


@pytest.fixture(scope="module")
def setup_script():
    spec = importlib.util.spec_from_file_location("reluxfast_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def nvcc() -> str:
    found = shutil.which("nvcc") or shutil.which("nvcc", path=os.path.join(os.environ.get("CUDA_HOME", ""), "bin"))
    if found is None:
        pytest.skip("nvcc is neither on PATH nor in CUDA_HOME")
    return found


def _toolkit_includes(nvcc: str) -> list[str]:
    """Where nvcc finds its headers: the C++ compiler needs them for the bindings."""
    said = subprocess.run([nvcc, "--dryrun", "-c", "-x", "cu", os.devnull], capture_output=True, text=True).stderr
    return re.findall(r'"-I([^"]+)"', said)


def _definitions(config: dict) -> list[str]:
    return [f"-D{name}" if value is None else f"-D{name}={value}" for name, value in config["define_macros"]]


_PTXAS = re.compile(
    r"Compiling entry function '(\w+)' for '(\w+)'.*?"
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


def _resources(said: str) -> dict[str, dict[str, int]]:
    """What each kernel uses on each architecture, by "architecture kernel", as ptxas says it; sizes in bytes."""
    found = {}
    for name, architecture, *numbers, rest in _PTXAS.findall(said):
        shared = re.search(r"(\d+) bytes smem", rest)
        keys = ("stack", "spill_stores", "spill_loads", "registers")
        use = dict(zip(keys, map(int, numbers), strict=True), shared=int(shared.group(1)) if shared else 0)
        found[f"{architecture} {name}"] = use
    assert len(found) == said.count("Compiling entry function"), "cannot read what ptxas says"
    return found


def _compile_kernels(nvcc: str, source: Path, out: Path, flags: list[str]) -> dict[str, dict[str, int]]:
    flags = [*flags, "-Werror=all-warnings", "-Xcompiler=-Werror,-fPIC", "-Xptxas=-v", f"-I{ROOT / 'csrc'}"]
    done = subprocess.run([nvcc, *flags, "-c", source, "-o", out], capture_output=True, text=True)
    assert done.returncode == 0, f"{source}:\n{done.stdout}{done.stderr}"
    return _resources(done.stdout + done.stderr)


def _spills(resources: dict[str, dict[str, int]]) -> list[str]:
    """The kernels that keep something in local memory."""
    return [name for name, use in resources.items() if use["stack"] or use["spill_stores"] or use["spill_loads"]]


def _flags(setup_script, architectures: tuple[str, ...]) -> list[str]:
    config = setup_script.extension_config(cuda=True)
    flags = [f for f in config["extra_compile_args"]["nvcc"] if "gencode" not in f]
    return [*flags, *_definitions(config), *(f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures)]


def test_sources_are_those_of_the_build(setup_script):
    config = setup_script.extension_config(cuda=True)
    assert SOURCES and set(SOURCES) == {s for s in config["sources"] if s.startswith("csrc/cuda/")}


def test_kernels_compile_without_spills(nvcc, setup_script, tmp_path):
    # The oldest and the newest that are built for.
    flags = _flags(setup_script, ("75", "90"))
    kernels = [s for s in SOURCES if s.endswith(".cu")]
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda s: _compile_kernels(nvcc, ROOT / s, tmp_path / f"{Path(s).stem}.o", flags), kernels)
        resources = dict(zip(kernels, results, strict=True))
    for source, found in resources.items():
        # At least one kernel for each of four dtypes and two architectures.
        assert len(found) >= 8, f"{source}: only {len(found)} kernels"
        assert not _spills(found), f"{source}: {_spills(found)} spill"
        # Two blocks of 256 threads must fit the 65536 registers of a multiprocessor.
        assert max(use["registers"] for use in found.values()) <= 128
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build/cuda_resources.json").write_text(json.dumps(resources, indent=1) + "\n")


def test_coalitions_are_written_in_16_byte_accesses(nvcc, tmp_path):
    source, out = ROOT / "csrc/cuda/write_coalitions.cu", tmp_path / "kernels.ptx"
    command = [nvcc, "-std=c++17", "-O3", "-arch=sm_90", f"-I{ROOT / 'csrc'}", "-ptx", source, "-o", out]
    subprocess.run(command, check=True)
    kernels = re.split(r"\.entry ", out.read_text())[1:]
    # The number of lanes is the last template argument.
    lanes = [int(re.match(r"\w*?Li(\d+)E", kernel).group(1)) for kernel in kernels]
    assert sorted(lanes) == [1, 1, 1, 1, 1, 2, 4, 8, 8, 8]
    for number, kernel in zip(lanes, kernels, strict=True):
        (store,) = re.findall(r"st\.global\.([\w.]+)", kernel)
        assert (store in ("v4.u32", "v2.u64")) == (number > 1), store


def test_a_warning_and_a_spill_are_seen(nvcc, setup_script, tmp_path):
    flags = _flags(setup_script, ("90",))
    source = tmp_path / "kernel.cu"
    source.write_text("__global__ void f(int* x) { int unused = 1; *x = 1; }\n")
    with pytest.raises(AssertionError, match="unused"):
        _compile_kernels(nvcc, source, tmp_path / "kernel.o", flags)
    count = "int a[64] = {}; for (int i = 0; i < n; ++i) a[x[i] & 63] += i; for (int i = 0; i < n; ++i) x[i] = a[i];"
    source.write_text(f"__global__ void f(int* x, int n) {{ {count} }}\n")
    resources = _compile_kernels(nvcc, source, tmp_path / "kernel.o", flags)
    assert len(_spills(resources)) == 1 and next(iter(resources.values()))["stack"] == 256


def test_bindings_compile(nvcc, setup_script, tmp_path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("the bindings need g++")
    config = setup_script.extension_config(cuda=True)
    flags = [*config["extra_compile_args"]["cxx"], "-std=c++20", "-fPIC", "-Werror", *_definitions(config)]
    includes = [f"-isystem{path}" for path in (*include_paths(), *_toolkit_includes(nvcc))]
    for source in (s for s in SOURCES if s.endswith(".cpp")):
        command = [compiler, *flags, f"-I{ROOT / 'csrc'}", *includes, "-c", ROOT / source, "-o", tmp_path / "binding.o"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 0, f"{source}, torch {torch.__version__}:\n{done.stderr[-4000:]}"
    wanted = subprocess.run(["nm", "-C", "--undefined-only", tmp_path / "binding.o"], capture_output=True, text=True)
    assert "reluxfast::cuda::launch_relu_pack<double>" in wanted.stdout
