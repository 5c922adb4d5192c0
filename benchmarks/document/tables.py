"""Tables of what was measured: by network, along axes, by precision, and step by step."""

from __future__ import annotations

from collections.abc import Sequence

from reluxfast.benchmarks.document.text import NUMBERS, image, joined, md_table, numbers, where
from reluxfast.benchmarks.fits import HEADER, cells, fits
from reluxfast.benchmarks.pictures import file_of
from reluxfast.benchmarks.pictures.bars import ablations, stages, step
from reluxfast.benchmarks.pictures.style import common
from reluxfast.benchmarks.results_file import Row, timed
from reluxfast.benchmarks.wording import digits, error_of, method_of, network_of, setting, span, times

Points = Sequence[Sequence[Row]]


def networks(every: Points, drawn: Sequence[str], folder: str) -> list[str]:
    """A table for each network with all its methods, then the games, with their pictures."""
    groups: dict[str, list[Sequence[Row]]] = {}
    for point in every:
        if not point[0].get("sweep"):
            maps = point[0].get("group") == "maps"
            groups.setdefault(network_of(point[0]["case"]) if maps else "Games", []).append(point)
    games = groups.pop("Games", None)
    parts = [_network(name, group, drawn, folder) for name, group in groups.items()]
    return [*parts, _games(games, drawn, folder)] if games else parts


def _network(name: str, group: Points, drawn: Sequence[str], folder: str) -> str:
    same = common(group)
    lines = [
        (*_first(number, f"{method_of(row['case'])} {where(row, same)}".strip()), row["provider"], *numbers(row))
        for point in group
        for number, row in enumerate(point)
    ]
    table = md_table(("method", "provider", *NUMBERS), lines)
    return joined(f"### {name}", setting(same), *_images(name, group, drawn, folder), table)


def _games(group: Points, drawn: Sequence[str], folder: str) -> str:
    lines = [
        (*_first(number, f"{row['case']}: {where(row)}"), row["provider"], *numbers(row))
        for point in group
        for number, row in enumerate(point)
    ]
    words = "Shapley values: *per s* are evaluations of the network, or images for patches."
    table = md_table(("game", "provider", *NUMBERS), lines)
    return joined("### Games", words, *_images("games", group, drawn, folder), table)


def _first(number: int, text: str) -> tuple[str]:
    return (text if number == 0 else "",)


def _images(name: str, group: Points, drawn: Sequence[str], folder: str) -> list[str]:
    device = str(group[0][0]["environment"].get("device"))
    names = [file_of(device, f"{kind}_{name}") for kind in ("speed", "memory")]
    pages = [page for first in names for page in drawn if page == first or page.startswith(first[:-4] + "_page")]
    return [image(page, drawn, folder, page.removesuffix(".png").replace("_", " ")) for page in pages]


def sweeps(rows: Sequence[Row], drawn: Sequence[str], folder: str) -> str:
    """Exponents of every axis along which three or more values were timed."""
    found = fits(rows)
    if not found:
        return ""
    words = (
        "Time of a call as a power of one axis, all others equal, by least squares on logarithms. The standard error "
        "is that of the scatter about the line and says nothing of a bend: small calls cost what a call costs at all."
    )
    device = str(rows[0]["environment"].get("device"))
    axes = dict.fromkeys(fit.axis for fit in found)
    names = [file_of(device, f"sweep_{axis}") for axis in axes]
    pictures = [image(name, drawn, folder, f"time along {axis}") for name, axis in zip(names, axes, strict=True)]
    return joined("### Along an axis", words, *pictures, md_table(HEADER, [cells(fit) for fit in found]))


def preparation(every: Points) -> str:
    """What a user waits for once, for each network: the engine, and whoever compiles or captures."""
    lines, seen = [], set()
    for point in every:
        for row in point:
            key = network_of(row["case"]), row["provider"]
            slow = row["kind"] == "engine" or "compiled" in row["provider"]
            if row.get("group") != "maps" or not timed(row) or row.get("setup_s") is None or not slow or key in seen:
                continue
            seen.add(key)
            ms = (digits(row["setup_s"]), digits(row["first_call_s"]), digits(1e-3 * row["median_ms"]))
            lines.append((f"{row['case']}: {where(row)}", row["provider"], *ms, row.get("note") or "-"))
    header = ("case", "provider", "preparation, s", "first call, s", "later calls, s", "")
    words = (
        "Preparation is capture or compilation, in a process that has captured before; weights are laid out in the "
        "first call. One case of each network."
    )
    return joined("### Before the first call", words, md_table(header, lines) if lines else "")


def precision(every: Points) -> str:
    """Cases that were measured in several types."""
    groups: dict[tuple, dict[str, Sequence[Row]]] = {}
    for point in every:
        row = point[0]
        if "dtype" in row["axes"]:
            others = tuple((axis, value) for axis, value in row["axes"].items() if axis != "dtype")
            groups.setdefault((row["case"], others, bool(row.get("functional"))), {})[row["axes"]["dtype"]] = point
    lines = []
    for (case, _, _), types in groups.items():
        if len(types) < 2:
            continue
        plain = {row["provider"]: row for row in types.get("float32", ()) if timed(row)}
        for dtype, point in types.items():
            for row in point:
                ms = row.get("median_ms") if timed(row) else None
                before = plain.get(row["provider"])
                over = f"{digits(ms / before['median_ms'])}x" if ms and before else "-"
                shown = digits(ms) if ms else row["status"]
                band = span(row["p20_ms"], row["p80_ms"]) if ms else "-"
                text = f"{case} {where(row, ('dtype',))}"
                lines.append(
                    (text, dtype, row["provider"], shown, band, over, times(row.get("over_base")), error_of(row))
                )
    header = ("case", "dtype", "provider", "ms", "20-80 %", "over its float32", "over engine", "error")
    words = "*Over its float32*: the provider's own time in that type over its time in float32, from different rounds."
    return joined("### Precision", words, md_table(header, lines) if lines else "")


def ablation(every: Points, drawn: Sequence[str], folder: str) -> str:
    """From a peer to the engine, step by step."""
    lines = []
    for point in ablations(every):
        before = first = None
        for words, row in stages(point, every):
            ms = row["median_ms"]
            first = first or ms
            name = f"{row['case']}: {where(row)}" if before is None else ""
            change = step(before, ms) if before else ""
            lines.append((name, words, row["provider"], digits(ms), span(row["p20_ms"], row["p80_ms"]), change,
                          "" if before is None else step(first, ms), error_of(row)))  # fmt: skip
            before = ms
    header = ("case", "step", "provider", "ms", "20-80 %", "than the step above", "than the first step", "error")
    words = "How much is algebra and how much is kernels: each step keeps what the steps above it have."
    device = str(every[0][0]["environment"].get("device"))
    picture = image(file_of(device, "ablation"), drawn, folder, "time step by step")
    return joined("### Where the time goes", words, picture, md_table(header, lines) if lines else "")
