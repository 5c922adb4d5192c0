"""Pictures of rows: what they say, that nothing runs into anything, and that odd rows are drawn too."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from reluxfast.benchmarks.pictures import draw, pictures, style
from reluxfast.benchmarks.results_file import points
from tests.benchmarks.rows_for_tests import IMAGES, everything, games, maps, point

ALL = pictures(everything())


@cache
def _figure(name: str) -> Figure:
    return ALL[f"cpu_{name}.png"]()


def _texts(figure: Figure) -> list[str]:
    found = [text.get_text() for text in figure.texts]
    for ax in figure.axes:
        found += [ax.get_title(), ax.get_xlabel(), ax.get_ylabel()]
        found += [text.get_text() for text in (*ax.texts, *ax.get_yticklabels(), *ax.get_xticklabels())]
        found += [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []
    return found


def _panel(figure: Figure, title: str):
    return next(ax for ax in figure.axes if ax.get_title().partition("\n")[0] == title)


def _bars(ax) -> dict[str, float]:
    """Where the bar of each provider ends."""
    names = {tick: label.get_text() for tick, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    ends = ((bar.get_y() + bar.get_height() / 2, bar.get_x() + bar.get_width()) for bar in ax.patches)
    return {names[round(place)]: end for place, end in ends}


def test_what_is_drawn():
    assert list(ALL) == [
        "cpu_speed_vgg16.png", "cpu_memory_vgg16.png", "cpu_speed_resnet50.png", "cpu_memory_resnet50.png",
        "cpu_speed_resnet18.png", "cpu_memory_resnet18.png", "cpu_speed_games.png", "cpu_memory_games.png",
        "cpu_sweep_batch.png", "cpu_sweep_size.png", "cpu_sweep_depth.png", "cpu_sweep_players.png",
        "cpu_sweep_orders.png", "cpu_ablation.png",
    ]  # fmt: skip
    assert pictures([]) == {}
    rows = point("a/b", IMAGES, {"reluxfast cuda": 1.0}, environment={"device": "NVIDIA H200"})
    assert list(pictures(rows)) == ["nvidia_h200_speed_a.png", "nvidia_h200_memory_a.png"]


def test_files_are_written(tmp_path):
    paths = draw(games()[:8], tmp_path / "new")
    assert [path.name for path in paths] == ["cpu_speed_games.png", "cpu_memory_games.png"]
    for path in paths:
        height, width, _ = imread(path).shape
        assert width >= 700 and height >= 200 and imread(path)[..., :3].std() > 0.05


@pytest.mark.parametrize(
    "name", ["speed_resnet50", "speed_games", "memory_resnet50", "sweep_batch", "sweep_players", "ablation"]
)
def test_no_label_runs_into_another_or_off_the_picture(name):
    figure = _figure(name)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, (width, height) = canvas.get_renderer(), canvas.get_width_height()
    everywhere = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts]
    for ax in figure.axes:
        for text in ax.texts:
            assert text.get_window_extent(renderer).x1 <= ax.bbox.x1 + 10, f"{text.get_text()} leaves its panel"
        parts = [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]
        for labels, places, limits in (
            (ax.get_xticklabels(), ax.get_xticks(), ax.get_xlim()),
            (ax.get_yticklabels(), ax.get_yticks(), ax.get_ylim()),
        ):
            inside = zip(labels, places, strict=True)
            parts += [label for label, place in inside if min(limits) <= place <= max(limits)]
        everywhere += [(part.get_text(), part.get_window_extent(renderer)) for part in parts if part.get_text()]
    for text, box in everywhere:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text
    for (first, one), (second, other) in combinations(everywhere, 2):
        assert not one.padded(-1).overlaps(other.padded(-1)), (first, second)


def test_speed_is_time_over_the_engine():
    figure = _figure("speed_resnet50")
    assert figure.texts[0].get_text() == "resnet50: time"
    assert figure.texts[1].get_text().startswith("batch 4, size 224, float32; Some CPU, 2 threads")
    ax = _panel(figure, "guided_backprop")
    ends = _bars(ax)
    assert ends["reluxfast cpp"] == 1 and ends["captum"] == pytest.approx(413 / 225)
    assert "1.84x, 413 ms" in _texts(figure) and ax.get_xlabel() == "time over that of reluxfast cpp"
    whiskers = [tuple(line.get_xdata()) for line in ax.lines]
    assert pytest.approx((413 / 225 * 0.97, 413 / 225 * 1.03)) in whiskers


def test_who_was_not_timed_is_named():
    figure = _figure("speed_resnet50")
    ax = _panel(figure, "epsilon")
    assert "captum" in [label.get_text() for label in ax.get_yticklabels()] and "captum" not in _bars(ax)
    assert any(text.startswith("wrong: relative error 8.1e+16") for text in _texts(figure))
    assert any(text.startswith("unavailable: Captum has no such") for text in _texts(figure))


def test_long_bars_are_logarithmic_and_begin_at_the_engine():
    ax = _panel(_figure("speed_games"), "mlp784/shapley")
    assert ax.get_xscale() == "log" and {bar.get_x() for bar in ax.patches} == {1.0}
    assert _bars(ax)["captum"] == pytest.approx(950 / 9.8)
    assert _panel(_figure("speed_games"), "mlp16/exact").get_xscale() == "linear"


def test_sweeps_carry_their_exponents():
    figure = _figure("sweep_batch")
    (ax,) = figure.axes
    assert "captum channels_last: batch^1.02 ± 0.00" in _texts(figure) and ax.get_ylabel() == "ms per image"
    line = next(line for line in ax.lines if line.get_label().startswith("reluxfast cpp"))
    assert list(line.get_xdata()) == [1, 2, 4, 8, 16]
    assert line.get_ydata()[2] == pytest.approx(30 / 4) and ax.get_xscale() == ax.get_yscale() == "log"
    labels = [label.get_text() for label in _figure("sweep_players").axes[0].get_xticklabels()]
    assert labels == ["16", "30", "", "64", "128"], "32 would stand beside 30"
    (ax,) = _figure("sweep_depth").axes
    assert ax.get_ylabel() == "ms per call" and ax.lines[0].get_ydata()[0] == pytest.approx(30)


def test_memory_in_megabytes():
    figure = _figure("memory_vgg16")
    ends = _bars(_panel(figure, "guided_backprop"))
    assert ends["captum"] == 360 and ends["reluxfast cpp"] == 24 and "bare" not in ends
    assert "360 MB" in _texts(figure)
    rows = [{**row, "peak_bytes": None} for row in maps()]
    assert not [name for name in pictures(rows) if "memory" in name]


def test_steps_from_a_peer_to_the_engine():
    rows = maps()
    types = [
        {**row, "axes": {**row["axes"], "dtype": "bfloat16"}} for row in rows if row["case"] == "vgg16/epsilon_plus"
    ]
    types = [row for row in types if row["provider"] != "algebra"]
    figure = pictures(rows + types)["cpu_ablation.png"]()
    ax = _panel(figure, "vgg16/epsilon_plus")
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [
        "peer: zennit", "rule algebra, plain torch", "+ layout and graph", "+ fused kernels", "+ bfloat16"
    ]  # fmt: skip
    assert {"2751 ms", "1539 ms, 1.79x faster", "1966 ms, 1.28x slower"} <= set(_texts(figure))
    assert len(_panel(figure, "resnet50/epsilon_plus").get_yticks()) == 4


def test_odd_rows_are_drawn():
    wrong = {"captum": "wrong: relative error 2", "zennit": "not installed", "reluxfast cpp": "wrong: relative error 1"}
    tiny = {"batch": 2, "size": 8, "dtype": "float32"}
    rows = point("digits/epsilon", tiny, wrong, tiny=True)
    rows += point("digits/gradient", tiny, {"autograd": 0.2, "somebody else": 0.9}, tiny=True, noise=0.3)
    rows += point("digits/gradient", tiny, {"reluxfast cpp": 0.3}, functional=True)
    assert list(pictures(rows)) == ["cpu_speed_digits.png", "cpu_memory_digits.png"]
    figure = pictures(rows)["cpu_speed_digits.png"]()
    figure.savefig("/dev/null", format="png")
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["epsilon\ntiny: no measurement", "gradient\ntiny: no measurement", "gradient\nF.relu"]
    assert [ax.get_xlabel() for ax in figure.axes][1] == "ms per call"
    only_wrong = pictures(rows[:3])
    assert list(only_wrong) == ["cpu_speed_digits.png"] and not only_wrong["cpu_speed_digits.png"]().axes[0].patches


def test_many_panels_become_several_pictures():
    rows = [
        row for number in range(11) for row in point(f"net/m{number}", IMAGES, {"reluxfast cpp": 1.0, "captum": 2.0})
    ]
    names = [name for name in pictures(rows) if "speed" in name]
    assert names == ["cpu_speed_net.png", "cpu_speed_net_page2.png"]
    assert [len(pictures(rows)[name]().axes) for name in names] == [9, 2]


def test_a_provider_has_one_look_everywhere():
    for together in points(everything()):
        looks = [(style.colour(row["provider"]), style.hatch(row["provider"])) for row in together]
        assert len(set(looks)) == len(looks), [row["provider"] for row in together]
    for ax in (*_figure("speed_resnet50").axes, *_figure("speed_games").axes, *_figure("memory_vgg16").axes):
        names = {tick: label.get_text() for tick, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
        for bar in ax.patches:
            provider = names[round(bar.get_y() + bar.get_height() / 2)]
            assert to_hex(bar.get_facecolor()) == to_hex(style.colour(provider)), provider
    for line in _figure("sweep_players").axes[0].lines:
        assert to_hex(line.get_color()) == to_hex(style.colour(line.get_label().partition(":")[0]))
