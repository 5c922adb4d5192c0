"""The README's code runs as it stands and gives what its comments say."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from PIL import Image

import reluxfast as rx
from reluxfast.cli import _parser

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_and_its_shapes_are_true(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, about_lrp, about_shapley, about_swapping = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) == 10, "it is announced as ten lines"
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    for name, shape in re.findall(r"^(\w+) = .*# values (\([\d, ]+\))", code, re.MULTILINE):
        assert str(tuple(names[name].values.shape)) == shape
    assert "worst rel. error" in capsys.readouterr().out
    exec(compile(about_lrp, "README.md", "exec"), names)
    assert names["result"].options["layer_rules"] and names["hidden"].layers["0"].shape == (8, 16, 30, 30)
    assert "ZBox(low=0.0, high=1.0)" in capsys.readouterr().out
    exec(compile(about_shapley, "README.md", "exec"), names)
    assert torch.allclose(names["result"].values, names["rows"] ** 2, atol=1e-6)
    exec(compile(about_swapping, "README.md", "exec"), names)
    assert torch.allclose(names["values"], rx.guided_backprop(names["model"], names["images"], 3).values, atol=1e-7)
    assert names["maps"].shape == (8, 32, 32) and names["relevance"].shape == (8, 3, 32, 32)
    width, height = Image.open("attribution.png").size
    assert 0.5 < width / height < 2


def test_the_commands_exist():
    (block,) = re.findall(r"```\n(reluxfast .*?)```", README, re.DOTALL)
    commands = [_parser().parse_args(line.partition("#")[0].split()[1:]).command for line in block.splitlines()]
    assert commands == ["info", "validate", "explain", "bench", "bench"]
