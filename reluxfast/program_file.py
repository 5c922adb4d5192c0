"""Read an exported program (`torch.export.save`, .pt2) without unpickling and without evaluating text from the file.

`torch.export.load` unpickles sample inputs, pickled weights and pickled constants, evaluates shape expressions and
compiles guard strings and node names into Python code. Here the archive is read as plain zip, everything of that kind
is refused or left out, and only the vetted rest is handed to `torch.export.load`, from memory.
"""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from reluxfast.errors import InvalidInput
from reluxfast.files import readable_file

_TRUSTED_REMEDY = (
    "If you trust the file, load it in Python with torch.export.load(...) and give the program to reluxfast.Explainer"
)
_WORD = re.compile(r"[\w.+\-]*\Z", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)
_TARGET = re.compile(r"torch\.ops\.(\w+)\.(\w+)\.(\w+)\Z", re.ASCII)
_SHAPE_SYMBOL = re.compile(r"[a-z]{1,2}\d+\Z", re.ASCII)
_SHAPE_FUNCTIONS = set(
    "Integer Rational Add Mul Pow Max Min Mod FloorDiv CeilDiv CleanDiv IntTrueDiv FloatTrueDiv PythonMod "
    "ModularIndexing PowByNatural FloorToInt CeilToInt TruncToInt RoundToInt ToFloat Identity "
    "Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan And Or Not Where".split()
)
_PYTHON_TARGETS = {
    f"_operator.{name}"
    for name in "add sub mul floordiv truediv mod neg eq ne lt le gt ge and_ or_ not_ getitem".split()
} | {"math.ceil", "math.floor", "math.trunc", "torch.sym_int", "torch.sym_float", "torch.sym_max", "torch.sym_min"}
_HIGHER_ORDER = {"torch.ops.higher_order.wrap_with_set_grad_enabled"}
_FILE_OPERATORS = {"aten::from_file"}
_TREE_TYPES = {None, "builtins.tuple", "builtins.list", "builtins.dict"}
_EXECUTABLE_ARGUMENTS = {"as_custom_obj", "as_operator"}


def load_program(path: str | os.PathLike) -> torch.export.ExportedProgram:
    """Load a `.pt2` file written by `torch.export.save`; nothing in it is unpickled or evaluated.

    Args:
        path: the file. It must hold one program named "model", with plain (not pickled) weights and constants and
            operators of ATen only.

    Returns:
        the program, without sample inputs and guards (`example_inputs` is None): its graph, weights and constants.

    Raises:
        InvalidInput: no such file, not such an archive, or it holds something that could run code, which is named.
    """
    path = readable_file(path, "program file")
    vetted = _rebuild(path)
    logger, reason = logging.getLogger("torch.export"), _LoggedReason()
    logger.addFilter(reason)
    try:
        return torch.export.load(vetted)
    except Exception as error:
        cause = reason.error or error
        raise _refusal(path, "must be readable by torch.export.load", f"{type(cause).__name__}: {cause}") from error
    finally:
        logger.removeFilter(reason)


class _LoggedReason(logging.Filter):
    """Keeps the error that `torch.export.load` logs with its traceback and replaces by a general one."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            self.error = self.error or record.exc_info[1]
        return not record.exc_info


def row_shape(program: torch.export.ExportedProgram) -> tuple[tuple[int | None, ...], torch.dtype]:
    """Shape of one row of the program's only input, None for sizes that may vary, and its dtype.

    Raises:
        InvalidInput: the program takes several inputs, or an input that is no tensor with a batch dimension.
    """
    value = _only_input(program)
    return tuple(int(n) if isinstance(n, int) else None for n in value.shape[1:]), value.dtype


def _only_input(program: torch.export.ExportedProgram) -> torch.Tensor:
    names = program.graph_signature.user_inputs
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(values) != 1 or not isinstance(values[0], torch.Tensor) or values[0].ndim < 2:
        remedy = "Load it with reluxfast.program_file.load_program and give its inputs to reluxfast.Explainer in Python"
        raise InvalidInput(
            "program", "must take one tensor (N, ...) to be explained from files", f"{len(names)} inputs", remedy
        )
    return values[0]


def _refusal(path: Path, rule: str, value: object, remedy: str = "Export the model again with this torch version"):
    first_line = str(value).strip().splitlines()[0] if str(value).strip() else "nothing"
    return InvalidInput(f"program file '{path}'", rule, first_line, remedy)


def _rebuild(path: Path) -> io.BytesIO:
    """Copy the members that hold plain data into a new archive in memory; the rest is refused or left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _read_members(path, archive)
    except (zipfile.BadZipFile, EOFError, RuntimeError) as error:
        raise _refusal(path, "must be a .pt2 archive written by torch.export.save", error) from error
    if members.get("byteorder", b"little") != b"little":
        raise _refusal(path, "must be little-endian", members["byteorder"])

    kept = {name: members[name] for name in ("archive_format", "archive_version", "byteorder", ".data/version")
            if name in members}  # fmt: skip
    try:
        kept["models/model.json"] = _vet_model(path, json.loads(members["models/model.json"]))
        for kind in ("weights", "constants"):
            config = json.loads(members[f"data/{kind}/model_{kind}_config.json"])
            _vet(path, config)
            kept[f"data/{kind}/model_{kind}_config.json"] = json.dumps(config).encode()
            for name, payload in config["config"].items():
                kept.update(_vet_payload(path, kind, name, payload, members))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, InvalidInput):
            raise
        rule = "must hold one program 'model' in the archive format of torch 2.10 or newer"
        raise _refusal(path, rule, f"{type(error).__name__}: {error}") from error
    kept["data/sample_inputs/model.pt"] = b""

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in kept.items():
            archive.writestr(f"program/{name}", content)
    buffer.seek(0)
    return buffer


