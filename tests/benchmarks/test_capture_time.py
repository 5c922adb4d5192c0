"""The capture benchmark runs in fresh processes, and a worker's failure is not swallowed."""

from __future__ import annotations

import json

import pytest

from reluxfast.benchmarks import capture_time
from reluxfast.benchmarks.fresh import in_fresh_process


def test_command_in_tiny_mode_in_real_processes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(capture_time, "TASKS", (("mlp", "attribute"), ("mlp", "torch.export")))
    path = tmp_path / "rows.jsonl"
    assert capture_time.main(["--tiny", "--rounds", "1", "--threads", "1", "--store", str(path)]) == 0
    attribute, export = (json.loads(line) for line in path.read_text().splitlines())
    assert attribute["cold"]["median"] > attribute["cached"]["median"] > 0
    assert "cached" not in export and export["cold"]["median"] > export["warm"]["median"] > 0
    assert "attribute" in capsys.readouterr().out


@pytest.mark.parametrize("model, action", [("resnet50", "capture"), ("vgg16", "torch.export")])
def test_workers_of_the_networks(model, action, capsys):
    task = {"model": model, "action": action, "tiny": True, "threads": None}
    capture_time.main(["--worker", json.dumps(task)])
    seconds = json.loads(capsys.readouterr().out.removeprefix("result: "))
    assert seconds.keys() == {"cold", "warm"} and min(seconds.values()) > 0


def test_failing_worker_is_an_error_with_its_output():
    message = r"(?s)reluxfast.benchmarks.capture_time failed on .*KeyError: 'no such action'"
    with pytest.raises(RuntimeError, match=message):
        in_fresh_process(
            "reluxfast.benchmarks.capture_time",
            {"model": "mlp", "action": "no such action", "tiny": True, "threads": 1},
        )
