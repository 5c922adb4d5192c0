"""docs/benchmarks.md is what the stored rows say, and says it all: losses, wrong peers, bars that are missed."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from reluxfast.benchmarks.document import DOCUMENT, FOLDER, markdown, picture_files
from reluxfast.benchmarks.document.__main__ import FILES, main, stored
from reluxfast.benchmarks.document.headline import BEGIN, END, headline, written
from tests.benchmarks.rows_for_tests import IMAGES, again, everything, maps, point

ROWS = everything()
TEXT = markdown(ROWS, again(ROWS, 1.03, 0.05))


def _section(text: str, title: str) -> str:
    return re.search(rf"^### {title}\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)[1]


def _cells(section: str) -> list[list[str]]:
    return [line[2:-2].split(" | ") for line in section.splitlines() if line.startswith("|")][2:]


def test_the_document_is_what_the_stored_rows_say():
    cpu, second, gpu = stored()
    remedy = "python -m reluxfast.benchmarks.document --write"
    assert DOCUMENT.read_text(encoding="utf-8") == markdown(cpu, second, gpu), remedy
    there = {path.name for path in (DOCUMENT.parent / FOLDER).glob("*.png")}
    assert there == set(picture_files(cpu, gpu)), remedy


def test_without_rows_it_says_so():
    text = markdown([], [], [])
    assert text.count("Nothing is stored") == 2 and "`make bench`" in text and "`make gpu`" in text
    assert "|" not in text and "### " not in text


def test_the_same_rows_give_the_same_document():
    assert markdown(json.loads(json.dumps(ROWS)), again(ROWS, 1.03, 0.05)) == TEXT


def test_where_it_was_measured():
    for said in (
        "Some CPU (AVX512), 2 threads",
        "0123456789ab",
        "captum 0.9.0",
        "320 GFLOP/s",
        "matmul_precision highest",
    ):
        assert said in TEXT
    assert "triton" not in TEXT.partition("### Bars")[0] and "39 floor, 133 ok, 13 unavailable, 1 wrong" in TEXT


def test_every_row_outside_sweeps_is_in_a_table():
    main_rows = [row for row in ROWS if not row["sweep"]]
    tables = [_section(TEXT, title) for title in ("vgg16", "resnet50", "resnet18", "Games")]
    assert sum(len(_cells(table)) for table in tables) == len(main_rows)
    vgg = _cells(tables[0])
    assert " | ".join(vgg[0]) == (
        "guided_backprop | reluxfast cpp | **589** | 571-607 | 1.00x | - | 6.79 | 1.2e-04 | 80 % | 24.0 | 60"
    )
    captum = next(line for line in vgg if "1362" in line)
    assert "2.31x" in captum and "2.24-2.38" in captum
    assert any(line[1:3] == ["captum", "unavailable"] for line in vgg)
    assert "batch 4, size 224, float32" in tables[0]


def test_every_number_stands_for_a_row():
    changed = [
        {**row, "median_ms": 12321.0} if row["provider"] == "zennit" and "median_ms" in row else row for row in ROWS
    ]
    assert "12321" not in TEXT and markdown(changed).count("12321") == 8 + 2, "eight tables' rows and two ablations"


def test_losses_are_shown():
    section = _section(TEXT, "Where we lose")
    (loss,) = _cells(section)
    assert loss[:3] == ["resnet50/gradient", "batch 4, size 224, float32", "captum channels_last"]
    assert loss[3:] == ["210", "0.972x", "0.943-1.00", "within the band"]
    rows = point("a/b", IMAGES, {"reluxfast cpp": 9.0, "autograd": 7.0, "bare": 5.0})
    assert "beyond the band" in _section(markdown(rows), "Where we lose") and "bare" not in _section(
        markdown(rows), "Where we lose"
    )
    none = _section(markdown(point("a/b", IMAGES, {"reluxfast cpp": 9.0, "autograd": 10.0})), "Where we lose")
    assert "No right peer was faster" in none and "No backend of the engine was wrong" in none
    wrong = point(
        "a/b", IMAGES, {"reluxfast cpp": "wrong: relative error 1", "reluxfast triton": "no GPU", "autograd": 9.0}
    )
    section = _section(markdown(wrong), "Where we lose")
    assert [line[:2] for line in _cells(section)] == [["reluxfast cpp", "wrong"], ["reluxfast triton", "unavailable"]]
    sweep = point("a/b", IMAGES, {"reluxfast cpp": 9.0, "autograd": 7.0}, sweep="batch")
    assert "autograd" in _section(markdown(sweep), "Where we lose")


def test_wrong_peers_and_their_reasons():
    section = _section(TEXT, "Wrong or refused")
    (wrong,) = [line for line in _cells(section) if line[1] == "wrong"]
    assert wrong[0] == "captum" and wrong[2] == "resnet50/epsilon" and wrong[4] == "4.2e+36"
    refused = next(line for line in _cells(section) if line[:2] == ["captum", "unavailable"])
    without_floor = point("a/b", IMAGES, {"reluxfast cpp": 9.0, "bare": "no calls of a library in this walk"})
    assert "no calls of a library" in _section(markdown(without_floor), "Wrong or refused")
    assert refused[2] == "vgg16/epsilon_plus, vgg16/epsilon_alpha2_beta1, vgg16/epsilon_gamma_box"


def test_bars():
    section = _section(TEXT, "Bars")
    assert "23 met, 7 missed, 5 not measured" in section and len(_cells(section)) == 35
    assert sum(line[-1] == "**missed**" for line in _cells(section)) == 7
    assert "**not measured (no rows)**" in _section(markdown(maps()), "Bars")


def test_sweeps_precision_and_steps():
    batch = [line for line in _cells(_section(TEXT, "Along an axis")) if line[2] == "batch"]
    assert [line[7] for line in batch] == ["0.95", "1.02", "0.97"]
    types = {(line[1], line[2]): line[5] for line in _cells(_section(TEXT, "Precision"))}
    assert types["float64", "reluxfast cpp"] == "2.10x" and types["bfloat16", "bare"] == "1.40x"
    steps = _cells(_section(TEXT, "Where the time goes"))
    assert [line[-3:-1] for line in steps[1:4]] == [
        ["1.79x faster", "1.79x faster"], ["1.28x slower", "1.40x faster"], ["2.30x faster", "3.22x faster"]
    ]  # fmt: skip


def test_what_is_done_once():
    lines = _cells(_section(TEXT, "Before the first call"))
    assert ["vgg16", "reluxfast cpp", "0.800", "1.10"] in [[line[0].split("/")[0], *line[1:4]] for line in lines]
    networks = {row["case"].split("/")[0] for row in ROWS if row["group"] == "maps"}
    assert {line[0].split("/")[0] for line in lines} == networks
    assert all(line[1].startswith("reluxfast") or "compiled" in line[1] for line in lines)


def test_two_runs():
    section = _section(TEXT, "Two runs")
    agree, of = (int(number) for number in re.search(r"(\d+) of (\d+) rows agree .*\(time\)", section).groups())
    assert of == sum("median_ms" in row for row in ROWS) and len(_cells(section)) == of - agree > 0
    assert "No second run is stored" in markdown(ROWS)
    assert "Only in the first run: 2 rows; only in the second: 0" in markdown(ROWS, ROWS[:-2])


def test_a_gpu_has_its_own_part():
    rows = point(
        "vgg16/gradient", IMAGES, {"reluxfast cuda": 3.0, "autograd": 2.0}, environment={"device": "NVIDIA H200"}
    )
    cpu, gpu = markdown(ROWS, (), rows).split("## On a GPU")
    assert "NVIDIA H200" in gpu and "benchmarks/nvidia_h200_speed_vgg16.png" in gpu and "NVIDIA" not in cpu
    assert "0.667x" in _section(gpu, "Where we lose") and "### Bars" not in gpu


def test_every_picture_is_shown_once():
    shown = re.findall(rf"!\[.*?\]\({FOLDER}/(.*?)\)", TEXT)
    assert sorted(shown) == sorted(picture_files(ROWS))


@pytest.fixture
def project(tmp_path):
    """The place of a document, a folder of stored rows, and a README with marks."""
    results = tmp_path / "results"
    results.mkdir()
    rows = point("vgg16/gradient", IMAGES, {"reluxfast cpp": 3.0, "autograd": 9.0})
    (results / FILES[0]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    return tmp_path / "docs" / "benchmarks.md", results, readme


def test_write_and_check(project, capsys):
    document, results, readme = project
    assert main(["--check"], document, results, readme) == 1
    assert main(["--write", "--check"], document, results, readme) == 0
    (document.parent / FOLDER / "old.png").write_text("")
    assert main(["--write"], document, results, readme) == 0
    assert sorted(path.name for path in (document.parent / FOLDER).iterdir()) == [
        "cpu_memory_vgg16.png",
        "cpu_speed_vgg16.png",
    ]
    capsys.readouterr()
    assert main([], document, results, readme) == 0
    assert capsys.readouterr().out == document.read_text()
    document.write_text(document.read_text().replace("3.00", "2.00"))
    assert main(["--check"], document, results, readme) == 1 and "differs" in capsys.readouterr().err
    main(["--write"], document, results, readme)
    shutil.rmtree(document.parent / FOLDER)
    assert main(["--check"], document, results, readme) == 1 and "missing: cpu_speed" in capsys.readouterr().err
    main(["--write"], document, results, readme)
    assert "| vgg16 gradient | batch 4, size 224 | **3.00** |" in readme.read_text()
    readme.write_text(readme.read_text().replace("**3.00**", "**2.00**"))
    assert main(["--check"], document, results, readme) == 1 and "README.md differs" in capsys.readouterr().err


def test_a_step_between_peer_and_engine_is_no_peer():
    rows = point("vgg16/epsilon_plus", IMAGES, {"reluxfast cpp": 10.0, "zennit": 30.0, "algebra": 5.0})
    assert "zennit 30.0" in headline(rows) and "algebra" not in headline(rows)
    assert "No right peer was faster" in markdown(rows)


def test_the_readme_shows_the_fastest_right_peer():
    rows = point("vgg16/guided_backprop", IMAGES, {"reluxfast cpp": 3.0, "captum": 9.0, "captum channels_last": 6.0})
    rows += point("vgg16/guided_backprop", {**IMAGES, "batch": 8}, {"reluxfast cpp": 5.0}, sweep="batch")
    for row in rows:
        row["computes"] = "guided_backprop"
    rows[1] |= {"status": "wrong"}
    text = headline(rows)
    assert text.count("vgg16 guided_backprop") == 1
    (line,) = [line for line in text.splitlines() if "**3.00**" in line]
    assert "captum channels_last 6.00 | 2.00x" in line
    rows[2]["computes"] = "gradient"  # beside it, not the same
    assert "| none |" in headline(rows)
    assert headline([]) == "Nothing is stored yet."
    with pytest.raises(ValueError, match="marks"):
        written("a text", "a table")
