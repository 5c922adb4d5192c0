"""Colour maps of 256 colours."""

from __future__ import annotations

import re

import numpy as np

from reluxfast.errors import InvalidInput

_BLACK, _BLUE, _CYAN, _RED, _YELLOW, _WHITE = "000", "00f", "0ff", "f00", "ff0", "fff"
_GREY = "d0d0d0"


def _around(*low: str, middle: str, high: tuple[str, ...]) -> str:
    """A map with `middle` at 128 of 255."""
    return ",".join([*low, f"80:{middle}", *high])


_NAMED = {
    "gray": f"{_BLACK},{_WHITE}",
    "wred": f"{_WHITE},{_RED}",
    "wblue": f"{_WHITE},{_BLUE}",
    "hot": f"{_BLACK},{_RED},{_YELLOW},{_WHITE}",
    "cold": f"{_BLACK},{_BLUE},{_CYAN}",
    "coldnhot": _around(_CYAN, _BLUE, middle=_BLACK, high=(_RED, _YELLOW, _WHITE)),
    "bwr": _around(_BLUE, middle=_WHITE, high=(_RED,)),
    "france": _around("0055a4", middle=_WHITE, high=("ef4135",)),
    "seismic": _around("0000d0", middle=_GREY, high=("d00000",)),
    "coolio": _around("00d0d0", middle=_GREY, high=("d000d0",)),
    "coleus": _around("00d000", middle=_GREY, high=("d000d0",)),
}
_STOP = re.compile(r"\s*(?:([0-9a-fA-F]{1,2})\s*:)?\s*([0-9a-fA-F]{6}|[0-9a-fA-F]{3})\s*")


class UnknownColours(InvalidInput, RuntimeError):
    """No name of a colour map, and no list of colours."""


def palette(cmap: str = "bwr", level: float = 1.0) -> np.ndarray:
    """256 colours, (256, 3) in uint8.

    Args:
        cmap: a name of Zennit's, colours "00f,80:fff,f00" (hexadecimal, each with its place among 256 in front if it is
            not to be spaced evenly), or a name of matplotlib's.
        level: below 1 the outer colours are left out; above 1 they set in earlier.
    """
    places = ((np.linspace(-1.0, 1.0, 256) * level + 1) / 2).clip(0, 1) * 255
    source = _NAMED.get(cmap, cmap)
    if "," not in source:
        import matplotlib  # slow to import, and needs Pillow

        if source in matplotlib.colormaps:
            return matplotlib.colormaps[source](places / 255, bytes=True)[:, :3].copy()
    stops, colours = _stops(source)
    made = np.stack([np.interp(places, stops, channel) for channel in colours.T], axis=1)
    return np.floor(made + 1e-9).astype(np.uint8)


def _stops(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Places (n,), ascending, and colours (n, 3)."""
    found = [_STOP.fullmatch(part) for part in source.split(",")]
    if len(found) < 2 or None in found:
        raise UnknownColours("cmap", "must be a name or at least two colours, as 00f,80:fff,f00", repr(source))
    colours = np.array([_rgb(match[2]) for match in found], dtype=np.float64)
    given = {i: int(m[1] * 2 if len(m[1]) == 1 else m[1], 16) for i, m in enumerate(found) if m[1]}
    anchors = {0: 0, len(found) - 1: 255} | given
    known = sorted(anchors)
    places = np.trunc(np.interp(np.arange(len(found)), known, [anchors[i] for i in known]) + 1e-9)
    if np.any(np.diff(places) < 0):
        raise UnknownColours("cmap", "must name places in ascending order", repr(source))
    return places, colours


def _rgb(text: str) -> list[int]:
    wide = text if len(text) == 6 else "".join(2 * c for c in text)
    return list(bytes.fromhex(wide))
