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
    if isinstance(model, torch.export.ExportedProgram):
        state = {**model.constants, **model.state_dict}
        return state.get
    reference = weakref.ref(model)

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


class Weights:
    """The static values of a graph in the dtype the engine computes in.

    Args:
        graph: the captured graph.
        lookup: see `lookup_on`.
        dtype: floating-point dtype of every static value.
    """

    def __init__(self, graph: Graph, lookup: Lookup, dtype: torch.dtype):
        self.graph, self.dtype = graph, dtype
        self._values: dict[str, torch.Tensor] = {}
        self._tensors = {n.path: t for n in graph if n.kind == "param" and (t := lookup(n.path)) is not None}
        self._marks = {path: _mark(t) for path, t in self._tensors.items()}
        self._samples = _samples(self._tensors.values())

    def __getitem__(self, name: str) -> torch.Tensor:
        """Static value `name`, detached, in `dtype` if floating-point."""
        if name not in self._values:
            self._values[name] = self._evaluate(self.graph.nodes[name])
        return self._values[name]

    def unchanged(self, lookup: Lookup) -> bool:
        """Whether every parameter is still the tensor, and has the values, that were read.

        Replaced tensors, optimizer steps, `load_state_dict` and other in-place changes are noticed by identity and
        version; changes through `.data` or shared memory by comparing values (samples of tensors above 16384 elements).
        """
        for path, tensor in self._tensors.items():
            now = lookup(path)
            if now is not tensor or _mark(now) != self._marks[path]:
                return False
        now = _samples(self._tensors.values())
        return len(now) == len(self._samples) and all(
            torch.equal(a, b) for a, b in zip(now, self._samples, strict=True)
        )

    def fits(self, lookup: Lookup) -> bool:
        """Whether the parameters that are there now have the shapes, dtypes and devices of the captured ones."""
        for path, tensor in self._tensors.items():
            now = lookup(path)
            if now is None or (now.shape, now.dtype, now.device) != (tensor.shape, tensor.dtype, tensor.device):
                return False
        return True

    def _evaluate(self, node: Node) -> torch.Tensor:
        if node.kind == "param":
            value = self._tensors.get(node.path, node.value)
        elif node.kind == "constant":
            value = node.value
        else:

            def lookup(ref: Ref) -> torch.Tensor:
                return self[ref.name]

            with torch.no_grad():
                args, kwargs = in_dtype((node.args, node.kwargs), self.dtype)
                return node.target(*substitute(args, lookup), **substitute(kwargs, lookup))
        # Inference tensors cannot take part in the exact VJPs of nodes without a rule.
        value = value.clone() if value.is_inference() else value.detach()
        return value.to(self.dtype) if value.is_floating_point() else value


def _mark(tensor: torch.Tensor) -> tuple:
    version = 0 if tensor.is_inference() else tensor._version
    return id(tensor), version, tensor.data_ptr(), tensor.shape, tensor.dtype


def _samples(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Copies of spread elements of all tensors as bit patterns, one tensor per device and element size."""
    groups: dict[tuple, list[torch.Tensor]] = {}
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        if flat.numel() > _WHOLE:
            flat = flat[:: flat.numel() // _SAMPLES]
        if flat.element_size() in bits and not flat.is_complex():
            groups.setdefault((flat.device, flat.element_size()), []).append(flat.view(bits[flat.element_size()]))
    return [torch.cat(group) for group in groups.values()]
