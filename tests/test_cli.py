"""The command line: what it prints, writes and returns."""

from __future__ import annotations

import errno
import json
import os
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
    np.savez(path / "two.npz", a=rng.random(3), b=rng.random(3))
    path.joinpath("folder.pt2").mkdir()
    path.joinpath("folder.npy").mkdir()
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
    values = np.load(tmp_path / "new" / "six_npy_guided_backprop.npy", allow_pickle=False)
    assert values.shape == (6, 3, 24, 32)
    # float32 sums in another order, where the batch is cut otherwise.
    assert np.abs(values - wanted.numpy()).max() <= 1e-5 * wanted.abs().max()
    for row in range(6):
        picture = tmp_path / "new" / f"six_npy_guided_backprop_{row}.png"
        assert decoded(picture).std() > 10
        line = next(text for text in out.splitlines() if text.startswith(f"row {row}:"))
        found = re.match(rf"row {row}: target (\d+), logit (\S+), sum of values (\S+) ->", line)
        assert int(found[1]) == target[row]
        # Printed with five digits; float32 sums.
        assert float(found[2]) == pytest.approx(logits[row, target[row]].item(), rel=1e-4)
        assert float(found[3]) == pytest.approx(values[row].sum(), rel=1e-3, abs=1e-4)
        assert str(picture) in line
    assert "six_npy_guided_backprop.npy" in out


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
        values = np.load(tmp_path / f"row_npy_{method}.npy")
        assert np.abs(values - wanted).max() <= 1e-5 * np.abs(wanted).max()  # float32 rounding
        others = rx.attribute(
            model, x, 1, method, **({"layer": "block2"} if method == "grad_cam" else {})
        ).values.numpy()
        assert np.abs(values - others).max() > 1e-3 * np.abs(wanted).max(), "the option made a difference"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "absent.pt2", "six.npy"], r"program file '.*absent.pt2' must exist, got no such file"),
        (["explain", "folder.pt2", "six.npy"], r"program file '.*folder.pt2' must be a file, got a folder"),
        (["explain", "any.pt2", "absent.npy"], r"input '.*absent.npy' must exist, got no such file"),
        (["explain", "any.pt2", "folder.npy"], r"input '.*folder.npy' must be a file, got a folder"),
        (["explain", "any.pt2", "two.npz"], r"one array in a .npy file.*got an .npz archive. Save .* numpy.save"),
        (["explain", "six.npy", "six.npy"], "torch.export.save"),
        (["explain", "digits.pt2", "six.npy"], r"\(N, 1, 8, 8\).*\(6, 3, 24, 32\)"),
        (["explain", "any.pt2", "ints.npy"], r"floating-point.*int64.*astype"),
        (["explain", "any.pt2", "photo.txt"], "Pillow reads"),
        (["explain", "any.pt2", "six.npy", "--method", "magic"], "--method must be one of gradient"),
        (["explain", "any.pt2", "six.npy", "--target", "9"], "--target must lie in"),
        (["explain", "any.pt2", "six.npy", "--target", "1,0"], "--target as a tuple must hold 1 ints"),
        (
            ["explain", "any.pt2", "six.npy", "--method", "grad_cam"],
            r"--layer must name a module.*for grad_cam.*got none\. Convolutions of this model: block1\.0, block2\.0",
        ),
        (["explain", "any.pt2", "six.npy", "--method", "guided_grad_cam"], r"--layer .*for guided_grad_cam.*block3\.0"),
        (["explain", "any.pt2", "six.npy", "--method", "grad_cam", "--layer", "no.where"], "--layer .*no.where"),
        (
            ["explain", "any.pt2", "six.npy", "--steps", "3"],
            "--steps is an option of integrated_gradients, got 3 with --method guided_backprop. Leave --steps out",
        ),
        (
            ["explain", "any.pt2", "six.npy", "--samples", "3"],
            "--samples is an option of smooth_grad, expected_gradients, got 3",
        ),
        (
            ["explain", "any.pt2", "six.npy", "--seed", "3"],
            "--seed is an option of smooth_grad, expected_gradients, got 3",
        ),
        (
            ["explain", "any.pt2", "six.npy", "--layer", "head"],
            "--layer is an option of grad_cam, guided_grad_cam, got",
        ),
        (
            ["explain", "any.pt2", "six.npy", "--method", "integrated_gradients", "--steps", "0"],
            "--steps must be a positive int, got 0",
        ),
        (
            ["explain", "any.pt2", "six.npy", "--method", "smooth_grad", "--samples", "0"],
            "--samples must be a positive int, got 0",
        ),
        (["explain", "any.pt2", "six.npy", "--mean", "1,2"], "--mean must hold"),
        (["explain", "any.pt2", "six.npy", "--std", "0"], "--std must be positive"),
        (["explain", "any.pt2", "six.npy", "--size", "8x8"], "--size must be left out for arrays"),
        (["explain", "any.pt2", "six.npy", "--fit", "stretch"], "--fit: invalid choice: 'stretch'"),
        (["explain", "any.pt2", "six.npy", "--target", "x"], "--target: must be integers"),
        (["explain", "any.pt2", "six.npy", "--size", "0x4"], "--size: must be positive"),
        (["demo", "--seed", "-1"], "--seed: must be an integer from 0"),
        (["demo", "--seed", str(2**63)], "--seed: must be an integer from 0"),
        (["explain", "any.pt2"], "required: .*IMAGE"),
        (["validate", "any.pt2"], "INPUT must come together"),
        (["validate", "--method", "magic"], "--method must be among .*magic"),
        (["validate", "any.pt2", "six.npy", "--layer", "no.where"], "--layer .*no.where"),
        (["nothing"], "invalid choice: 'nothing'"),
        ([], "required: COMMAND"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_code_2(folder, tmp_path, capsys, arguments, message):
    path, _ = folder
    files = [str(path / a) if a.endswith((".pt2", ".npy", ".npz", ".txt")) else a for a in arguments]
    code, out, err = run(capsys, *files, *(["--out", str(tmp_path)] if files[:1] == ["explain"] else []))
    assert code == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and err.startswith("error: ")
    assert re.search(message, err), err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["explain", "demo"])
