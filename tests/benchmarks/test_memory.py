"""The memory measurements see what is there, and the engine's tape is as small as it says."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from reluxfast.benchmarks import memory, tape_memory


def test_live_storages_count_each_once():
    before = memory.live_storages()
    base = torch.zeros(1000, dtype=torch.float32)
    views = [base[10:], base.view(10, 100)]
    other = torch.zeros(7, dtype=torch.uint8)
    assert memory.new_bytes(memory.live_storages(), before) == 4000 + 7
    del views
    assert memory.new_bytes(memory.live_storages(), before) == 4000 + 7
    del base, other
    assert memory.new_bytes(memory.live_storages(), before) == 0


def test_allocator_sees_a_tensor_come_and_go():
    torch.zeros(1)
    before = memory.allocated_bytes()
    if before is None:
        pytest.skip("this C library has no mallinfo2 (glibc 2.33 or later has)")
    size = 8_000_000
    tensor = torch.zeros(size, dtype=torch.uint8)
    # 1 % for whatever else the interpreter allocates meanwhile
    assert memory.allocated_bytes() - before == pytest.approx(size, rel=0.01)
    del tensor
    assert abs(memory.allocated_bytes() - before) < 0.01 * size


def test_high_water_is_reset():
    size = 64_000_000
    tensor = torch.ones(size, dtype=torch.uint8)
    del tensor
    memory.trim()
    memory.reset_high_water()
    start = memory.resident_bytes()
    assert memory.high_water_bytes() - start < 0.2 * size
    tensor = torch.ones(size, dtype=torch.uint8)
    assert memory.high_water_bytes() - start > 0.8 * size
    del tensor


def test_saved_by_autograd_leaves_out_weights_and_input():
    model = nn.Sequential(nn.Linear(100, 300), nn.ReLU(), nn.Linear(300, 10)).requires_grad_(False)
    # the only thing autograd needs besides weights: the ReLU's output, 8 x 300 floats
    assert memory.saved_by_autograd(model, torch.randn(8, 100)) == 8 * 300 * 4


def test_tape_of_vgg16_is_one_bit_per_relu_and_two_per_pool_window():
    problem = tape_memory.made("vgg16", 1, 224, False, "guided_backprop")
    kept = tape_memory.kept_by_engine(problem)
    assert kept["kept"] <= 2.2e6  # the bar; 13.55 M ReLU bits and 1.53 M two-bit winners are 2.08 MB
    assert kept["kept"] >= 0.92e6  # the bits of the 7.43 M ReLUs that no pool follows: no tape can do with less
    # the tape's own count leaves out nothing but small change (the output, sizes)
    assert kept["claimed"] == pytest.approx(kept["kept"], rel=0.02)


def test_autograd_keeps_many_times_more():
    problem = tape_memory.made("resnet18", 2, None, True, "gradient")
    assert tape_memory.kept_by_autograd(problem)["kept"] > 10 * tape_memory.kept_by_engine(problem)["kept"]


def test_command_in_tiny_mode(tmp_path, capsys, monkeypatch):
    answers = []

    def in_this_process(module, task):
        assert module == "reluxfast.benchmarks.tape_memory"
        tape_memory.main(["--worker", json.dumps(task)])
        answers.append(task["what"])
        return json.loads(capsys.readouterr().out.removeprefix("result: "))

    monkeypatch.setattr(tape_memory, "in_fresh_process", in_this_process)
    path = tmp_path / "rows.jsonl"
    assert tape_memory.main(["--tiny", "--case", "digits", "--store", str(path)]) == 0
    assert answers == ["kept", "peak", "peak"] * 2 + ["peak", "peak"]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["provider"] for row in rows] == list(tape_memory.PEAK)
    assert 0 < rows[0]["kept"] < rows[1]["kept"]
    assert capsys.readouterr().out.count("digits") == 3
