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
# Contraction is off as in the build of the package; -O1 keeps the sanitizers' reports readable.
FLAGS = ["-std=c++20", "-O1", "-g1", "-fPIC", "-pthread", "-ffp-contract=off", "-Wall", "-Wextra"]
SANITIZERS = {
    "plain": [],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
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


def emulated_kernels(session: Path, sanitizer: str) -> Path:
    """The folder of the Python module `emulated_kernels`, built under `session` with the given sanitizer."""
    import pybind11

    folder = session / f"emulation-{sanitizer}"
    flags = [compiler(), *FLAGS, *SANITIZERS[sanitizer], f"-I{ROOT / 'csrc'}", f"-I{FOLDER.parent}"]
    python = [f"-isystem{pybind11.get_include()}", f"-isystem{sysconfig.get_paths()['include']}", "-fvisibility=hidden"]

    def build() -> None:
        sources = sorted(FOLDER.glob("*.cpp"))
        with ThreadPoolExecutor(2) as pool:
            commands = [
                [*flags, *(python if source.stem == "module" else []), "-c", source, "-o", folder / f"{source.stem}.o"]
                for source in sources
            ]
            list(pool.map(lambda command: _run(*command), commands))
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        _run(*flags, "-shared", *sorted(folder.glob("*.o")), "-o", folder / f"emulated_kernels{suffix}")

    _once(folder, build)
    return folder


def program(session: Path, source: Path, *flags: str) -> Path:
    """The program compiled from one source of the tests with the given flags."""
    folder = session / "-".join([source.stem, *(f.strip("-").replace("=", "-") for f in flags)])
    _once(folder, lambda: _run(compiler(), *FLAGS, *flags, f"-I{FOLDER.parent}", source, "-o", folder / "program"))
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