@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_the_place_of_the_folder_for_results_is_named(folder, tmp_path, capsys, command, below):
    path, _ = folder
    taken = tmp_path / "taken"
    taken.write_text("mine")
    out = taken / "maps" if below else taken
    files = [path / "any.pt2", path / "six.npy"] if command == "explain" else ["--quick"]
    code, _, err = run(capsys, command, *files, "--out", out)
    assert code == 2 and len(err.splitlines()) == 1
    assert err.startswith(
        f"error: --out must be a folder that can be written to, got '{out}', where '{taken}' is a file."
    )
    assert "Errno" not in err and taken.read_text() == "mine"


@pytest.mark.parametrize(("place", "message"), [("out", "--out must be a folder.*may not be written to"),
                                                ("six.npy", "input .*must be readable.*chmod"),
                                                ("any.pt2", "program file .*must be readable.*chmod")])  # fmt: skip
def test_a_missing_permission_is_named(folder, tmp_path, capsys, monkeypatch, place, message):
    path, _ = folder
    # Whoever runs the tests may be allowed everything.
    monkeypatch.setattr("reluxfast.files.os.access", lambda p, mode: not str(p).endswith(place))
    code, _, err = run(capsys, "explain", path / "any.pt2", path / "six.npy", "--out", tmp_path / "out")
    assert code == 2 and len(err.splitlines()) == 1 and re.match(f"error: {message}", err)


def test_a_disk_that_fails_is_said_without_its_number(folder, tmp_path, capsys, monkeypatch):
    path, _ = folder

    def full(file, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    monkeypatch.setattr("reluxfast.explain_files.np.save", full)
    code, _, err = run(capsys, "explain", path / "any.pt2", path / "row.npy", "--out", tmp_path)
    assert code == 2
    assert err == f"error: '{tmp_path / 'row_npy_guided_backprop.npy'}' cannot be read or written: " \
        "no space left on device\n"  # fmt: skip


def test_an_array_and_an_image_of_one_name_keep_their_results_apart(folder, tmp_path, capsys):
    path, _ = folder
    np.save(tmp_path / "x.npy", np.load(path / "row.npy"))
    Image.open(path / "photo.png").save(tmp_path / "x.png")
    for name in ("x.npy", "x.png"):
        assert run(capsys, "explain", path / "any.pt2", tmp_path / name, "--out", tmp_path / "out")[0] == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        *("x_npy_guided_backprop.npy", "x_npy_guided_backprop_0.png"),
        *("x_png_guided_backprop.npy", "x_png_guided_backprop_0.png"),
    ]


def test_a_resized_image_is_said_in_one_line(folder, tmp_path, capsys):
    path, _ = folder
    command = ["explain", path / "any.pt2", path / "photo.png", "--out", tmp_path]
    _, _, err = run(capsys, *command)
    assert err == f"warning: '{path / 'photo.png'}' has 48 x 64 pixels and is resized to 24 x 32\n"
    Image.open(path / "photo.png").resize((64, 64)).save(tmp_path / "square.png")
    command[2] = tmp_path / "square.png"
    _, _, err = run(capsys, *command)
    assert "has 64 x 64 pixels and is resized to 24 x 32, which distorts it (fit 'crop'" in err
    squashed = np.load(tmp_path / "square_png_guided_backprop.npy")
    _, _, err = run(capsys, *command, "--fit", "crop")
    assert len(err.splitlines()) == 1 and "longer side being cut at both ends" in err
    assert np.abs(np.load(tmp_path / "square_png_guided_backprop.npy") - squashed).max() > 0


def test_a_target_of_several_dimensions(tmp_path, capsys):
    class Grid(torch.nn.Module):
        def forward(self, x):
            return (x * torch.arange(6.0)).relu().reshape(-1, 2, 3)

    torch.export.save(torch.export.export(Grid(), (torch.ones(1, 6),)), tmp_path / "grid.pt2")
    np.save(tmp_path / "x.npy", np.ones((1, 6), np.float32))
    for target, wanted in ((["--target", "1,0"], [1, 0]), ([], [1, 2])):
        files = [tmp_path / "grid.pt2", tmp_path / "x.npy", "--out", tmp_path]
        code, out, _ = run(capsys, "explain", *files, "--json", "--method", "gradient", *target)
        assert code == 0 and json.loads(out)["rows"][0]["target"] == wanted
        assert np.load(tmp_path / "x_npy_gradient.npy").tolist() == [
            [float(i) if [i // 3, i % 3] == wanted else 0.0 for i in range(6)]
        ]


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
        return DemoResult([], {}, [], tmp_path / "gallery.png", tmp_path / "composites.png", [], record, 1.0, ok=False)

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


def test_the_rules_of_lrp_as_a_table(folder, tmp_path, capsys):
    files, _ = folder
    explain = ("explain", files / "any.pt2", files / "row.npy", "--out", tmp_path)
    code, out, _ = run(capsys, *explain, "--method", "lrp", "--composite", "epsilon_plus_flat", "--coverage")
    assert code == 0 and "Flat()" in out and "ZPlus()" in out and "row 0: target" in out
    code, _, err = run(capsys, *explain, "--coverage")
    assert code == 2 and "--coverage is an option of lrp" in err
