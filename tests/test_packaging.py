"""What is built and shipped: the package list, the source archive, the wheel, and the build without a compiler."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
TOPS = ("reluxfast", "kernels", "benchmarks")


@pytest.fixture(scope="module")
def setup_script():
    spec = importlib.util.spec_from_file_location("reluxfast_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _build(kind: str, folder: Path, **environment: str) -> tuple[Path, str]:
    """Builds from a copy of the project, so that neither old build folders nor another worker's build interfere."""
    copy, out = folder / "project", folder / "out"
    copy.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for name in (*TOPS, "csrc", "tests/ops"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built, done.stdout + done.stderr


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> list[str]:
    """The names in the source archive, without its top folder."""
    archive, said = _build("sdist", tmp_path_factory.mktemp("sdist"), RELUXFAST_NO_EXT="1")
    assert "installing without compiled kernels" not in said
    with tarfile.open(archive) as tar:
        return [name.split("/", 1)[1] for name in tar.getnames() if "/" in name]


def _folders_with_modules() -> set[str]:
    found = set()
    for path in [p for top in TOPS for p in ROOT.glob(f"{top}/**/*.py")]:
        folder = path.parent.relative_to(ROOT).as_posix()
        found.add(folder)
    return found


def test_every_folder_of_modules_is_a_package(setup_script):
    packages = setup_script.packages()
    missing = sorted(_folders_with_modules() - set(packages.values()))
    assert not missing, f"folders with modules but without __init__.py: {missing}"
    assert packages["reluxfast"] == "reluxfast"
    assert packages["reluxfast.kernels"] == "kernels" and packages["reluxfast.benchmarks"] == "benchmarks"
    for name, folder in packages.items():
        assert name == re.sub("^(kernels|benchmarks)", r"reluxfast.\1", folder.replace("/", "."))


def test_nothing_but_the_package_is_listed(setup_script):
    assert not [name for name in setup_script.packages() if "test" in name or not name.startswith("reluxfast")]


def test_extension_config_names_files_that_exist(setup_script):
    for cuda in (False, True):
        config = setup_script.extension_config(cuda=cuda)
        assert config["sources"] and config["depends"]
        for path in config["sources"] + config["depends"]:
            assert (ROOT / path).is_file() and not Path(path).is_absolute()
        on_disk = {p.relative_to(ROOT).as_posix() for p in (ROOT / "csrc").rglob("*") if p.is_file()}
        if not cuda:
            on_disk = {p for p in on_disk if not p.startswith("csrc/cuda/") or p.endswith(".h")}
        assert {*config["sources"], *config["depends"]} == on_disk
        assert ("TORCH_TARGET_VERSION", "0x020a000000000000") in config["define_macros"]
        assert (("USE_CUDA", None) in config["define_macros"]) == cuda


def test_extension_config_is_portable(setup_script):
    flags = setup_script.extension_config(cuda=True)["extra_compile_args"]
    wrong = ("native", "fast-math", "fast_math", "-mavx", "-ftz", "-prec")
    assert not [f for f in flags["cxx"] + flags["nvcc"] if any(w in f for w in wrong)]


def test_gpus_to_build_for(setup_script, monkeypatch):
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    for_gpus = [f.removeprefix("-gencode=arch=") for f in setup_script.nvcc_flags() if "gencode" in f]
    assert for_gpus == [f"compute_{a},code=sm_{a}" for a in (75, 80, 86, 89, 90)] + ["compute_90,code=compute_90"]
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0")
    # torch's build leaves the choice to whoever passes a flag with "arch" in it.
    assert not [f for f in setup_script.nvcc_flags() if "arch" in f]


def test_the_source_archive_can_build_the_extension(sdist):
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "csrc").rglob("*") if p.is_file()}
    assert sources and not sorted(sources - set(sdist))
    assert {"kernels/__init__.py", "setup.py", "pyproject.toml", "LICENSE"} <= set(sdist)


def test_the_source_archive_has_every_module(sdist):
    modules = {p.relative_to(ROOT).as_posix() for top in TOPS for p in (ROOT / top).rglob("*.py")}
    assert not sorted(modules - set(sdist))


def test_the_source_archive_has_no_tests_and_nothing_built(sdist):
    wrong = [n for n in sdist if n.startswith(("tests", "build/", ".venv")) or n.endswith((".so", ".o", ".jsonl"))]
    assert not wrong


def test_a_wheel_without_a_compiler(tmp_path, setup_script):
    wheel, said = _build("wheel", tmp_path, RELUXFAST_NO_EXT="1")
    assert said.count("installing without compiled kernels (RELUXFAST_NO_EXT is set)") == 1
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for name in setup_script.packages():
        assert f"{name.replace('.', '/')}/__init__.py" in names
    assert not [n for n in names if n.startswith(("tests", "benchmarks", "kernels", "csrc")) or n.endswith(".so")]
    # Stored rows stay in the repository.
    assert {Path(n).suffix for n in names if n.startswith("reluxfast/benchmarks/")} == {".py"}


