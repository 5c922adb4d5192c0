"""The few numbers that the README shows, from the same rows as the document."""

from __future__ import annotations

from collections.abc import Sequence

from reluxfast.benchmarks.document.text import joined, md_table
from reluxfast.benchmarks.results_file import Row, is_peer, points, timed
from reluxfast.benchmarks.wording import digits, error_of, listed, method_of, network_of, setting, span, times

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
NETWORKS = ("vgg16", "resnet50")
HEADER = ("", "at", "reluxfast, ms", "20-80 %", "error", "fastest right peer, ms", "", "its error", "over bare")


def written(text: str, table: str) -> str:
    """A document with the table between its marks; ValueError without them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"text: the marks {BEGIN} and {END} expected, got a text without them")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def headline(rows: Sequence[Row]) -> str:
    """Engine and fastest right peer for each method of two networks and for the games, once where each was timed."""
    lines = []
    for point in points(rows):
        first = point[0]
        shown = network_of(first["case"]) in NETWORKS or first["group"] == "games"
        if shown and not first.get("sweep") and first["axes"].get("outputs", 1) == 1:
            lines += _line(point)
    if not lines:
        return "Nothing is stored yet."
    env = rows[0]["environment"]
    words = (
        f"{env['cpu']} ({env['cpu_capability']}), {env['threads']} threads, torch {env['versions']['torch']}, commit "
        f"{listed(row['environment']['commit'] for row in rows)}:"
    )
    return joined(words, md_table(HEADER, lines))


def _line(point: Sequence[Row]) -> list[tuple[str, ...]]:
    engine = next((row for row in point if row["kind"] == "engine" and timed(row)), None)
    if engine is None:
        return []
    peers = [row for row in point if is_peer(row) and timed(row) and _same(row, engine)]
    best = min(peers, key=lambda row: row["over_base"]["median"], default=None)
    name = f"{network_of(engine['case'])} {method_of(engine['case'])}"
    own = (f"**{digits(engine['median_ms'])}**", span(engine["p20_ms"], engine["p80_ms"]), error_of(engine))
    over_bare = times(engine.get("over_bare"))
    if best is None:
        return [(name, setting(engine["axes"], ("dtype", "outputs")), *own, "none", "-", "-", over_bare)]
    peer = (f"{best['provider']} {digits(best['median_ms'])}", times(best.get("over_base")), error_of(best))
    return [(name, setting(engine["axes"], ("dtype", "outputs")), *own, *peer, over_bare)]


def _same(row: Row, engine: Row) -> bool:
    """Grad-CAM in another form and a path by another rule are the method as well; a gradient beside it is not."""
    computes, method = str(row["computes"]), str(engine["computes"])
    return row["group"] == "games" or computes.startswith(method)
