"""Records the elementary operations of one row's forward pass."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode

from tests.oracles.lrp.node import WEIGHTED, Node
from tests.oracles.lrp.operations import CARRIES, describe
from tests.oracles.lrp.provenance import Provenance


@dataclass(frozen=True)
class Tape:
    """A recorded forward pass: nodes in execution order; `*_cells` are ids of elements, `count` the largest id."""

    nodes: tuple[Node, ...]
    input_cells: tuple[Tensor, ...]
    output: Tensor
    output_cells: Tensor
    count: int


def record(model: nn.Module, row: tuple[Tensor, ...], fold: bool = True) -> Tape:
    """Runs a float64 copy of `model` in eval mode on one row (batch size 1); the model itself is not touched.

    `fold`: batch norms that are the single reader of a convolution, or of a linear map over features, are folded.
    """
    if any(v.shape[0] != 1 for v in row):
        raise ValueError(f"one row at a time, got shapes {[tuple(v.shape) for v in row]}")
    model = copy.deepcopy(model).double().eval().requires_grad_(False)
    # Inference mode shows operations as they were called: linear stays linear, a batch norm one operation.
    with torch.inference_mode():
        values = tuple(v.detach().double().clone() for v in row)
        recorder = _Recorder(model)
        input_cells = tuple(recorder.provenance.create(v) for v in values)
        with recorder.paths(), recorder:
            output = model(*values)
        output_cells = recorder.provenance.cells(output)
        nodes = _folded(recorder.nodes, output_cells) if fold else recorder.nodes
        _number(nodes)
        return Tape(tuple(nodes), input_cells, output.clone(), output_cells, recorder.provenance.count)


class _Paths:
    """Keeps the path of the innermost running module."""

    def __init__(self, model: nn.Module) -> None:
        self.names = {id(m): name for name, m in reversed(list(model.named_modules(remove_duplicate=False)))}
        self.stack: list[str] = [""]

    def __enter__(self) -> None:
        self.handles = (
            hooks.register_module_forward_pre_hook(self._entered),
            hooks.register_module_forward_hook(self._left),
        )

    def _entered(self, module: nn.Module, args: tuple) -> None:
        self.stack.append(self.names.get(id(module), "?"))

    def _left(self, module: nn.Module, args: tuple, result: object) -> None:
        self.stack.pop()

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()


class _Recorder(TorchDispatchMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.provenance, self.nodes, self._paths = Provenance(), [], _Paths(model)

    def paths(self) -> _Paths:
        return self._paths

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, p = kwargs or {}, self.provenance
        tensors = [v for v in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
        name = func.overloadpacket.__name__
        shapes_only = name.endswith("_like") or name.startswith("new_")
        if shapes_only or not any(p.is_data(v) for v in tensors):
            result = func(*args, **kwargs)
            if func._schema.is_mutable and p.known(args[0]):
                p.shadow(args[0]).zero_()
            return result
        if name == "copy_":
            p.shadow(args[0]).copy_(p.cells(args[1]))
            return func(*args, **kwargs)
        if name in ("zero_", "fill_"):
            p.shadow(args[0]).zero_()
            return func(*args, **kwargs)
        ids = {id(v): p.shadow(v).clone() for v in tensors if p.known(v)}
        before = {id(v): v.clone() for v in tensors if p.known(v)}
        storages = {v.untyped_storage().data_ptr() for v in tensors}
        result = func(*args, **kwargs)
        first = result[0] if isinstance(result, (tuple, list)) else result
        written = func._schema.is_mutable
        if not written and first.untyped_storage().data_ptr() in storages:
            return result  # a view: its shadow is the shadow of what it looks at
        if name in CARRIES and first.is_floating_point():
            p.shadow(result).copy_(_on_ids(name, func, args, kwargs, ids))
            return result
        self._node(name[:-1] if written else name, func, args, kwargs, result, ids, before)
        return result

    def _node(self, name, func, args, kwargs, result, ids, before) -> None:
        kept = {id(v): k for k, v in before.items()}

        def is_data(v: object) -> bool:
            return isinstance(v, Tensor) and id(v) in kept and bool(ids[kept[id(v)]].any())

        old_args, old_kwargs = torch.utils._pytree.tree_map_only(
            Tensor, lambda v: before.get(id(v), v), (tuple(args), dict(kwargs))
        )
        found = describe(name, func, old_args, old_kwargs, is_data)
        cells = [
            ids[kept[id(v)]].long() if id(v) in kept else torch.zeros_like(v, dtype=torch.int64) for v in found.inputs
        ]
        outputs = [v for v in torch.utils._pytree.tree_leaves(result) if isinstance(v, Tensor)]
        if found.kind != "other" or len(outputs) == 1:
            ids_out = self.provenance.create(outputs[0])
            value = outputs[0].clone()
        else:
            parts = [self.provenance.create(v).flatten() for v in outputs]
            ids_out, value = torch.cat(parts), torch.cat([v.flatten().double() for v in outputs])
        path = self._paths.stack[-1]
        self.nodes.append(
            Node(
                name,
                found.kind,
                path,
                tuple(found.inputs),
                tuple(cells),
                value,
                ids_out,
                found.function,
                **found.fields,
            )
        )


def _on_ids(name: str, func, args, kwargs, ids: dict[int, Tensor]) -> Tensor:
    """The copying operation run on ids; constants count as 0, padding too."""

    def swap(v: Tensor) -> Tensor:
        return ids.get(id(v), torch.zeros(v.shape, dtype=torch.float64) if v.is_floating_point() else v)

    args, kwargs = torch.utils._pytree.tree_map_only(Tensor, swap, (tuple(args), dict(kwargs)))
    if name == "constant_pad_nd":
        args, kwargs = args[:2], {}
    elif name == "pad" and (args[2] if len(args) > 2 else kwargs.get("mode", "constant")) == "constant":
        args, kwargs = args[:2], {}
    return func(*args, **kwargs)


def _folded(nodes: list[Node], output_cells: Tensor) -> list[Node]:
    """Folds each batch norm into the map in front of it where it is that map's only reader."""
    nodes = list(nodes)
    for norm in [n for n in nodes if n.kind == "batch_norm"]:
        sources = [n for n in nodes if n.kind in WEIGHTED and n.folded is None]
        source = next((n for n in sources if torch.equal(n.output_cells, norm.cells[0])), None)
        if source is None or (source.kind == "linear" and source.output.dim() != 2):
            continue
        read = [torch.isin(source.output_cells, c).any() for n in nodes if n is not norm for c in n.cells]
        if any(read) or torch.isin(source.output_cells, output_cells).any():
            continue
        nodes[nodes.index(source)] = _fold(source, norm)
        nodes.remove(norm)
    return nodes


def _fold(source: Node, norm: Node) -> Node:
    """`k (W x + b - mean) + β` as one map."""
    bias = torch.zeros_like(source.output) if source.bias is None else source.bias
    return replace(
        source,
        output=norm.output,
        output_cells=norm.output_cells,
        linear=lambda v: norm.linear(source.linear(v)),
        bias=norm.function(bias),
        function=lambda v: norm.function(source.function(v)),
        folded=norm.path,
    )


def _number(nodes: list[Node]) -> None:
    calls: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        node.call = calls[node.path, node.op]
        calls[node.path, node.op] += 1
    for flag, kinds in (("first", WEIGHTED), ("first_convolution", ("convolution",))):
        found = next((n for n in nodes if n.kind in kinds), None)
        if found is not None:
            setattr(found, flag, True)