def _run_setup(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", "import setup\n" + code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_without_torch_it_says_what_to_do():
    done = _run_setup("import sys; sys.modules['torch'] = None\nprint(setup._extension_arguments())")
    assert done.stdout.strip() == "{}"
    assert done.stderr.count("reluxfast: installing without compiled kernels") == 1
    assert "install torch first and use --no-build-isolation" in done.stderr


class _Command:
    """A build_ext whose compilers fail on the sources with the given endings."""

    failing: tuple[str, ...]

    def __init__(self, extension):
        self.extensions = [extension]
        self.built = []

    def build_extensions(self):
        for extension in self.extensions:
            for source in extension.sources:
                if source.endswith(self.failing):
                    raise RuntimeError("no compiler here\nand a long log")
            self.built.append(extension)


def _built(setup_script, failing: tuple[str, ...]):
    extension = setup_script.Extension("reluxfast._C", ["a.cpp", "b.cu"], define_macros=[("USE_CUDA", None)])
    extension.noted_by_setuptools = True
    base = type("Failing", (_Command,), {"failing": failing})
    command = setup_script._build_extension_command(base)(extension)
    command.build_extensions()
    return command


def test_a_failing_compiler_is_reported_once_and_the_extension_left_out(setup_script, capsys):
    command = _built(setup_script, (".cpp", ".cu"))
    assert command.extensions == [] and command.built == []
    said = capsys.readouterr().err
    assert said.count("without compiled kernels (the compiler failed: no compiler here)") == 1


def test_a_failing_nvcc_leaves_the_cpu_kernels(setup_script, capsys):
    (extension,) = _built(setup_script, (".cu",)).built
    assert extension.noted_by_setuptools and ("USE_CUDA", None) not in extension.define_macros
    assert "csrc/cpu/gate.cpp" in extension.sources and not [s for s in extension.sources if "cuda" in s]
    said = capsys.readouterr().err
    assert said.count("installing without CUDA kernels (the compiler failed: no compiler here)") == 1
    assert said.count("installing without") == 1


def test_a_working_nvcc_builds_everything(setup_script, capsys):
    (extension,) = _built(setup_script, ()).built
    assert extension.sources == ["a.cpp", "b.cu"] and capsys.readouterr().err == ""


def test_a_demanded_extension_needs_a_working_nvcc(setup_script, monkeypatch):
    monkeypatch.setenv("RELUXFAST_NO_EXT", "0")
    with pytest.raises(SystemExit, match="RELUXFAST_NO_EXT=0 asks for CUDA kernels, but the compiler failed"):
        _built(setup_script, (".cu",))


@pytest.mark.parametrize(
    ("version", "home", "unwanted", "builds", "said"),
    [
        (None, None, "", False, ""),
        (None, "/opt/cuda", "", False, ""),
        ("13.0", "/opt/cuda", "", True, ""),
        ("13.0", "/opt/cuda", "0", True, ""),
        ("13.0", "/opt/cuda", "1", False, "without CUDA kernels (RELUXFAST_NO_CUDA is set)"),
        ("13.0", None, "", False, "set CUDA_HOME"),
    ],
)
def test_cuda_is_built_where_it_can_be_compiled(
    setup_script, monkeypatch, capsys, version, home, unwanted, builds, said
):
    monkeypatch.setattr("torch.version.cuda", version)
    monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", home)
    monkeypatch.setenv("RELUXFAST_NO_CUDA", unwanted)
    assert setup_script._builds_cuda() is builds
    error = capsys.readouterr().err
    assert said in error and bool(said) == bool(error)


def test_an_extension_that_is_demanded_must_build(setup_script, monkeypatch):
    monkeypatch.setenv("RELUXFAST_NO_EXT", "0")
    with pytest.raises(SystemExit, match="RELUXFAST_NO_EXT=0 asks for compiled kernels, but it is missing"):
        setup_script._go_without(setup_script.COMPILED, "it is missing")


def test_build_isolation_cannot_pull_torch():
    text = (ROOT / "pyproject.toml").read_text()
    requires = re.search(r"^requires = \[(.*)\]$", text, re.MULTILINE).group(1)
    assert re.findall(r'"([a-z]+)', requires) == ["setuptools", "wheel"]
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line for line in constraints if not line.startswith("#")]
    assert pinned[:2] == ["torch==2.13.0", "triton<=3.9.0"] and all("==" in line for line in pinned[2:])


@pytest.mark.parametrize("beside", ["kernels", "benchmarks"])
def test_a_checkout_that_is_not_installed_finds_what_lies_beside(tmp_path, beside):
    """Only the folders, as where nothing is installed; a folder that is no checkout is not taken for one."""
    for name in TOPS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    code = "import importlib.util; from reluxfast import checkout; checkout.serve_checkout(); "
    code += f"print(importlib.util.find_spec('reluxfast.{beside}'))"
    # -S: without site, the editable installation's own finder is not there.
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {_paths(tmp_path)}; {code}"]
    without = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path.parent).stdout
    shutil.copy(ROOT / "setup.py", tmp_path)
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path.parent).stdout
    assert without.strip() == "None" and str(tmp_path / beside / "__init__.py") in found


def _paths(checkout: Path) -> list[str]:
    return [str(checkout), str(Path(torch.__file__).parent.parent)]


def test_the_package_starts_without_its_benchmarks():
    code = "import sys, reluxfast\nprint([name for name in sys.modules if name.startswith('reluxfast.benchmarks')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
