"""Build of reluxfast: the package list, the flags and sources of the optional compiled kernels, and the fallback.

RELUXFAST_NO_EXT=1 leaves the compiled kernels out, RELUXFAST_NO_EXT=0 makes their absence an error; otherwise they are
built where torch and a C++ compiler are there, and left out, saying so once, where they are not.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
# The oldest torch whose stable interface is used: a newer torch loads the same library.
TORCH_TARGET_VERSION = "0x020a000000000000"
PYTHON_LIMITED_API = "0x030A0000"


def packages(root: Path = ROOT) -> dict[str, str]:
    """Every package's dotted name with its folder relative to `root`; kernels/ is installed as reluxfast.kernels."""
    found = {}
    for top, folder in (("reluxfast", "reluxfast"), ("reluxfast.kernels", "kernels")):
        for init in sorted((root / folder).rglob("__init__.py")):
            inside = init.parent.relative_to(root / folder).parts
            found[".".join((top, *inside))] = "/".join((folder, *inside))
    return found


def extension_config(root: Path = ROOT) -> dict[str, list]:
    """Sources, headers and flags of the compiled kernels, in the form that an Extension takes; paths are relative."""
    csrc = root / "csrc"

    def found(*patterns: str) -> list[str]:
        return sorted(p.relative_to(root).as_posix() for pattern in patterns for p in csrc.glob(pattern))

    return {
        "sources": found("*.cpp", "cpu/*.cpp"),
        "depends": found("**/*.h"),
        "include_dirs": [str(csrc)],
        "define_macros": [
            ("TORCH_TARGET_VERSION", TORCH_TARGET_VERSION),
            ("Py_LIMITED_API", PYTHON_LIMITED_API),
        ],
        # Contraction to fused multiply-add would make results depend on the machine.
        "extra_compile_args": [
            "-O3",
            "-g0",
            "-Wall",
            "-Wextra",
            "-Wno-unused-parameter",
            "-ffp-contract=off",
            "-fvisibility=hidden",
            # Error messages name a source file; keep the builder's folders out of them.
            f"-ffile-prefix-map={root}/=",
        ],
    }


def _say(why: str) -> None:
    if os.environ.get("RELUXFAST_NO_EXT") == "0":
        raise SystemExit(f"reluxfast: RELUXFAST_NO_EXT=0 asks for the compiled kernels, but {why}")
    # A front end runs this file several times; only one of them builds.
    if sys.argv[1:2] in (["egg_info"], ["dist_info"], ["sdist"]):
        return
    print(f"reluxfast: installing without compiled kernels ({why}); results are right but slower", file=sys.stderr)


def _build_extension_command(base: type) -> type:
    class BuildOptionalExtension(base):
        """Builds the extension; where that fails, goes on without it and says so once."""

        def build_extensions(self) -> None:
            try:
                super().build_extensions()
            # Whatever a missing or broken compiler raises, the package works without the library.
            except Exception as error:
                _say(f"the compiler failed: {(str(error) or repr(error)).splitlines()[0]}")
                self.extensions = []

    return BuildOptionalExtension


def _extension_arguments() -> dict:
    if os.environ.get("RELUXFAST_NO_EXT") not in (None, "", "0"):
        _say("RELUXFAST_NO_EXT is set")
        return {}
    try:
        from torch.utils.cpp_extension import BuildExtension, CppExtension
    except ImportError as error:
        _say(f"torch could not be imported: {error}; install torch first and use --no-build-isolation")
        return {}
    command = _build_extension_command(BuildExtension)
    return {
        "ext_modules": [CppExtension("reluxfast._C", py_limited_api=True, **extension_config())],
        "cmdclass": {"build_ext": command},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


if __name__ == "__main__":
    # Paths in extension_config and packages are relative to this file, wherever the build is started.
    os.chdir(ROOT)
    found = packages()
    setup(packages=list(found), package_dir=found, **_extension_arguments())
