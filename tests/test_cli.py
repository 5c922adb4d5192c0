"""The command line: what it prints, writes and returns."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import reluxfast as rx
from reluxfast.cli import main
from reluxfast.demo.models import DigitsNet, PhotoNet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Exported programs and inputs for them."""
    path = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1)
    photo, digits = PhotoNet().eval(), DigitsNet().eval()
    example = torch.rand(2, 3, 24, 32)
    torch.export.save(torch.export.export(photo, (example,), dynamic_shapes=({0: batch},)), path / "any.pt2")
    torch.export.save(torch.export.export(photo, (example[:1],)), path / "one.pt2")
    torch.export.save(torch.export.export(photo, (torch.rand(4, 3, 24, 32),)), path / "four.pt2")
    torch.export.save(
        torch.export.export(digits, (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: batch},)), path / "digits.pt2"
    )
    rng = np.random.default_rng(0)
    np.save(
        path / "six.npy",
        rng.random((6, 3, 24, 32), dtype=np.float32) * np.arange(1, 7, dtype=np.float32)[:, None, None, None],
    )
    np.save(path / "row.npy", rng.random((3, 24, 32), dtype=np.float32))
    np.save(path / "ints.npy", np.zeros((1, 3, 24, 32), np.int64))
    Image.fromarray((rng.random((48, 64, 3)) * 255).astype(np.uint8)).save(path / "photo.png")
    path.joinpath("photo.txt").write_text("no picture")
    return path, photo