def _read_members(path: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED:
            raise _refusal(path, "must hold uncompressed members only", f"compressed member {info.filename!r}")
        name = info.filename.partition("/")[2]
        if name in members:
            raise _refusal(path, "must name every member once", f"{name!r} twice")
        members[name] = archive.read(info)
    if members.get("archive_format") != b"pt2":
        raise _refusal(path, "must be a .pt2 archive written by torch.export.save", "another kind of zip file")
    return members


def _vet_payload(path: Path, kind: str, name: str, payload: dict[str, Any], members: dict[str, bytes]):
    file_name = payload["path_name"]
    prefix = "weight_" if kind == "weights" else "tensor_"
    if payload.get("use_pickle") is not False or not file_name.startswith(prefix):
        raise _refusal(path, f"must hold plain {kind}", f"pickled entry {name!r} ({file_name})", _TRUSTED_REMEDY)
    if not _WORD.match(name) or not _WORD.match(file_name):
        raise _refusal(path, f"must have plain names of {kind}", repr(name))
    member = f"data/{kind}/{file_name}"
    return {member: members[member]}


def _vet_model(path: Path, model: dict[str, Any]) -> bytes:
    model["guards_code"] = []
    model["graph_module"]["metadata"] = {}
    model["graph_module"]["treespec_namedtuple_fields"] = {}
    _vet(path, model)
    return json.dumps(model).encode()


def _vet(path: Path, entry: Any, key: str = "") -> None:
    """Walk the graph's description; every text in it must be of a form that cannot become code."""
    if isinstance(entry, dict):
        if "target" in entry and "metadata" in entry:
            kept = {k: v for k, v in entry["metadata"].items() if k in ("stack_trace", "nn_module_stack")}
            entry["metadata"] = kept
        for name, value in entry.items():
            if not _WORD.match(name):
                raise _refusal(path, "must use plain names", repr(name), _TRUSTED_REMEDY)
            if name in _EXECUTABLE_ARGUMENTS:
                raise _refusal(path, "must hold tensors and numbers only", f"an argument '{name}'", _TRUSTED_REMEDY)
            if name != "metadata":
                _vet(path, value, name)
    elif isinstance(entry, list):
        for value in entry:
            _vet(path, value, key)
    elif isinstance(entry, str):
        _vet_text(path, key, entry)


def _vet_text(path: Path, key: str, text: str) -> None:
    if key == "target":
        problem = None if _known_operator(text) else f"operator {text!r}"
        rule = "must use ATen operators only"
    elif key == "expr_str":
        problem, rule = (None if _plain_expression(text) else repr(text)), "must use plain arithmetic in shapes"
    elif key in ("in_spec", "out_spec"):
        problem, rule = _foreign_type(json.loads(text)[1]), "must take and return tuples, lists and dicts of tensors"
    elif key in ("name", "as_name", "forward_arg_names"):
        problem, rule = (None if not text or _IDENTIFIER.match(text) else repr(text)), "must use identifiers as names"
    else:
        problem, rule = (None if _WORD.match(text) else repr(text)), f"must hold plain words in '{key}'"
    if problem is not None:
        raise _refusal(path, rule, problem, _TRUSTED_REMEDY)


def _known_operator(target: str) -> bool:
    if target in _PYTHON_TARGETS or target in _HIGHER_ORDER:
        return True
    match = _TARGET.match(target)
    if match is None:
        return False
    space, name, overload = match.groups()
    qualified = f"{space}::{name}" + ("" if overload == "default" else f".{overload}")
    return space == "aten" and f"{space}::{name}" not in _FILE_OPERATORS and _is_registered(qualified)


def _is_registered(qualified: str) -> bool:
    name, _, overload = qualified.partition(".")
    return any(schema.overload_name == overload for schema in torch._C._jit_get_schemas_for_operator(name))


def _plain_expression(text: str) -> bool:
    """Is it sympy's printed form: nested calls of known functions on symbols and numbers, nothing else?"""
    try:
        return _plain_term(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _plain_term(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name):
            return False
        flags = all(
            k.arg and isinstance(k.value, ast.Constant) and isinstance(k.value.value, bool) for k in node.keywords
        )
        if node.func.id == "Symbol":
            name = node.args[0].value if len(node.args) == 1 and isinstance(node.args[0], ast.Constant) else None
            return flags and isinstance(name, str) and bool(_SHAPE_SYMBOL.match(name))
        return node.func.id in _SHAPE_FUNCTIONS and not node.keywords and all(_plain_term(arg) for arg in node.args)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and _plain_term(node.operand)
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and abs(node.value) < 2**63


def _foreign_type(spec: dict[str, Any]) -> str | None:
    if spec["type"] not in _TREE_TYPES:
        return str(spec["type"])
    if spec["context"] is not None and "__enum__" in spec["context"]:
        return "an enum as key"
    return next((found for child in spec["children_spec"] if (found := _foreign_type(child))), None)
