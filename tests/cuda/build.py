"""Compiles what the tests of the CUDA kernels run on the CPU, once per session and flavour."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/cuda/emulation"
INCLUDES = [f"-I{ROOT / 'csrc'}", f"-I{FOLDER.parent}"]
# Contraction is off as in the build of the package.
FLAGS = ["-std=c++20", "-g1", "-fPIC", "-pthread", "-ffp-contract=off", "-Wall", "-Wextra"]
# With sanitizers, compiling costs more than running.
FLAVOURS = {
    "plain": ["-O1"],
    "address": ["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-O0", "-fsanitize=thread"],
}


def compiler() -> str | None:
    """The C++ compiler, or None."""
    return shutil.which("g++")


def _run(*command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"


def _once(folder: Path, build) -> None:
    """Runs `build` unless it ran for this folder; the workers of one session wait for each other."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            build()
            (folder / "done").touch()


def _binding(session: Path) -> Path:
    """The object file of the Python binding, the same for all flavours."""
    import pybind11

    out = session / "emulation-binding/module.o"
    includes = [pybind11.get_include(), sysconfig.get_paths()["include"]]
    flags = [*FLAGS, "-O1", "-fvisibility=hidden", *(f"-isystem{path}" for path in includes), *INCLUDES]
    _once(out.parent, lambda: _run(compiler(), *flags, "-c", FOLDER / "module.cpp", "-o", out))
    return out


def emulated_kernels(session: Path, flavour: str) -> Path:
    """The folder of the Python module `emulated_kernels`, built under `session` in one of FLAVOURS."""
    folder = session / f"emulation-{flavour}"
    command = [compiler(), *FLAGS, *FLAVOURS[flavour]]

    def compile_one(source: Path) -> Path:
        out = folder / f"{source.stem}.o"
        _run(*command, *INCLUDES, "-c", source, "-o", out)
        return out

    def build() -> None:
        sources = sorted(s for s in FOLDER.glob("*.cpp") if s.stem != "module")
        with ThreadPoolExecutor(2) as pool:
            binding = pool.submit(_binding, session)
            objects = [*pool.map(compile_one, sources), binding.result()]
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        _run(*command, "-shared", *objects, "-o", folder / f"emulated_kernels{suffix}")

    _once(folder, build)
    return folder


def program(session: Path, source: Path, *flags: str) -> Path:
    """The program compiled from one source of the tests with the given flags."""
    folder = session / "-".join([source.stem, *(f.strip("-").replace("=", "-") for f in flags)])
    _once(folder, lambda: _run(compiler(), *FLAGS, "-O1", *flags, *INCLUDES, source, "-o", folder / "program"))
    return folder / "program"


def at_fixed_addresses(command: list[str]) -> list[str]:
    """The command, run without address randomisation where that can be had: ThreadSanitizer has fixed ideas."""
    prefix = ["setarch", "--addr-no-randomize"]
    if shutil.which("setarch") and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
        return [*prefix, *command]
    return command


def python_with(sanitizer: str, *arguments: str | Path) -> subprocess.CompletedProcess:
    """Runs Python with the sanitizer's run-time library loaded before everything else."""
    library = {"address": "libasan.so", "thread": "libtsan.so"}[sanitizer]
    path = subprocess.run([compiler(), f"-print-file-name={library}"], capture_output=True, text=True).stdout.strip()
    environment = {
        "LD_PRELOAD": path,
        # Python frees little at exit; numpy's memory must come from the sanitizer's malloc.
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = at_fixed_addresses([sys.executable, *map(str, arguments)])
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
