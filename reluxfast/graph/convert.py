"""An exported program -> the typed graph."""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from typing import Any

import torch
from torch import fx
from torch.export.graph_signature import InputKind, OutputKind

from reluxfast.errors import UnsupportedNode
from reluxfast.graph.checks import check_batch, check_node, check_output
from reluxfast.graph.export import functionalised
from reluxfast.graph.functional import NotSimple, value_forms
from reluxfast.graph.node import BATCH, Graph, Node, Ref
from reluxfast.graph.spelling import canonical

_REMEDY_FOR_WRITES = (
    "Make the forward pass leave its buffers and attributes alone in eval mode; export a program after model.eval()"
)


def to_graph(program: torch.export.ExportedProgram, explained: int | None = None) -> Graph:
    """Typed graph of an exported program; in-place operations become values.

    Args:
        program: what was exported.
        explained: number of inputs, from the first on, that are explained; None: all.

    Raises:
        UnsupportedNode: an operation, an output or a use of the batch that cannot be explained rightly.
    """
    try:
        targets, renames = value_forms(program.graph)
    except NotSimple:
        program = functionalised(program)
        targets, renames = value_forms(program.graph)
    return _Converter(program, targets, renames, explained).run()


class _Converter:
    def __init__(self, program: torch.export.ExportedProgram, targets: dict, renames: dict, explained: int | None):
        self.program, self.targets, self.renames = program, targets, renames
        self.explained = explained
        self.nodes: dict[str, Node] = {}
        self.active: set[str] = set()  # values that carry gradient to an explained input, or to a root
        self.whole: set[str] = set()  # integers that come from explained ones
        self.roots: set[str] = set()
        self.static: set[str] = set()  # values that depend on no input
        self.batch: torch.SymInt | int | None = None

    def run(self) -> Graph:
        graph, signature = self.program.graph, self.program.graph_signature
        specs = {spec.arg.name: spec for spec in signature.input_specs}
        self._check_writes(specs)
        inputs = []
        for fx_node in graph.nodes:
            if fx_node.op == "placeholder":
                spec = specs[fx_node.name]
                if spec.kind == InputKind.USER_INPUT:
                    inputs.append(fx_node.name)
                self._placeholder(fx_node, spec, self.explained is None or len(inputs) <= self.explained)
            elif fx_node.op == "call_function":
                self._call(fx_node)
            elif fx_node.op == "get_attr":
                continue  # sub-graphs of higher-order operations, refused where they are called
            elif fx_node.op == "output":
                break
        output = self._output(signature)
        batch = None if isinstance(self.batch, torch.SymInt) else self.batch
        paths = {path: (path,) for path in _module_paths(graph)}
        context = frozenset() if self.explained is None else frozenset(inputs[self.explained :])
        result = Graph(self.nodes, tuple(inputs), output, batch, paths, context, frozenset(self.roots))
        check_batch(result)
        return result

    def _check_writes(self, specs: dict) -> None:
        for fx_node in self.targets:
            written = fx_node.args[0] if fx_node.args else None
            spec = specs.get(getattr(written, "name", None))
            if spec is not None and spec.kind != InputKind.USER_INPUT:
                raise UnsupportedNode(
                    _op_name(fx_node.target),
                    f"the forward pass writes into '{spec.target}', so explaining would change the model",
                    _modules(fx_node)[-1][0] if _modules(fx_node) else "",
                    _source(fx_node),
                    remedy=_REMEDY_FOR_WRITES,
                )

    def _output(self, signature: Any) -> str:
        for spec in signature.output_specs:
            if spec.kind in (OutputKind.BUFFER_MUTATION, getattr(OutputKind, "PARAMETER_MUTATION", None)):
                raise UnsupportedNode(
                    "buffer",
                    f"the forward pass writes into '{spec.target}', so explaining would change the model",
                    remedy=_REMEDY_FOR_WRITES,
                )
        outputs = [s for s in signature.output_specs if s.kind == OutputKind.USER_OUTPUT]
        spec = self.program.call_spec.out_spec
        if len(outputs) != 1 or (spec is not None and not spec.is_leaf()):
            shown = f"{getattr(spec.type, '__name__', spec.type)} of {len(outputs)} values" if spec else len(outputs)
            raise UnsupportedNode(
                "output",
                f"the model returns a {shown}, not one tensor",
                remedy="Wrap the model in a Module that returns the one tensor to explain",
            )
        name = getattr(outputs[0].arg, "name", None)
        fx_name = {n.name: n for n in self.program.graph.nodes}
        final = next(n for n in self.program.graph.nodes if n.op == "output")
        written = fx_name.get(name)
        if written is not None:
            name = self.renames.get(final, {}).get(written, written).name
        node = self.nodes.get(name)
        check_output(node)
        return name

    def _placeholder(self, fx_node: fx.Node, spec: Any, explained: bool) -> None:
        value = fx_node.meta.get("val")
        if spec.kind == InputKind.USER_INPUT:
            if not isinstance(value, torch.Tensor):
                raise UnsupportedNode("input", f"argument '{fx_node.name}' is no tensor")
            if value.dim() == 0:
                raise UnsupportedNode("input", f"argument '{fx_node.name}' has no batch dimension")
            if self.batch is None or isinstance(value.shape[0], torch.SymInt):
                self.batch = value.shape[0]
            node = Node(fx_node.name, "input", op="input")
            if explained:
                (self.active if value.dtype.is_floating_point else self.whole).add(fx_node.name)
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and spec.target in self.program.state_dict:
            node = Node(fx_node.name, "param", op="parameter", path=spec.target)
            self.static.add(fx_node.name)
        else:
            constant = self.program.constants.get(spec.target)
            if not isinstance(constant, torch.Tensor):
                raise UnsupportedNode(str(spec.kind), f"'{spec.target}' is no tensor")
            # Buffers that are not saved with the model can still be changed on it.
            kind = "param" if spec.kind == InputKind.BUFFER else "constant"
            node = Node(fx_node.name, kind, op=kind, path=spec.target or "", value=constant)
            self.static.add(fx_node.name)
        self._add(node, value)

    def _call(self, fx_node: fx.Node) -> None:
        target = self.targets.get(fx_node, fx_node.target)
        rename = self.renames[fx_node]
        value = fx_node.meta.get("val")
        args, kwargs = self._argument((tuple(fx_node.args), dict(fx_node.kwargs)), rename)
        modules = _modules(fx_node)
        node = Node(
            fx_node.name,
            "call",
            target,
            args,
            kwargs,
            module_path=modules[-1][0] if modules else "",
            modules=modules,
            op=_op_name(target),
            source=_source(fx_node),
        )
        if self._is_batch_size(target, args):
            self.nodes[fx_node.name] = replace(node, kind="int_call")
            return
        operands = [rename.get(n, n).name for n in fx_node.all_input_nodes]
        if not isinstance(target, torch._ops.OpOverload) and target is not operator.getitem and value is None:
            raise UnsupportedNode(node.op, "no rule for this operation", node.module_path, node.source)
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool, int, float, bool)):
            node.kind = "int_call"
            self._add(node, None)
            return
        node = self._keeping_the_batch(node)
        check_node(node)
        numbers = [n for n in operands if self.nodes[n].kind == "int_call"]
        if all(n in self.static for n in operands):
            node.kind = "static_call"
            self.static.add(node.name)
            self._add(node, value)
            return
        if all(n in self.static or n in numbers for n in operands):
            node.kind = "aux_call"
            self._add(node, value)
            return
        node.inputs = tuple(dict.fromkeys(n for n in operands if n in self.active))
        self._add(node, value)
        if not node.inputs or not _is_continuous(value):
            if any(n in self.whole for n in operands) and not node.inputs:
                self._from_integers(node, value)
            node.kind, node.inputs = "aux_call", ()
            return
        self.nodes[node.name] = node = canonical(node, self.nodes, self.static)
        if node.kind != "aux_call":
            self.active.add(node.name)

    def _from_integers(self, node: Node, value: Any) -> None:
        """A signal can be asked for at the first values that are not whole, embeddings for instance."""
        if not _is_continuous(value):
            self.whole.add(node.name)
        elif isinstance(value, torch.Tensor):
            self.active.add(node.name)
            self.roots.add(node.name)

    def _keeping_the_batch(self, node: Node) -> Node:
        """`squeeze` with the dimensions that it removes spelled out: a batch of one row is a batch all the same."""
        if node.op != "aten.squeeze" or not isinstance(self.batch, torch.SymInt):
            return node
        shape = self.nodes[node.args[0].name].shape
        given = node.args[1:] or (tuple(range(len(shape))),)
        dims = given[0] if isinstance(given[0], (list, tuple)) else (given[0],)
        ones = tuple(d for d in dims if shape and shape[d] == 1)
        return replace(node, target=torch.ops.aten.squeeze.dims, args=(node.args[0], ones), kwargs={})

    def _add(self, node: Node, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            symbolic = [isinstance(s, torch.SymInt) for s in value.shape]
            node.shape = tuple(None if sym else int(s) for sym, s in zip(symbolic, value.shape, strict=True))
            node.dtype = value.dtype
            if None in node.shape:
                node.row_elements = -(-math.prod(_hint(s) for s in value.shape) // _hint(self.batch))
            if isinstance(self.batch, torch.SymInt):
                dims = [
                    i for i, s in enumerate(value.shape) if isinstance(s, torch.SymInt) and str(s) == str(self.batch)
                ]
            else:
                dims = [0] if value.dim() and node.name not in self.static and value.shape[0] == self.batch else []
            node.batch_dim = dims[0] if dims else None
        self.nodes[node.name] = node

    def _argument(self, value: Any, rename: dict[fx.Node, fx.Node]) -> Any:
        if isinstance(value, fx.Node):
            name = rename.get(value, value).name
            node = self.nodes.get(name)
            if node is not None and node.kind == "int_call" and self._is_batch_size(node.target, node.args):
                return BATCH
            return Ref(name)
        if isinstance(value, (list, tuple)):
            return type(value)(self._argument(v, rename) for v in value)
        if isinstance(value, dict):
            return {k: self._argument(v, rename) for k, v in value.items()}
        return value

    def _is_batch_size(self, target: Any, args: tuple) -> bool:
        if target is not torch.ops.aten.sym_size.int or not isinstance(args[0], Ref):
            return False
        node = self.nodes.get(args[0].name)
        return node is not None and node.batch_dim is not None and node.batch_dim == args[1]


def _hint(size: torch.SymInt | int) -> int:
    """The size it had in the example that was traced."""
    return size if isinstance(size, int) else int(size.node.hint)


def _is_continuous(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.dtype.is_floating_point or value.dtype.is_complex
    return isinstance(value, (list, tuple)) and any(_is_continuous(v) for v in value)


def _modules(fx_node: fx.Node) -> tuple[tuple[str, int], ...]:
    found = []
    for key, (path, _) in (fx_node.meta.get("nn_module_stack") or {}).items():
        if path == "_empty_nn_module_stack_from_metadata_hook":
            continue
        _, _, call = str(key).rpartition("@")
        found.append((path, int(call) if call.isdigit() and "@" in str(key) else 0))
    return tuple(found)


def _module_paths(graph: fx.Graph) -> set[str]:
    return {path for node in graph.nodes for path, _ in _modules(node)}


def _op_name(target: Any) -> str:
    schema = getattr(target, "_schema", None)
    return schema.name.replace("::", ".") if schema is not None else getattr(target, "__name__", str(target))


def _source(fx_node: fx.Node) -> str:
    """Innermost line outside torch of the recorded stack: file:line: text."""
    lines = (fx_node.meta.get("stack_trace") or "").splitlines()
    chosen = ""
    for i, line in enumerate(lines):
        text = line.strip()
        if not text.startswith("File "):
            continue
        path, _, rest = text[len("File ") :].partition(", line ")
        code = lines[i + 1].strip() if i + 1 < len(lines) and not lines[i + 1].strip().startswith("File ") else ""
        if "/torch/" in path and chosen:
            continue
        chosen = f"{path.strip(chr(34))}:{rest.partition(',')[0]}: {code}"
    return chosen
