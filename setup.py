"""Build of reluxfast: the package list, the flags and sources of the optional compiled kernels, and the fallback.

The kernels are built where torch and a C++ compiler are there, those for CUDA where torch has CUDA and nvcc is there;
what cannot be built is left out, saying so once. RELUXFAST_NO_EXT=1 leaves all of them out, RELUXFAST_NO_EXT=0 makes a
compiler's failure an error, RELUXFAST_NO_CUDA=1 leaves those for CUDA out. TORCH_CUDA_ARCH_LIST names the GPUs to build
for, as in torch's own builds.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
# The oldest torch whose stable interface is used: a newer torch loads the same library.
TORCH_TARGET_VERSION = "0x020a000000000000"
PYTHON_LIMITED_API = "0x030A0000"
# Turing, Ampere (data centre and desktop), Ada, Hopper.
CUDA_ARCHITECTURES = ("75", "80", "86", "89", "90")
# Folders beside reluxfast/ that are installed as packages in it.
BESIDE = ("kernels", "benchmarks")


def packages(root: Path = ROOT) -> dict[str, str]:
    """Every package's dotted name with its folder relative to `root`."""
    found = {}
    for top, folder in {"reluxfast": "reluxfast", **{f"reluxfast.{name}": name for name in BESIDE}}.items():
        for init in sorted((root / folder).rglob("__init__.py")):
            inside = init.parent.relative_to(root / folder).parts
            found[".".join((top, *inside))] = "/".join((folder, *inside))
    return found


def _files(root: Path, *patterns: str) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for pattern in patterns for p in (root / "csrc").glob(pattern))


def nvcc_flags() -> list[str]:
    """The flags of nvcc, among them the GPUs to build for unless TORCH_CUDA_ARCH_LIST leaves them to torch."""
    flags = [
        "-std=c++17",
        "-O3",
        # As -ffp-contract=off above: the same sums on every machine. Kernels bound by memory lose nothing by it.
        "-fmad=false",
        "-Xcompiler=-Wall,-Wextra,-fvisibility=hidden",
    ]
    if not os.environ.get("TORCH_CUDA_ARCH_LIST"):
        flags += [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in CUDA_ARCHITECTURES]
        # Newer GPUs compile this form when the library is loaded.
        flags.append(f"-gencode=arch=compute_{CUDA_ARCHITECTURES[-1]},code=compute_{CUDA_ARCHITECTURES[-1]}")
    return flags


def extension_config(root: Path = ROOT, cuda: bool = False) -> dict[str, Any]:
    """Sources, headers and flags of the compiled kernels, in the form that an Extension takes; paths are relative."""
    return {
        "sources": _files(root, "*.cpp", "cpu/*.cpp", *(("cuda/*.cpp", "cuda/*.cu") if cuda else ())),
        "depends": _files(root, "**/*.h", *(("cuda/*.cuh",) if cuda else ())),
        "include_dirs": [str(root / "csrc")],
        "define_macros": [
            ("TORCH_TARGET_VERSION", TORCH_TARGET_VERSION),
            ("Py_LIMITED_API", PYTHON_LIMITED_API),
            # torch's headers declare the current stream only with it.
            *([("USE_CUDA", None)] if cuda else []),
        ],
        "extra_compile_args": {
            "cxx": [
                "-O3",
                "-g0",
                "-Wall",
                "-Wextra",
                "-Wno-unused-parameter",
                # Contraction to fused multiply-add would make results depend on the machine.
                "-ffp-contract=off",
                "-fvisibility=hidden",
                # Error messages name a source file; keep the builder's folders out of them.
                f"-ffile-prefix-map={root}/=",
            ],
            "nvcc": nvcc_flags(),
        },
    }


COMPILED, CUDA = "compiled kernels", "CUDA kernels"


def _say(kernels: str, why: str) -> None:
    # A front end runs this file several times; only one of them builds.
    if sys.argv[1:2] not in (["egg_info"], ["dist_info"], ["sdist"]):
        print(f"reluxfast: installing without {kernels} ({why}); results are right but slower", file=sys.stderr)


def _go_without(kernels: str, why: str) -> None:
    """Says that these kernels are left out, or stops where the environment demands them."""
    if os.environ.get("RELUXFAST_NO_EXT") == "0":
        raise SystemExit(f"reluxfast: RELUXFAST_NO_EXT=0 asks for {kernels}, but {why}")
    _say(kernels, why)


def _builds_cuda() -> bool:
    """Whether the CUDA kernels can be compiled here: it is nvcc that counts, not whether there is a GPU."""
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    if torch.version.cuda is None:
        return False
    if os.environ.get("RELUXFAST_NO_CUDA") not in (None, "", "0"):
        _say(CUDA, "RELUXFAST_NO_CUDA is set")
        return False
    if CUDA_HOME is None:
        _say(CUDA, "torch has CUDA but nvcc was not found; set CUDA_HOME to the folder of the CUDA toolkit")
        return False
    return True


def _extension(cuda: bool) -> Extension:
    from torch.utils.cpp_extension import CppExtension, CUDAExtension

    make = CUDAExtension if cuda else CppExtension
    return make("reluxfast._C", py_limited_api=True, **extension_config(cuda=cuda))


def _build_extension_command(base: type) -> type:
    class BuildOptionalExtension(base):
        """Builds the extension; where that fails, goes on with less, first without CUDA, and says so once."""

        def build_extensions(self) -> None:
            while self.extensions:
                try:
                    return super().build_extensions()
                # Whatever a missing or broken compiler raises, the package works without the library.
                except Exception as error:
                    why = f"the compiler failed: {(str(error) or repr(error)).splitlines()[0]}"
                (extension,) = self.extensions
                if any(source.endswith(".cu") for source in extension.sources):
                    _go_without(CUDA, why)
                    # The same object: setuptools has noted things on it.
                    vars(extension).update(vars(_extension(cuda=False)))
                else:
                    _go_without(COMPILED, why)
                    self.extensions = []

    return BuildOptionalExtension


def _extension_arguments() -> dict:
    if os.environ.get("RELUXFAST_NO_EXT") not in (None, "", "0"):
        _go_without(COMPILED, "RELUXFAST_NO_EXT is set")
        return {}
    try:
        from torch.utils.cpp_extension import BuildExtension
    except ImportError as error:
        _go_without(COMPILED, f"torch could not be imported: {error}; install torch first and use --no-build-isolation")
        return {}
    return {
        "ext_modules": [_extension(cuda=_builds_cuda())],
        "cmdclass": {"build_ext": _build_extension_command(BuildExtension)},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


if __name__ == "__main__":
    # Paths in extension_config and packages are relative to this file, wherever the build is started.
    os.chdir(ROOT)
    found = packages()
    setup(packages=list(found), package_dir=found, **_extension_arguments())
