"""Benchmarks of Shapley values: they run, compare before they time, and refuse what is wrong."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import shapley, shapley_accuracy, shapley_exact, shapley_images, shapley_providers
from benchmarks.shapley_cases import TINY, make_problem

FAST = ["reluxfast cpp", "masked batch", "captum"]


def providers(names):
    return [argument for name in names for argument in ("--provider", name)]


def test_rows_of_the_comparison(tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    arguments = ["--tiny", "--case", "d30", "--rounds", "2", "--store", str(file), *providers(FAST)]
    assert shapley.main(arguments) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["provider"] for row in rows] == [*FAST, "sgemm"]
    for row in rows[:-1]:
        assert row["status"] == "ok" and row["standard_errors"] < row["gate"] and row["median_ms"] > 0
        assert row["evaluations_per_s"] > 0 and row["tiny"] is True
    assert rows[0]["over_base"]["median"] == 1 and rows[0]["of_sgemm_rate"]["median"] > 0
    text = capsys.readouterr().out
    assert "% of the sgemm rate" in text and all(name in text for name in FAST)


def test_masked_batches_are_the_walk_over_the_same_orders():
    problem = make_problem(TINY["d30"])
    drawn = shapley_providers.orders("plain", 0, torch.arange(3), range(4), 8).long()
    found = [shapley_providers.masked_values(problem.model, problem, drawn, at_once) for at_once in (1, 3, 4)]
    for other in found[1:]:
        assert torch.allclose(other, found[0], atol=1e-6)
    expected = torch.zeros(3, 8)
    for row in range(3):
        for order in drawn[row]:
            z = problem.baseline.clone()
            before = problem.model(z[None])[0, 0]
            for player in order:
                z[player] = problem.x[row, player]
                after = problem.model(z[None])[0, 0]
                expected[row, player] += (after - before) / 4
                before = after
    assert torch.allclose(found[0], expected, atol=1e-5)


@pytest.mark.parametrize("provider", ["reluxfast cpp", "masked batch"])
def test_wrong_values_are_not_timed(provider, monkeypatch, capsys):
    right = shapley_providers.PROVIDERS[provider]

    def wrong(problem):
        prepared = right(problem)
        return shapley_providers.Prepared(lambda: prepared.call() + 0.3)

    monkeypatch.setitem(shapley_providers.PROVIDERS, provider, wrong)
    arguments = ["--tiny", "--case", "d30", "--rounds", "1", *providers(["reluxfast cpp", "masked batch"])]
    assert shapley.main(arguments) == (1 if provider.startswith("reluxfast") else 0)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{provider} ")]
    assert "wrong" in line and "-" in line


def test_the_error_wanted_is_the_error_reached(tmp_path):
    file = tmp_path / "rows.jsonl"
    pytest.importorskip("sklearn", reason="scikit-learn brings the data")
    assert shapley_accuracy.main(["--tiny", "--case", "d12", "--rounds", "1", "--store", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows[0]["provider"] == "reluxfast cpp" and rows[0]["wanted_error"] == 0.02
    for row in rows:
        assert row["status"] == "unavailable" or (row["orders"] <= 32 and row["error"] > 0 and row["median_ms"] > 0)
    # More orders, smaller error, as the square root.
    for network in (shapley_accuracy.trained, shapley_accuracy.interacting):
        problem = network(12, 4, 1, quick=True)
        exact = shapley_accuracy.truth(problem, quick=True)
        few, many = (shapley_accuracy.error(problem, shapley_providers.engine, n, exact) for n in (4, 256))
        assert 4 < few / many < 16


def test_images_are_counted(tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    assert shapley_images.main(["--tiny", "--pairs", "1", "--rounds", "1", "--store", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["provider"] for row in rows] == ["reluxfast cpp", "torch forward", "engine forward"]
    # 7 x 7 patches of 32 pixels: 5 pixels each, the last of them cut.
    assert {row["players"] for row in rows} == {49} and {row["images"] for row in rows} == {2 * 48 + 2}
    assert "49 patches, 98 images" in capsys.readouterr().out


def test_exact_values(tmp_path, capsys, monkeypatch):
    pytest.importorskip("shap", reason="shap is a provider")
    file = tmp_path / "rows.jsonl"
    assert shapley_exact.main(["--tiny", "--case", "n12", "--rounds", "1", "--store", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["provider"] for row in rows] == ["reluxfast cpp", "masked batch", "shap exact", "sgemm"]
    assert all(row["status"] == "ok" and row["error"] <= 1e-5 and row["median_ms"] > 0 for row in rows[:-1])
    assert rows[0]["evaluations_per_row"] == 31 and "5 players" in capsys.readouterr().out
    right = shapley_exact.engine
    wrong = {"reluxfast cpp": lambda problem: shapley_exact.Prepared(lambda: 1.0001 * right(problem).call())}
    monkeypatch.setattr(shapley_exact, "PROVIDERS", wrong)
    assert shapley_exact.main(["--tiny", "--case", "n12", "--rounds", "1"]) == 1
    assert "wrong" in capsys.readouterr().out
