"""Parameters of the explained model: read when needed, compared before every use, never copied into the graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable

import torch
from torch import nn

from reluxfast.graph.node import Graph, Node, Ref, in_dtype, substitute

# Tensors up to this many elements are compared whole, larger ones by evenly spread samples of about `_SAMPLES`.
_WHOLE = 16384
_SAMPLES = 256

Lookup = Callable[[str], "torch.Tensor | None"]


def lookup_on(model: nn.Module | torch.export.ExportedProgram) -> Lookup:
    """Function path -> tensor on `model` as it is now (None if it is gone). Holds the model weakly."""
    reference = weakref.ref(model)
    if isinstance(model, torch.export.ExportedProgram):
        return lambda path: None if (program := reference()) is None else _in_program(program, path)

    def find(path: str) -> torch.Tensor | None:
        module = reference()
        *parents, leaf = path.split(".")
        for name in parents:
            module = None if module is None else module._modules.get(name)
        if module is None:
            return None
        found = module._parameters.get(leaf)
        if found is None:
            found = module._buffers.get(leaf)
        return found

    return find


def _in_program(program: torch.export.ExportedProgram, path: str) -> torch.Tensor | None:
    found = program.state_dict.get(path)
    return program.constants.get(path) if found is None else found


class Weights:
    """The static values of a graph in the dtype the engine computes in.

    Args:
        graph: the captured graph.
        lookup: see `lookup_on`.
        dtype: floating-point dtype of every static value.
        live: whether values keep their history, so that gradients reach the parameters.
    """

    def __init__(self, graph: Graph, lookup: Lookup, dtype: torch.dtype, live: bool = False):
        self.graph, self.dtype, self.live = graph, dtype, live
        self._values: dict[str, torch.Tensor] = {}
        self._tensors = {n.path: t for n in graph if n.kind == "param" and (t := lookup(n.path)) is not None}
        self._marks = {path: _mark(t) for path, t in self._tensors.items()}
        self._spread = _spread(t for t in self._tensors.values() if _is_dense(t))
        self._samples = [torch.cat(group) for group in self._spread]
        self._scattered = [(t, t.detach().clone()) for t in self._tensors.values() if not _is_dense(t)]

    def __getitem__(self, name: str) -> torch.Tensor:
        """Static value `name`, detached unless live, in `dtype` if floating-point."""
        if name not in self._values:
            self._values[name] = self._evaluate(self.graph.nodes[name])
        return self._values[name]

    def with_history(self) -> Weights:
        """The same values, through which gradients reach the parameters."""
        return Weights(self.graph, self._tensors.get, self.dtype, live=True)

    def unchanged(self, lookup: Lookup) -> bool:
        """Whether every parameter is still the tensor, and has the values, that were read.

        Replaced tensors, optimizer steps, `load_state_dict` and other in-place changes are noticed by identity and
        version; changes through `.data` or shared memory by comparing values (samples of tensors above 16384 elements).
        """
        for path, tensor in self._tensors.items():
            now = lookup(path)
            if now is not tensor or _mark(now) != self._marks[path]:
                return False
        return all(torch.equal(t.detach(), copy) for t, copy in self._scattered) and all(
            torch.equal(torch.cat(group), sample) for group, sample in zip(self._spread, self._samples, strict=True)
        )

    def fits(self, lookup: Lookup) -> bool:
        """Whether the parameters that are there now have the shapes, dtypes and devices of the captured ones."""
        for path, tensor in self._tensors.items():
            now = lookup(path)
            if now is None or (now.shape, now.dtype, now.device) != (tensor.shape, tensor.dtype, tensor.device):
                return False
        return True

    def copies(self) -> dict[str, torch.Tensor]:
        """Path -> copy of every parameter as it is now; tied ones share one copy."""
        found: dict[int, torch.Tensor] = {}
        for tensor in self._tensors.values():
            if id(tensor) not in found:
                found[id(tensor)] = tensor.detach().clone()
        return {path: found[id(tensor)] for path, tensor in self._tensors.items()}

    def _evaluate(self, node: Node) -> torch.Tensor:
        if node.kind == "param":
            value = self._tensors.get(node.path, node.value)
        elif node.kind == "constant":
            value = node.value
        else:

            def lookup(ref: Ref) -> torch.Tensor:
                return self[ref.name]

            with torch.set_grad_enabled(self.live):
                args, kwargs = in_dtype((node.args, node.kwargs), self.dtype)
                return node.target(*substitute(args, lookup), **substitute(kwargs, lookup))
        # Inference tensors cannot take part in the exact VJPs of nodes without a rule.
        value = value.clone() if value.is_inference() else value if self.live else value.detach()
        return value.to(self.dtype) if value.is_floating_point() else value


def _mark(tensor: torch.Tensor) -> tuple:
    version = 0 if tensor.is_inference() else tensor._version
    return id(tensor), version, tensor.data_ptr(), tensor.shape, tensor.dtype


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether its elements fill one piece of memory, in whatever order."""
    return tensor.permute(sorted(range(tensor.dim()), key=lambda d: -tensor.stride(d))).is_contiguous()


def _spread(tensors: Iterable[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Views of spread elements of dense tensors as bit patterns, one group per device and element size."""
    groups: dict[tuple, list[torch.Tensor]] = {}
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    for tensor in tensors:
        flat = tensor.detach().as_strided((tensor.numel(),), (1,))
        if flat.numel() > _WHOLE:
            flat = flat[:: flat.numel() // _SAMPLES]
        if flat.element_size() in bits and not flat.is_complex():
            groups.setdefault((flat.device, flat.element_size()), []).append(flat.view(bits[flat.element_size()]))
    return list(groups.values())
