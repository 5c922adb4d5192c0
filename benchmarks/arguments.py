"""The options of `reluxfast bench`."""

from __future__ import annotations

import argparse

_TORCH_SIZES = ("float32", "float64", "bfloat16")


def add_arguments(p: argparse.ArgumentParser) -> None:
    """What is measured, under what conditions, and what is done with rows."""
    what = p.add_argument_group("what is measured (default: the suite of the device)")
    what.add_argument("--quick", action="store_true", help="a few cases and rounds: minutes instead of half an hour")
    what.add_argument(
        "--case", action="append", metavar="NAME", help="case, or its network, or a glob such as '*/guided_backprop'"
    )
    what.add_argument("--list", action="store_true", help="list the cases and their axes, measure nothing")
    what.add_argument("--provider", action="append", metavar="NAME", help="engine, peer or floor; a name or a glob")
    what.add_argument("--batch", type=_count, action="append", metavar="N", help="images per call")
    what.add_argument("--size", type=_count, action="append", metavar="N", help="pixels per side")
    what.add_argument("--dtype", action="append", choices=_TORCH_SIZES, help="of weights and inputs")
    what.add_argument(
        "--axis", type=_axis, action="append", metavar="NAME=VALUE", help="any other axis of a case; see --list"
    )
    what.add_argument("--functional", action="store_true", help="the same networks written with F.relu")
    what.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, inputs and draws (%(default)s)")

    own = p.add_argument_group("a model of your own, through all providers that can take it")
    own.add_argument("--model", metavar="MODEL.pt2", help="exported program, written by torch.export.save")
    own.add_argument("--input", metavar="ARRAY.npy", help="its input, (N, ...)")
    own.add_argument(
        "--method", action="append", metavar="NAME", help="gradient, epsilon_plus, ...; default: all that apply"
    )
    own.add_argument(
        "--target", type=_target, default="top", metavar="INDEX", help="output index or 'top' (%(default)s)"
    )

    how = p.add_argument_group("how")
    how.add_argument(
        "--rounds", type=_count, metavar="N", help="times everybody runs; default: 3 to 40, by the time it takes"
    )
    how.add_argument("--threads", type=_count, metavar="N", help="CPU threads; default: torch's choice")
    how.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda, cuda:1 (%(default)s)")
    how.add_argument(
        "--tf32", action="store_true", help="let peers compute in TF32 on a GPU; the engine is IEEE float32"
    )
    how.add_argument("--time-wrong", action="store_true", help="time wrong peers too; their rows still say so")
    how.add_argument("--tiny", action="store_true", help="small copies of everything: a smoke test, no measurement")

    rows = p.add_argument_group("rows")
    rows.add_argument(
        "--out",
        default="bench-out",
        metavar="DIR",
        help="folder for rows.jsonl, which grows, rows.csv and pictures (%(default)s)",
    )
    rows.add_argument("--resume", action="store_true", help="leave out points whose rows of this commit are in DIR")
    rows.add_argument("--plot", action="store_true", help="draw pictures into DIR")
    rows.add_argument("--rows", metavar="FILE", help="measure nothing: print, and --plot, the rows of a file or folder")
    rows.add_argument("--compare", nargs=2, metavar=("A", "B"), help="ratios of two files or folders of rows")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer from 1 on, got {text!r}")
    return int(text)


def _axis(text: str) -> tuple[str, int | str]:
    name, mark, value = text.partition("=")
    if not name or not mark or not value:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    return name, int(value) if value.isdecimal() else value


def _target(text: str) -> int | str:
    if text != "top" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an index or 'top', got {text!r}")
    return text if text == "top" else int(text)
