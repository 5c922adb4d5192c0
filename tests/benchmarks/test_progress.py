"""What a benchmark says while it runs."""

from __future__ import annotations

import io
import json
import sys

import pytest

from reluxfast.benchmarks import capture_time, passes, tape_memory
from reluxfast.benchmarks.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_a_line_for_each_phase_and_no_bar(capsys):
    with Progress(2, "net") as progress:
        progress.phase("first")
        progress.step()
        progress.phase("second")
    assert capsys.readouterr().err == "net: first\nnet: second\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(2, "net") as progress:
        progress.phase("first")
        drawn = sys.stderr.getvalue()
    assert "net:" in drawn and "0/2" in drawn and "first" in drawn and "\nnet: first" not in drawn


def test_more_steps_may_come(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(1, "net") as progress:
        progress.expect(7)
        progress.step()
        assert "1/7" in sys.stderr.getvalue() or "0/7" in sys.stderr.getvalue()


@pytest.mark.parametrize(
    ("command", "arguments", "rows", "phases"),
    [
        (passes, ["--case", "digits", "--provider", "captum"], 4, ["drawing weights", "captum epsilon_plus"]),
        (tape_memory, ["--case", "digits", "--batch", "1"], 3, ["digits reluxfast", "digits captum"]),
        (capture_time, ["--model", "mlp", "--rounds", "1"], 3, ["mlp capture", "mlp attribute"]),
    ],
)
def test_commands_say_their_phases_and_store_rows(tmp_path, capsys, command, arguments, rows, phases):
    path = tmp_path / "new" / "rows.jsonl"
    assert command.main([*arguments, "--tiny", "--threads", "1", "--store", str(path)]) == 0
    err = capsys.readouterr().err
    assert "%|" not in err and all(phase in err for phase in phases)
    stored = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(stored) == rows and all("commit" in row["environment"] for row in stored)
    default = command.parser().parse_args(["--store"]).store
    assert default.parts[-3:] == ("benchmarks", "results", f"{command.__name__.split('.')[-1]}.jsonl")
