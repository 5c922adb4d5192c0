"""A model that somebody brought along, through all providers that can take it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from reluxfast import cli
from reluxfast.benchmarks import user_model
from reluxfast.benchmarks.case import Conditions
from reluxfast.benchmarks.maps.networks import NETWORKS, build_model
from reluxfast.errors import InvalidInput


def saved(folder, model, x, name="net"):
    program = torch.export.export(model.eval(), (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    torch.export.save(program, folder / f"{name}.pt2")
    np.save(folder / f"{name}.npy", x.numpy())
    return str(folder / f"{name}.pt2"), str(folder / f"{name}.npy")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    torch.manual_seed(0)
    model = build_model(NETWORKS["digits"], 8, tiny=True, functional=False, seed=0)
    return saved(tmp_path_factory.mktemp("digits"), model, torch.randn(2, 1, 8, 8), "digits")


@pytest.fixture(scope="module")
def rows(digits, tmp_path_factory):
    out = tmp_path_factory.mktemp("rows")
    arguments = ["--model", digits[0], "--input", digits[1], "--rounds", "1", "--out", str(out)]
    names = ("reluxfast *", "autograd", "captum", "zennit", "bare")
    assert cli.main(["bench", *arguments, *(word for name in names for word in ("--provider", name))]) == 0
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def test_the_engine_is_right_with_every_method(rows):
    found = {row["case"]: row["status"] for row in rows if row["provider"] == "reluxfast reference"}
    assert found == {f"model-digits/{method}": "ok" for method in user_model.OFFERED}
    assert all(row["axes"]["batch"] == 2 and row["axes"]["size"] == 8 for row in rows)
    assert all(row["flop"] > 0 for row in rows)


def test_peers_that_hook_modules_are_found_wrong(rows):
    found = {(row["case"].split("/")[1], row["provider"]): row["status"] for row in rows}
    assert found["gradient", "captum"] == found["gradient", "zennit"] == found["gradient", "autograd"] == "ok"
    assert found["integrated_gradients", "captum"] == "ok"
    for method, peer in (("guided_backprop", "captum"), ("guided_backprop", "zennit"), ("epsilon_plus", "zennit")):
        assert found[method, peer] == "wrong", (method, peer)


def test_a_perceptron_with_one_class_explained(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    files = saved(tmp_path, model, torch.randn(3, 6))
    points = user_model.points_of(*files, None, 2)
    assert [p.case.name.split("/")[1] for p in points] == [m for m in user_model.OFFERED if m != "epsilon_gamma_box"]
    for point in points:
        problem = point.case.make(point.axes, Conditions())
        assert problem.target.tolist() == [2, 2, 2] and problem.small_copy() is None
        for name in ("reluxfast reference", "autograd", "captum"):
            provider = problem.providers().get(name)
            if provider is not None and (name.startswith("reluxfast") or point.case.name.endswith("/gradient")):
                prepared = provider(problem)
                verdict = problem.judge(prepared.call(), prepared.computes)
                assert verdict.reason is None, (point.name, name, verdict)


def test_wrong_files_methods_and_targets(digits, tmp_path):
    with pytest.raises(InvalidInput, match="input must be given"):
        user_model.points_of(digits[0], None, None, "top")
    with pytest.raises(InvalidInput, match="model must be given"):
        user_model.points_of(None, digits[1], None, "top")
    with pytest.raises(InvalidInput, match=r"method must be one of gradient.*'grad_cam'"):
        user_model.points_of(*digits, ["grad_cam"], "top")
    with pytest.raises(InvalidInput, match="target must be from 0 to 9 or 'top', got 10"):
        user_model.points_of(*digits, None, 10)
    maps = saved(tmp_path, nn.Conv2d(1, 2, 3), torch.randn(2, 1, 8, 8))
    with pytest.raises(InvalidInput, match=r"model must return one tensor \(2, classes\).*\(2, 2, 6, 6\)"):
        user_model.points_of(*maps, None, "top")


def test_what_is_not_finite_is_refused(digits, tmp_path):
    """Gradients of a ReLU at NaN are finite: peers would be right, and the engine wrong for saying NaN."""
    x = torch.randn(2, 1, 8, 8)
    x[1, 0, 3, 4] = float("nan")
    np.save(tmp_path / "x.npy", x.numpy())
    with pytest.raises(InvalidInput, match="input must hold finite numbers alone, got 1 NaN or infinite"):
        user_model.points_of(digits[0], str(tmp_path / "x.npy"), None, "top")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    nn.init.constant_(model[1].bias, float("inf"))
    files = saved(tmp_path, model, torch.randn(2, 1, 8, 8))
    with pytest.raises(InvalidInput, match="model must return for this input finite numbers alone, got 6"):
        user_model.points_of(*files, None, "top")


def test_options_of_built_in_cases_are_refused(digits, capsys):
    for option in (["--batch", "3"], ["--case", "digits"], ["--functional"], ["--tiny"]):
        assert cli.main(["bench", "--model", digits[0], "--input", digits[1], *option]) == 2
        assert f"{option[0]} belongs to the built-in cases" in capsys.readouterr().err


def test_a_program_of_a_fixed_batch(tmp_path, capsys):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)), torch.randn(3, 1, 8, 8)
    torch.export.save(torch.export.export(model.eval(), (x,)), tmp_path / "fixed.pt2")
    np.save(tmp_path / "x.npy", x.numpy())
    np.save(tmp_path / "less.npy", x[:2].numpy())
    ask = ["bench", "--model", str(tmp_path / "fixed.pt2"), "--out", str(tmp_path), "--rounds", "1"]
    assert cli.main([*ask, "--input", str(tmp_path / "less.npy")]) == 2
    assert "input must be what the program takes, got (2, 1, 8, 8)" in capsys.readouterr().err
    methods = ["--method", "gradient", "--method", "epsilon", "--method", "integrated_gradients"]
    assert cli.main([*ask, "--input", str(tmp_path / "x.npy"), *methods, "--provider", "reluxfast *"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and {row["status"] for row in rows} == {"ok"}
    assert cli.main([*ask, "--input", str(tmp_path / "x.npy"), *methods[4:], "--provider", "autograd"]) == 0
    row = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[-1])
    # All steps at once are more rows than the program takes.
    assert row["status"] == "ok" and row["note"] == "1 steps at once"
