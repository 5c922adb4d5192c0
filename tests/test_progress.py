"""Bars are drawn for people at a terminal, not into logs."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from reluxfast import progress
from reluxfast.progress import PartsBar, progress_bar, silence


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "show", "drawn"), [(Terminal, True, True), (Terminal, False, False),
                                                       (io.StringIO, True, False)])  # fmt: skip
def test_a_bar_is_drawn_on_a_terminal_only(monkeypatch, stream, show, drawn):
    err = stream()
    monkeypatch.setattr(sys, "stderr", err)
    with progress_bar(desc="work", total=3, show=show) as bar:
        bar.delay = 0
        assert bar.disable is not drawn
        for _ in range(3):
            bar.update()
            bar.refresh()
    assert bool(re.search(r"work.*3/3", err.getvalue())) is drawn
    assert list(progress_bar(range(4), desc="work", show=show)) == [0, 1, 2, 3]


def test_a_notebook_has_bars_though_its_stream_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "_IN_NOTEBOOK", True)
    assert not progress_bar(desc="work", total=3).disable


@pytest.mark.parametrize("parts", [1, 4])
def test_parts_share_a_bar(monkeypatch, parts):
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    real = progress.tqdm
    monkeypatch.setattr(
        progress, "tqdm", lambda *work, **how: real(*work, **{**how, "delay": 0}, mininterval=0, miniters=0)
    )
    with PartsBar(parts, desc="whole", unit="row") as whole:
        for part in range(parts):
            with whole.part(total=8, desc="steps", unit="step") as bar:
                for _ in range(4):
                    bar.update(1)
                assert getattr(bar, "n", part + 0.5) == (4 if parts == 1 else part + 0.5)
            whole.done(part + 1)
    drawn = [float(n) for n in re.findall(r"whole[^\r]* ([0-9.]+)/4\.00", err.getvalue())]
    assert drawn[-1:] == ([] if parts == 1 else [4]) and drawn == sorted(drawn)
    assert parts == 1 or {0.12, 0.25, 0.5, 3.12} <= set(drawn)


def test_every_bar_of_the_package_is_one_of_these():
    """A bar made elsewhere would be drawn into logs."""
    package = Path(progress.__file__).parent
    users = [f.name for f in sorted(package.rglob("*.py")) if "tqdm" in f.read_text(encoding="utf-8")]
    assert users == ["progress.py"]


def test_bars_are_silenced_inside_only(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with silence():
        assert progress_bar(desc="work", total=3).disable
        with silence(False):
            assert progress_bar(desc="work", total=3).disable
    with silence(False):
        assert not progress_bar(desc="work", total=3).disable
    with pytest.raises(ValueError), silence():
        raise ValueError
    assert not progress_bar(desc="work", total=3).disable
