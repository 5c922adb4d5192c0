"""The command line: `reluxfast info | demo | validate | explain | bench`.

Exit codes: 0 all well, 1 a check or a comparison failed, 2 wrong usage or input (one line `error: ...` on stderr).
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

import reluxfast as rx
from reluxfast.benchmarks.arguments import add_arguments
from reluxfast.explain_files import explain_files
from reluxfast.files import reason
from reluxfast.input_file import FITS, read_inputs
from reluxfast.map_layers import map_layers
from reluxfast.methods import METHODS
from reluxfast.program_file import load_program, row_shape

# Options of methods, as the command line calls them.
_METHOD_OPTIONS = {
    "layer": "--layer",
    "n_steps": "--steps",
    "n_samples": "--samples",
    "seed": "--seed",
    "composite": "--composite",
    "products": "--products",
    "fallback": "--fallback",
}
# The others need arguments.
_NAMED_ALONE = [name for name in rx.composites() if name != "epsilon_gamma_box"]
_SAME_NAME = (
    *("method", "target", "rtol", "size", "mean", "std", "fit", "out", "backend"),
    *(
        "case",
        "functional",
        "provider",
        "axis",
        "batch",
        "dtype",
        "device",
        "rows",
        "compare",
        "model",
        "input",
        "resume",
        "tiny",
        "json",
    ),
)
_FLAGS = _METHOD_OPTIONS | {
    "methods": "--method",
    **{name: f"--{name}" for name in _SAME_NAME},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: the arguments without the program's name; None takes the process's own.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        with warnings.catch_warnings(), rx.backend(arguments.backend):
            warnings.showwarning = _one_line_warning
            return arguments.run(arguments)
    except BrokenPipeError:
        # Whoever read the output has enough; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except rx.InvalidInput as error:
        return _refused(_in_terms_of_options(error))
    except rx.ReluxfastError as error:
        return _refused(error)
    except OSError as error:
        return _refused(f"'{error.filename}' cannot be read or written: {reason(error)}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _refused(error: BaseException | str) -> int:
    print(f"error: {_one_line(error)}", file=sys.stderr)
    return 2


def _in_terms_of_options(error: rx.InvalidInput) -> rx.InvalidInput:
    """The error with the command line's name for the argument."""
    return rx.InvalidInput(_FLAGS.get(error.argument, error.argument), error.rule, error.value, error.remedy)


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _one_line_warning(message, category, filename, lineno, file=None, line=None) -> None:
    if issubclass(category, UserWarning):
        print(f"warning: {_one_line(message)}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; {self.prog} --help says more\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="reluxfast", description="Why did this ReLU network say that? Attribution, fast.")
    parser.add_argument("--version", action="version", version=f"reluxfast {rx.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    common = argparse.ArgumentParser(add_help=False, parents=[as_json])
    common.add_argument(
        "--backend", default="auto", choices=("auto", "reference", "cpp", "triton", "cuda"), help="default: %(default)s"
    )

    info = commands.add_parser("info", parents=[common], help="version, backends and why others are missing, devices")
    info.set_defaults(run=_info)

    demo = commands.add_parser("demo", parents=[common], help="train two small networks, explain, validate, draw")
    demo.add_argument(
        "--out",
        default="demo-out",
        metavar="DIR",
        help="folder for gallery.png, composites.png and demo.json (%(default)s)",
    )
    demo.add_argument("--seed", type=_seed, default=0, metavar="N", help="of splits, weights and batches (%(default)s)")
    demo.add_argument("--quick", action="store_true", help="a smoke run: few epochs, few images, poor accuracy")
    demo.set_defaults(run=_demo)

    validate = commands.add_parser(
        "validate", parents=[common], help="compare every backend with the float64 reference, method by method"
    )
    validate.add_argument(
        "model", nargs="?", metavar="MODEL.pt2", help="exported program; left out: built-in small networks"
    )
    validate.add_argument("input", nargs="?", metavar="INPUT", help=".npy array or image file for MODEL")
    validate.add_argument("--method", action="append", metavar="NAME", help="may be repeated; default: all that apply")
    validate.add_argument("--layer", metavar="PATH", help="for grad_cam and guided_grad_cam; default: the last map")
    validate.add_argument("--rtol", type=float, help="bound of the relative error; default: that of each backend")
    _add_input_options(validate)
    validate.set_defaults(run=_validate)

    explain = commands.add_parser("explain", parents=[common], help="explain a saved model's answer for a file")
    explain.add_argument("model", metavar="MODEL.pt2", help="exported program, written by torch.export.save")
    explain.add_argument("input", metavar="IMAGE|ARRAY", help="image file, or .npy of shape (C, H, W) or (N, C, H, W)")
    explain.add_argument(
        "--method", default="guided_backprop", metavar="NAME", help=f"{', '.join(METHODS)} (%(default)s)"
    )
    explain.add_argument("--layer", metavar="PATH", help="module path, for grad_cam and guided_grad_cam")
    explain.add_argument(
        "--composite", metavar="NAME", help=f"rules of lrp: {', '.join(_NAMED_ALONE)}; default: epsilon_plus_flat"
    )
    explain.add_argument(
        "--products", choices=rx.rules.SHARES, help="lrp: where relevance of products of two values goes"
    )
    explain.add_argument("--fallback", choices=["gradient"], help="lrp: how to walk nodes without a rule")
    explain.add_argument("--coverage", action="store_true", help="lrp: print first which node follows which rule")
    explain.add_argument(
        "--out",
        default=".",
        metavar="DIR",
        help="folder for the values, INPUT_METHOD.npy, and a picture of each row, INPUT_METHOD_ROW.png, where INPUT is "
        "photo_jpg for photo.jpg; earlier ones are replaced (%(default)s)",
    )
    explain.add_argument("--steps", type=int, metavar="N", help="quadrature points of integrated_gradients")
    explain.add_argument("--samples", type=int, metavar="N", help="samples of smooth_grad and expected_gradients")
    explain.add_argument("--seed", type=_seed, metavar="N", help="seed of smooth_grad and expected_gradients")
    _add_input_options(explain)
    explain.set_defaults(run=_explain)

    bench = commands.add_parser(
        "bench",
        parents=[as_json],
        help="attribution throughput of engine and peers, each checked against float64 first",
    )
    add_arguments(bench)
    bench.set_defaults(run=_bench, backend="auto")
    return parser


def _add_input_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        default="top",
        type=_target,
        metavar="INDEX",
        help="output index (1,0 for outputs of two dimensions), or 'top': the largest output of each row (%(default)s)",
    )
    parser.add_argument(
        "--size", type=_size, metavar="HxW", help="resize an image; default: the model's size if it has one"
    )
    parser.add_argument(
        "--fit",
        default=FITS[0],
        choices=FITS,
        help="images of other proportions: squash keeps all of the image and distorts it, crop resizes the shorter "
        "side and keeps the centre, as models are usually trained and evaluated (%(default)s)",
    )
    parser.add_argument("--mean", type=_numbers, metavar="A,B,C", help="subtracted per channel, images being in [0, 1]")
    parser.add_argument("--std", type=_numbers, metavar="A,B,C", help="divided by, per channel")


def _target(text: str) -> int | tuple[int, ...] | str:
    if text == "top":
        return text
    try:
        index = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be integers separated by commas or 'top', got {text!r}") from None
    return index if len(index) > 1 else index[0]


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be an integer from 0 to 2^63 - 1, got {text!r}")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    try:
        height, width = (int(part) for part in (parts if len(parts) == 2 else parts * 2))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be HxW or one number, got {text!r}") from None
    if height < 1 or width < 1:
        raise argparse.ArgumentTypeError(f"must be positive, got {text!r}")
    return height, width


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers separated by commas, got {text!r}") from None


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, default=str))