def run(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def decoded(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize("program", ["any", "one", "four"])
def test_explaining_an_array_gives_the_values_of_the_module_whatever_the_batch(
    folder, tmp_path, capsys, monkeypatch, program
):
    path, model = folder
    monkeypatch.setattr("reluxfast.explain_files.CHUNK", 4)
    code, out, _ = run(
        capsys,
        "explain",
        path / f"{program}.pt2",
        path / "six.npy",
        "--method",
        "guided_backprop",
        "--out",
        tmp_path / "new",
    )
    assert code == 0
    x = torch.from_numpy(np.load(path / "six.npy"))
    logits = model(x).detach()
    target = logits.argmax(1)
    wanted = rx.attribute(model, x, target, "guided_backprop").values
    values = np.load(tmp_path / "new" / "six_guided_backprop.npy", allow_pickle=False)
    assert values.shape == (6, 3, 24, 32)
    # float32 sums in another order, where the batch is cut otherwise.
    assert np.abs(values - wanted.numpy()).max() <= 1e-5 * wanted.abs().max()
    for row in range(6):
        picture = tmp_path / "new" / f"six_guided_backprop_{row}.png"
        assert decoded(picture).std() > 10
        line = next(text for text in out.splitlines() if text.startswith(f"row {row}:"))
        found = re.match(rf"row {row}: target (\d+), logit (\S+), sum of values (\S+) ->", line)
        assert int(found[1]) == target[row]
        # Printed with five digits; float32 sums.
        assert float(found[2]) == pytest.approx(logits[row, target[row]].item(), rel=1e-4)
        assert float(found[3]) == pytest.approx(values[row].sum(), rel=1e-3, abs=1e-4)
        assert str(picture) in line
    assert "six_guided_backprop.npy" in out


def test_explaining_an_image_takes_the_models_size_and_normalises(folder, tmp_path, capsys):
    path, model = folder
    arguments = ["--mean", "0.5,0.4,0.3", "--std", "0.2", "--target", "2", "--method", "input_x_gradient", "--json"]
    code, out, _ = run(capsys, "explain", path / "any.pt2", path / "photo.png", "--out", tmp_path, *arguments)
    assert code == 0
    found = json.loads(out)
    resized = Image.open(path / "photo.png").resize((32, 24), Image.Resampling.BILINEAR)
    x = torch.from_numpy(np.asarray(resized, dtype=np.float32) / 255).permute(2, 0, 1)[None]
    x = (x - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / 0.2
    wanted = rx.input_x_gradient(model, x, 2)
    assert found["rows"][0]["target"] == 2
    # One float32 model, run through a file and as a module.
    assert found["rows"][0]["logit"] == pytest.approx(wanted.output[0, 2].item(), rel=1e-5)
    assert found["rows"][0]["total"] == pytest.approx(wanted.values.sum().item(), rel=1e-3, abs=1e-4)
    assert np.load(found["values"]).shape == tuple(found["shape"]) == (1, 3, 24, 32)
    assert decoded(found["rows"][0]["picture"]).std() > 10


def test_options_reach_the_method(folder, tmp_path, capsys):
    path, model = folder
    x = torch.from_numpy(np.load(path / "row.npy"))[None]
    cases = {
        "grad_cam": (["--layer", "block3"], {"layer": "block3"}),
        "integrated_gradients": (["--steps", "7"], {"n_steps": 7}),
        "smooth_grad": (["--samples", "3", "--seed", "5"], {"n_samples": 3, "seed": 5}),
    }
    for method, (arguments, options) in cases.items():
        code, _, _ = run(
            capsys,
            "explain",
            path / "any.pt2",
            path / "row.npy",
            "--method",
            method,
            "--target",
            "1",
            "--out",
            tmp_path,
            *arguments,
        )
        assert code == 0
        wanted = rx.attribute(model, x, 1, method, **options).values.numpy()
        values = np.load(tmp_path / f"row_{method}.npy")
        assert np.abs(values - wanted).max() <= 1e-5 * np.abs(wanted).max()  # float32 rounding
        others = rx.attribute(
            model, x, 1, method, **({"layer": "block2"} if method == "grad_cam" else {})
        ).values.numpy()
        assert np.abs(values - others).max() > 1e-3 * np.abs(wanted).max(), "the option made a difference"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "absent.pt2", "six.npy"], "no such file: .*absent.pt2"),
        (["explain", "any.pt2", "absent.npy"], "no such file: .*absent.npy"),
        (["explain", "six.npy", "six.npy"], "torch.export.save"),
        (["explain", "digits.pt2", "six.npy"], r"\(N, 1, 8, 8\).*\(6, 3, 24, 32\)"),
        (["explain", "any.pt2", "ints.npy"], r"floating-point.*int64.*astype"),
        (["explain", "any.pt2", "photo.txt"], "Pillow reads"),
        (["explain", "any.pt2", "six.npy", "--method", "magic"], "method must be one of gradient"),
        (["explain", "any.pt2", "six.npy", "--target", "9"], "target must lie in"),
        (["explain", "any.pt2", "six.npy", "--method", "grad_cam"], "must include layer"),
        (["explain", "any.pt2", "six.npy", "--method", "grad_cam", "--layer", "no.where"], "no.where"),
        (["explain", "any.pt2", "six.npy", "--steps", "3"], "n_steps"),
        (["explain", "any.pt2", "six.npy", "--mean", "1,2"], "mean must hold"),
        (["explain", "any.pt2", "six.npy", "--size", "8x8"], "size must be left out for arrays"),
        (["validate", "any.pt2"], "INPUT must come together"),
        (["validate", "--method", "magic"], "magic"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_code_2(folder, tmp_path, capsys, arguments, message):
    path, _ = folder
    files = [str(path / a) if a.endswith((".pt2", ".npy", ".txt")) else a for a in arguments]
    code, out, err = run(capsys, *files, *(["--out", str(tmp_path)] if files[0] == "explain" else []))
    assert code == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and err.startswith(f"reluxfast {arguments[0]}: ")
    assert re.search(message, err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [[], ["explain"], ["explain", "a", "b", "--target", "x"], ["explain", "a", "b", "--size", "0x4"]]
)
def test_wrong_usage_is_code_2(capsys, arguments):
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == "" and "usage:" in err and "Traceback" not in err


def test_validate_without_a_model_uses_the_built_in_ones(capsys):
    code, out, _ = run(capsys, "validate", "--method", "gradient", "--method", "grad_cam", "--json")
    report = json.loads(out)
    assert code == 0 and report["ok"]
    assert {row["model"] for row in report["rows"]} == {"DigitsNet", "PhotoNet"}
    assert {"gradient", "grad_cam"} <= {row["method"] for row in report["rows"]}
    assert all(row["ok"] and row["worst_relative_error"] <= row["tolerance"] for row in report["rows"])


def test_validate_a_file_and_fail_with_code_1_where_the_bound_is_too_tight(folder, capsys):
    path, _ = folder
    common = ["validate", path / "any.pt2", path / "row.npy", "--method", "gradient"]
    code, out, _ = run(capsys, *common)
    assert code == 0 and out.startswith("any\n") and "gradient" in out
    # Below the rounding of float32, so it cannot hold.
    code, out, _ = run(capsys, *common, "--rtol", "1e-12")
    assert code == 1 and "WRONG" in out


def test_info_says_the_version_and_every_backend(capsys):
    code, out, _ = run(capsys, "info", "--json")
    found = json.loads(out)
    assert code == 0 and found["version"] == rx.__version__
    assert {"reference", "cpp", "triton", "cuda"} == set(found["backends"])
    code, out, _ = run(capsys, "info")
    assert code == 0 and rx.__version__ in out and "reference" in out


def test_demo_passes_its_options_on_and_returns_1_on_a_failed_check(monkeypatch, tmp_path, capsys):
    from reluxfast import demo
    from reluxfast.demo import DemoResult

    seen = {}

    def fake(out, **options):
        seen.update(out=out, **options)
        record = tmp_path / "demo.json"
        record.write_text('{"ok": false}')
        return DemoResult([], {}, [], tmp_path / "gallery.png", record, 1.0, ok=False)

    monkeypatch.setattr(demo, "run_demo", fake)
    code, out, _ = run(capsys, "demo", "--out", tmp_path, "--quick", "--seed", "3", "--json")
    assert code == 1 and json.loads(out) == {"ok": False}
    assert seen["out"] == str(tmp_path) and seen["quick"] is True and seen["seed"] == 3


def test_demo_names_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    code, _, err = run(capsys, "demo", "--out", tmp_path, "--quick")
    assert code == 2
    assert err.strip().endswith("the demo needs scikit-learn, which is not installed: pip install 'reluxfast[demo]'")


def test_an_unavailable_backend_is_named(folder, tmp_path, capsys, monkeypatch):
    path, _ = folder
    missing = [name for name, reason in rx.info().as_dict()["backends"].items() if reason != "available"]
    for name in missing:
        code, _, err = run(capsys, "explain", path / "any.pt2", path / "six.npy", "--backend", name, "--out", tmp_path)
        assert code == 2 and f"backend '{name}' is not available" in err


def test_it_runs_as_a_program_and_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m reluxfast.cli info | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    done = subprocess.run([sys.executable, "-m", "reluxfast.cli", "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == f"reluxfast {rx.__version__}"
