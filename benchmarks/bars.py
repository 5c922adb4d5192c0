"""The project's own bars, and whether rows meet them. A bar is missed where a median is short of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from reluxfast.benchmarks.results_file import Row, identity, points
from reluxfast.benchmarks.rows import table
from reluxfast.benchmarks.wording import NONE, digits, setting, span

ENGINE = "reluxfast cpp"
MET, MISSED, NOT_MEASURED = "met", "missed", "not measured"


@dataclass(frozen=True)
class Bar:
    """A ratio of times that is asked for, on a CPU, in float32, with networks written in modules.

    Attributes:
        label: what is asked, for readers.
        case: name, or a pattern with *; every point of every case that fits is held against the bar.
        providers: whose time counts; of several that of the fastest right one.
        bound: the ratio asked for.
        over: "over_base": their time over the engine's, at least `bound`; "over_bare": over the bare library calls, at
            most `bound`.
        axes: values that these axes have to have, where the case has them.
    """

    label: str
    case: str
    providers: tuple[str, ...]
    bound: float
    over: str = "over_base"
    axes: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def asked(self) -> str:
        """The bound with its sign."""
        return f"{'>=' if self.over == 'over_base' else '<='} {self.bound:.3g}x"

    def holds(self, ratio: float) -> bool:
        """Whether a ratio meets the bar."""
        return ratio >= self.bound if self.over == "over_base" else ratio <= self.bound

    def speaks_of(self, row: Row) -> bool:
        """Whether the bar is about the point of this row."""
        wanted = {"dtype": "float32", **self.axes}
        axes = row["axes"]
        return (
            fnmatchcase(row["case"], self.case)
            and all(axes.get(axis, value) == value for axis, value in wanted.items())
            and row["environment"].get("device") == "cpu"
            and not row.get("tiny")
            and not row.get("functional")
        )


@dataclass(frozen=True)
class Finding:
    """A bar held against one point.

    Attributes:
        bar: the bar.
        verdict: MET, MISSED or NOT_MEASURED.
        case: where; the bar's own pattern where nothing was measured.
        axes: the point; empty where nothing was measured.
        provider: whose ratio it is; None without one.
        ratio: median, p20, p80; None without one.
        reason: why there is no ratio.
    """

    bar: Bar
    verdict: str
    case: str
    axes: Mapping[str, Any] = field(default_factory=dict)
    provider: str | None = None
    ratio: Mapping[str, float] | None = None
    reason: str = ""


_IMAGES = {"batch": 4, "size": 224}
_CAPTUM, _ZENNIT = ("captum", "captum channels_last"), ("zennit", "zennit channels_last")
_ADDITIONS = ("captum additions", "captum additions channels_last")
_MASKED = ("masked batch", "masked batch compiled")
_MANY, _FEW = ({"outputs": 1, "orders": orders} for orders in (50, 10))


def _both_layouts(case: str, peer: str, default: float, tuned: float) -> tuple[Bar, Bar]:
    return (
        Bar(f"{case}: {peer} as a user runs it", case, (peer,), default, axes=_IMAGES),
        Bar(f"{case}: {peer} in channels_last", case, (f"{peer} channels_last",), tuned, axes=_IMAGES),
    )


def _better(case: str, providers: tuple[str, ...], bound: float, axes: Mapping[str, int | str]) -> Bar:
    return Bar(f"{case}: better of {' and '.join(providers)}", case, providers, bound, axes=axes)


def _near_bare(case: str, bound: float) -> Bar:
    return Bar(f"{case}: engine over its bare library calls", case, (ENGINE,), bound, "over_bare", _IMAGES)


def _rate(case: str, share: float, axes: Mapping[str, int | str]) -> Bar:
    return Bar(f"{case}: engine at {share:.0%} of the rate of sgemm", case, (ENGINE,), 1 / share, "over_bare", axes)


def _accuracy(name: str, peer: str, bound: float) -> Bar:
    # Fewer rows flatter the engine, which explains all of them at once.
    axes = {"percent": 2, "rows": 64 if name in ("cancer12", "cancer30") else 16}
    return Bar(f"accuracy/{name}: {peer} until 2 % of the range", f"accuracy/{name}", (peer,), bound, axes=axes)


BARS: tuple[Bar, ...] = (
    *_both_layouts("vgg16/guided_backprop", "captum", 1.7, 1.0),
    _better("resnet50/guided_backprop", _CAPTUM, 1.4, _IMAGES),
    *_both_layouts("vgg16/epsilon", "captum", 2.3, 1.8),
    *_both_layouts("vgg16/epsilon_plus", "zennit", 2.6, 2.0),
    *_both_layouts("vgg16/epsilon_alpha2_beta1", "zennit", 4, 3.2),
    *_both_layouts("vgg16/epsilon_gamma_box", "zennit", 5.5, 4.5),
    _better("resnet50/epsilon", _ADDITIONS, 3, _IMAGES),
    _better("resnet50/epsilon_plus", _ZENNIT, 3.5, _IMAGES),
    _better("resnet50/epsilon_alpha2_beta1", _ZENNIT, 4.5, _IMAGES),
    _better("resnet50/epsilon_gamma_box", _ZENNIT, 7, _IMAGES),
    _near_bare("vgg16/guided_backprop", 1.15),
    _near_bare("vgg16/epsilon_plus", 1.15),
    _near_bare("resnet50/guided_backprop", 1.25),
    _near_bare("resnet50/epsilon_plus", 1.25),
    _better("mlp30/shapley", _MASKED, 3, _MANY),
    Bar("mlp30/shapley: captum as a user runs it", "mlp30/shapley", ("captum",), 40, axes=_MANY),
    Bar("mlp30/shapley: captum at its best batch", "mlp30/shapley", ("captum tuned",), 12, axes=_MANY),
    Bar("mlp30/shapley: shap's Permutation explainer", "mlp30/shapley", ("shap permutation",), 400, axes=_MANY),
    _better("mlp100/shapley", _MASKED, 2, _MANY),
    _better("mlp784/shapley", _MASKED, 6, _FEW),
    _rate("mlp30/shapley", 0.6, _MANY),
    _rate("mlp100/shapley", 0.75, _MANY),
    _rate("mlp784/shapley", 0.75, _FEW),
    Bar("resnet18/patches: engine over bare forward passes", "resnet18/patches", (ENGINE,), 1.1, "over_bare"),
    *(_accuracy(name, "captum tuned", 25) for name in ("cancer12", "cancer30", "products12", "products30")),
    *(_accuracy(f"{name} background32", "shap permutation", 100) for name in ("cancer30", "products30")),
)


def evaluate(rows: Sequence[Row], bars: Sequence[Bar] = BARS) -> list[Finding]:
    """Every bar held against every point it speaks of; one finding where there is none."""
    every = points(rows)
    main = [point for point in every if not point[0].get("sweep")]
    known = {_spot(point[0]) for point in main}
    # A point that was timed in a sweep alone counts from there.
    main += [point for point in every if _spot(point[0]) not in known]
    found = []
    for bar in bars:
        about = [point for point in main if bar.speaks_of(point[0])]
        found += [_hold(bar, point) for point in about] or [Finding(bar, NOT_MEASURED, bar.case, reason="no rows")]
    return found


def _spot(row: Row) -> tuple:
    case, axes, _, *place = identity(row)
    return case, axes, *place, bool(row.get("tiny"))


def _hold(bar: Bar, point: Sequence[Row]) -> Finding:
    case, axes = point[0]["case"], point[0]["axes"]
    engine = next((row for row in point if row["provider"] == ENGINE), None)
    if engine is None or engine["status"] != "ok":
        status = "not measured" if engine is None else f"{engine['status']}: {engine.get('reason')}"
        verdict = MISSED if engine is not None and engine["status"] == "wrong" else NOT_MEASURED
        return Finding(bar, verdict, case, axes, reason=f"{ENGINE} {status}")
    named = [row for row in point if row["provider"] in bar.providers]
    right = [row for row in named if row["status"] == "ok" and row.get("base") == ENGINE and row.get(bar.over)]
    if not right:
        why = "; ".join(f"{row['provider']} {row['status']}: {row.get('reason') or 'not timed'}" for row in named)
        return Finding(bar, NOT_MEASURED, case, axes, reason=why or f"no row of {' or '.join(bar.providers)}")
    row = min(right, key=lambda row: row[bar.over]["median"])
    ratio = row[bar.over]
    return Finding(bar, MET if bar.holds(ratio["median"]) else MISSED, case, axes, row["provider"], ratio)


HEADER = ("bar", "at", "asked", "measured", "20-80 %", "provider", "")


def cells(finding: Finding) -> tuple[str, ...]:
    """A finding as a line of a table under HEADER."""
    bar, ratio = finding.bar, finding.ratio
    place = setting(finding.axes) if "*" not in bar.case else f"{finding.case} {setting(finding.axes)}".strip()
    if ratio is None:
        return bar.label, place or NONE, bar.asked, NONE, NONE, NONE, f"{finding.verdict} ({finding.reason})"
    measured, band = f"{digits(ratio['median'])}x", span(ratio["p20"], ratio["p80"])
    return bar.label, place or NONE, bar.asked, measured, band, finding.provider or NONE, finding.verdict


def tally(findings: Sequence[Finding]) -> str:
    """How many are met, missed and not measured."""
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in (MET, MISSED, NOT_MEASURED)}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def bars_text(rows: Sequence[Row]) -> str:
    """The bars that rows speak of as a table under their tally; "" where they speak of none."""
    found = evaluate(rows)
    about = [finding for finding in found if finding.axes]
    return f"bars: {tally(found)}\n{table(HEADER, [cells(finding) for finding in about])}" if about else ""