def _info(arguments: argparse.Namespace) -> int:
    found = rx.info()
    _print_json(found.as_dict()) if arguments.json else print(found)
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from reluxfast.demo import run_demo

    echo = _silent if arguments.json else print
    result = run_demo(arguments.out, quick=arguments.quick, seed=arguments.seed, echo=echo)
    if arguments.json:
        print(result.record.read_text(), end="")
    return 0 if result.ok else 1


def _silent(line: str) -> None:
    """Say nothing."""


def _validate(arguments: argparse.Namespace) -> int:
    if (arguments.model is None) != (arguments.input is None):
        raise rx.InvalidInput("INPUT", "must come together with MODEL.pt2", "only one of them")
    if arguments.model is None:
        cases = _built_in()
    else:
        program, x = _read(arguments)
        cases = {Path(arguments.model).stem: (program, x)}
    target = None if arguments.target == "top" else arguments.target
    reports = {
        name: rx.validate(model, x, arguments.method, arguments.rtol, target, arguments.layer)
        for name, (model, x) in cases.items()
    }
    ok = all(report.ok for report in reports.values())
    if arguments.json:
        rows = [{"model": name, **vars(row), "ok": row.ok} for name, report in reports.items() for row in report.rows]
        _print_json({"ok": ok, "rows": rows})
    else:
        print("\n\n".join(f"{name}\n{report}" for name, report in reports.items()))
    return 0 if ok else 1


