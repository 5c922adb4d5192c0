"""How pictures of benchmark rows look: a colour for each library, a shade or hatch for each way of using it."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from reluxfast.benchmarks.results_file import Row, identity
from reluxfast.benchmarks.wording import setting

# Hues that the common kinds of colour blindness keep apart (Okabe and Ito), wine for shap instead of their yellow.
_FAMILIES = {
    "reluxfast": "#0072B2",
    "autograd": "#009E73",
    "compiled": "#009E73",
    "masked batch": "#009E73",
    "captum": "#E69F00",
    "zennit": "#D55E00",
    "pytorch-grad-cam": "#CC79A7",
    "shap": "#882255",
    "algebra": "#56B4E9",
    "bare": "#888888",
    "sgemm": "#888888",
}
_OTHERS = "#BBAA55"
_LIGHTER = ("channels_last", "tuned", "reference")
_HATCHED = ("additions", "compiled", "triton", "exact")
_MARKERS = {"reluxfast": "o", "captum": "s", "zennit": "^", "bare": "x", "sgemm": "x"}
DPI = 130


def _family(provider: str) -> str | None:
    return next((family for family in _FAMILIES if provider.startswith(family)), None)


def colour(provider: str) -> tuple[float, float, float]:
    """RGB of a provider: its library's hue, nearer to white for its tuned or plain variant."""
    family = _family(provider)
    rgb = to_rgb(_FAMILIES[family] if family else _OTHERS)
    share = 0.4 if any(word in provider for word in _LIGHTER) else 0.0
    return tuple(part + share * (1 - part) for part in rgb)


def hatch(provider: str) -> str:
    """Strokes over the bars of further variants."""
    return "////" if any(word in provider for word in _HATCHED) else ""


def marker(provider: str) -> str:
    """Sign of a provider on lines, so that they can be told apart without colour."""
    return _MARKERS.get(_family(provider) or "", "D")


def line_style(provider: str) -> str:
    """Dashes for floors, which nobody computes values with."""
    return "--" if provider.startswith(("bare", "sgemm")) else "-"


def short(text: str | None, width: int) -> str:
    """The beginning of a text, on one line."""
    return shorten(text or "", width, placeholder=" ...")


def place(row: Row) -> str:
    """Machine of a row in words."""
    environment = row["environment"]
    cpu = environment.get("device") == "cpu"
    name = environment.get("cpu") if cpu else environment.get("device")
    threads = environment.get("threads")
    count = f", {threads} thread{'' if threads == 1 else 's'}" if cpu else ""
    return f"{name or 'unknown machine'}{count}"


def common(points: Sequence[Sequence[Row]]) -> dict[str, object]:
    """Axes that have one value in all points."""
    first = points[0][0]["axes"]
    return {a: v for a, v in first.items() if all(point[0]["axes"].get(a) == v for point in points)}


def heading(row: Row, name: str, left_out: Sequence[str]) -> str:
    """Title of a panel: what it is, and the setting where others have another."""
    extra = [setting(row["axes"], left_out)]
    extra += ["F.relu"] if identity(row)[3] else []
    extra += ["tiny: no measurement"] if row.get("tiny") else []
    extra = [word for word in extra if word]
    return f"{name}\n{', '.join(extra)}" if extra else name


def titled(figure: Figure, title: str, below: str) -> None:
    """A title with a smaller line under it, above the panels."""
    height = figure.get_size_inches()[1]
    figure.text(0.5, 1 - 0.12 / height, title, ha="center", va="top", fontsize=11)
    figure.text(0.5, 1 - 0.34 / height, below, ha="center", va="top", fontsize=8, color="0.35")
