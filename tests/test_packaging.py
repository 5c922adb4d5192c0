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

ROOT = Path(__file__).resolve().parents[1]


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
    for name in ("reluxfast", "kernels", "csrc", "tests/ops"):
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
    for path in [*ROOT.glob("reluxfast/**/*.py"), *ROOT.glob("kernels/**/*.py")]:
        folder = path.parent.relative_to(ROOT).as_posix()
        found.add(folder)
    return found


def test_every_folder_of_modules_is_a_package(setup_script):
    packages = setup_script.packages()
    missing = sorted(_folders_with_modules() - set(packages.values()))
    assert not missing, f"folders with modules but without __init__.py: {missing}"
    assert packages["reluxfast"] == "reluxfast" and packages["reluxfast.kernels"] == "kernels"
    for name, folder in packages.items():
        assert name == folder.replace("/", ".").replace("kernels", "reluxfast.kernels")


def test_nothing_but_the_package_is_listed(setup_script):
    assert not [name for name in setup_script.packages() if "test" in name or "benchmark" in name]


def test_extension_config_names_files_that_exist(setup_script):
    config = setup_script.extension_config()
    assert config["sources"] and config["depends"]
    for path in config["sources"] + config["depends"]:
        assert (ROOT / path).is_file() and not Path(path).is_absolute()
    on_disk = {p.relative_to(ROOT).as_posix() for p in (ROOT / "csrc").rglob("*.cpp")}
    assert set(config["sources"]) == on_disk
    assert ("TORCH_TARGET_VERSION", "0x020a000000000000") in config["define_macros"]


def test_extension_config_is_portable(setup_script):
    flags = setup_script.extension_config()["extra_compile_args"]
    assert not [f for f in flags if "native" in f or "fast-math" in f or f.startswith("-mavx")]


def test_the_source_archive_can_build_the_extension(sdist):
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "csrc").rglob("*") if p.is_file()}
    assert sources and not sorted(sources - set(sdist))
    assert {"kernels/__init__.py", "setup.py", "pyproject.toml", "LICENSE"} <= set(sdist)


def test_the_source_archive_has_every_module(sdist):
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "reluxfast").rglob("*.py")}
    assert not sorted(modules - set(sdist))


def test_the_source_archive_has_no_tests_and_nothing_built(sdist):
    wrong = [n for n in sdist if n.startswith(("tests", "benchmarks", "build/", ".venv")) or n.endswith((".so", ".o"))]
    assert not wrong


def test_a_wheel_without_a_compiler(tmp_path, setup_script):
    wheel, said = _build("wheel", tmp_path, RELUXFAST_NO_EXT="1")
    assert said.count("installing without compiled kernels (RELUXFAST_NO_EXT is set)") == 1
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for name in setup_script.packages():
        assert f"{name.replace('.', '/')}/__init__.py" in names
    assert not [n for n in names if n.startswith(("tests", "benchmarks", "kernels", "csrc")) or n.endswith(".so")]


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


def test_a_failing_compiler_is_reported_once_and_the_extension_left_out(setup_script, capsys):
    class Failing:
        def __init__(self):
            self.extensions = ["reluxfast._C"]

        def build_extensions(self):
            raise RuntimeError("no compiler here\nand a long log")

    command = setup_script._build_extension_command(Failing)()
    command.build_extensions()
    assert command.extensions == []
    assert capsys.readouterr().err.count("(the compiler failed: no compiler here)") == 1


def test_an_extension_that_is_demanded_must_build(setup_script, monkeypatch):
    monkeypatch.setenv("RELUXFAST_NO_EXT", "0")
    with pytest.raises(SystemExit, match="RELUXFAST_NO_EXT=0 asks for the compiled kernels, but it is missing"):
        setup_script._say("it is missing")


def test_build_isolation_cannot_pull_torch():
    text = (ROOT / "pyproject.toml").read_text()
    requires = re.search(r"^requires = \[(.*)\]$", text, re.MULTILINE).group(1)
    assert re.findall(r'"([a-z]+)', requires) == ["setuptools", "wheel"]
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in constraints if not line.startswith("#")] == ["torch==2.13.0", "triton<=3.9.0"]