def _built_in() -> dict[str, tuple[torch.nn.Module, torch.Tensor]]:
    """The demo's networks with seeded random weights, on random images: needs no data set."""
    from reluxfast.demo.models import DigitsNet, PhotoNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {
            "DigitsNet": (DigitsNet().eval(), torch.rand(4, 1, 8, 8)),
            "PhotoNet": (PhotoNet().eval(), torch.rand(4, 3, 32, 32)),
        }


def _read(arguments: argparse.Namespace) -> tuple[torch.export.ExportedProgram, torch.Tensor]:
    program = load_program(arguments.model)
    shape, dtype = row_shape(program)
    x = read_inputs(arguments.input, shape, dtype, arguments.size, arguments.mean, arguments.std, arguments.fit)
    return program, x


def _explain(arguments: argparse.Namespace) -> int:
    options = _method_options(arguments)
    if arguments.coverage and arguments.method != "lrp":
        raise rx.InvalidInput("--coverage", "is an option of lrp", f"--method {arguments.method}", "Leave it out")
    program, x = _read(arguments)
    rules = rx.coverage(program, x, **options) if arguments.coverage else None
    if rules is not None and not arguments.json:
        print(rules, end="\n\n")
    if "layer" in _options_of(arguments.method) and "layer" not in options:
        maps = map_layers(rx.Explainer(program, x).captured.engine().graph)
        remedy = f"Convolutions of this model: {', '.join(maps)}" if maps else "This model has no named convolution"
        rule = f"must name a module with a map (N, C, *S) for {arguments.method} to read"
        raise rx.InvalidInput("layer", rule, "none", f"{remedy}; a module around or behind one will do too")
    file = Path(arguments.input)
    name = "_".join(filter(None, (file.stem, file.suffix[1:])))  # x.npy and x.png are told apart
    written = explain_files(program, x, arguments.target, arguments.method, options, Path(arguments.out), name)
    if arguments.json:
        rows = None if rules is None else [{**vars(row), "rule": row.does} for row in rules.rows]
        _print_json(written.as_dict() | ({} if rows is None else {"coverage": rows}))
    else:
        print(written)
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from reluxfast.benchmarks.command import run  # brings every case along

    return run(arguments)


def _method_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options given that the method takes; one that it does not take is an error, before any file is read."""
    if arguments.method not in METHODS:
        raise rx.InvalidInput("method", f"must be one of {', '.join(METHODS)}", repr(arguments.method))
    options = {}
    for option, flag in _METHOD_OPTIONS.items():
        value = getattr(arguments, flag.removeprefix("--"))
        if value is None:
            continue
        takers = [method for method in METHODS if option in _options_of(method)]
        if arguments.method not in takers:
            given = f"{value} with --method {arguments.method}"
            raise rx.InvalidInput(flag, f"is an option of {', '.join(takers)}", given, f"Leave {flag} out")
        options[option] = value
    return options


def _options_of(method: str) -> list[str]:
    return list(inspect.signature(METHODS[method]).parameters)[1:]


if __name__ == "__main__":
    sys.exit(main())
