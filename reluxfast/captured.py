"""A captured model that stays true to the model: weights are checked before every use, captures are kept weakly."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from functools import partial

import torch
from torch import nn

from reluxfast.affine import Split, perceptron, split
from reluxfast.coalitions.mlp import Perceptron
from reluxfast.coalitions.models import RowOrder
from reluxfast.errors import InvalidInput, ReluxfastError, UnsupportedNode
from reluxfast.graph import Graph, capture
from reluxfast.graph.structure import structure
from reluxfast.graph.twin import eval_twin, run_eagerly, unwrap
from reluxfast.graph.weights import Weights, lookup_on
from reluxfast.relevance.engine import Engine

PRECISIONS = ("float32", "float64")
# Input shapes remembered per model by the one-call functions.
_SHAPES_PER_MODEL = 8

Model = nn.Module | torch.export.ExportedProgram


class Captured:
    """What is known of one model for inputs of one shape. Holds the model weakly.

    Args:
        model: module or exported program.
        examples: tensors (N, ...) whose row shapes, dtypes and device are captured.
        precision: "float32" (float64 where the input is float64) or "float64".
        memory_budget: bytes, or None.
        explained: number of examples, from the first on, that are explained; the others, of any dtype, are context.
            None: all.
    """

    def __init__(
        self,
        model: Model,
        examples: tuple[torch.Tensor, ...],
        precision: str,
        memory_budget: int | None = None,
        explained: int | None = None,
    ):
        if precision not in PRECISIONS:
            raise InvalidInput("precision", f"must be one of {', '.join(PRECISIONS)}", repr(precision))
        whole = isinstance(memory_budget, int) and not isinstance(memory_budget, bool)
        if memory_budget is not None and (not whole or memory_budget <= 0):
            raise InvalidInput("memory_budget", "must be a positive number of bytes or None", memory_budget)
        described = [(tuple(x.shape[1:]), x.dtype, x.device) for x in examples]
        self.examples, self.context = described[:explained], [] if explained is None else described[explained:]
        self.memory_budget = memory_budget
        dtypes = [dtype for _, dtype, _ in self.examples if dtype.is_floating_point]
        if not dtypes and isinstance(model, nn.Module):
            dtypes = [p.dtype for p in model.parameters()]  # integers say nothing
        wide = precision == "float64" or torch.float64 in dtypes
        self.dtype = torch.float64 if wide else torch.float32
        self._model = weakref.ref(model)
        self._lookup = lookup_on(model)
        self._lock = threading.RLock()
        self._perceptron: tuple[Engine, Perceptron | None] | None = None
        self._split: tuple[Engine, Split | None] | None = None
        self._capture()

    @property
    def model(self) -> Model:
        """The explained model.

        Raises:
            ReluxfastError: it no longer exists.
        """
        model = self._model()
        if model is None:
            raise ReluxfastError("the explained model no longer exists; keep a reference to it")
        return model

    def engine(self) -> Engine:
        """The engine for the weights as they are now; captures or folds anew if the model has changed."""
        with self._lock:
            model = self.model
            changed = isinstance(model, nn.Module) and structure(model) != self._structure
            if changed or not self._engine.weights.fits(self._lookup):
                self._capture()
            elif not self._engine.weights.unchanged(self._lookup):
                self._engine = self._new_engine(self._engine.graph)
            return self._engine

    def refresh(self) -> None:
        """Captures the model anew."""
        with self._lock:
            self._capture()

    def twin_engine(self, dtype: torch.dtype) -> Engine:
        """Another engine of the same graph and weights that computes in `dtype`."""
        return self._twin(self.engine(), dtype)

    def _twin(self, engine: Engine, dtype: torch.dtype) -> Engine:
        return Engine(engine.graph, Weights(engine.graph, self._lookup, dtype), engine.device, self.memory_budget)

    def perceptron(self, engine: Engine) -> Perceptron | None:
        """The model as a multilayer perceptron, in the dtype it is computed in; None if it is none.

        Args:
            engine: of `engine()`, which has just looked at the weights.
        """
        with self._lock:
            if self._perceptron is None or self._perceptron[0] is not engine:
                self._perceptron = engine, perceptron(engine, lambda: self._twin(engine, torch.float64))
            return self._perceptron[1]

    def split(self, engine: Engine) -> Split | None:
        """The model cut behind the affine map it begins with; None if it does not, or for no gain. As `perceptron`."""
        with self._lock:
            if self._split is None or self._split[0] is not engine:
                self._split = engine, split(engine, lambda: self._twin(engine, torch.float64))
            return self._split[1]

    def row_order(self) -> RowOrder:
        """The order of elements in which rows of the one input are computed fastest."""
        (shape, _, _), *_ = self.examples
        return RowOrder(tuple(shape), len(shape) in (3, 4))

    def path_of(self, module: nn.Module) -> str | None:
        """Dotted path of a module of the model, None if it is none of its modules."""
        model = self.model
        if not isinstance(model, nn.Module):
            return None
        return next((path for path, found in model.named_modules() if found is module), None)

    def _capture(self) -> None:
        model = self.model
        self._structure = structure(model) if isinstance(model, nn.Module) else None
        with torch.inference_mode(False):
            described = (*self.examples, *self.context)
            inputs = tuple(torch.zeros((2, *shape), dtype=dtype, device=device) for shape, dtype, device in described)
            graph = capture(model, inputs, len(self.examples))
        if len(graph.inputs) != len(inputs):
            raise InvalidInput("x", f"must be {len(graph.inputs)} tensor(s), as the model takes", len(inputs))
        engine = self._new_engine(graph)
        self._check(model, engine)
        self._engine = engine

    def _check(self, model: Model, engine: Engine) -> None:
        described = (*self.examples, *self.context)
        rows = [(s, self.dtype if d.is_floating_point else d, device) for s, d, device in described]
        reference = None
        # Made-up rows tell something only in the dtypes that the model itself takes.
        as_taken = all(given[1] == used[1] for given, used in zip(described, rows, strict=True))
        if isinstance(model, nn.Module) and as_taken:
            reference = partial(run_eagerly, eval_twin(model))
        try:
            engine.check_rows(rows, reference)
        except UnsupportedNode:
            # Somebody may be training the model meanwhile: weights that stand still decide.
            still = engine.weights.copies()
            frozen = Engine(engine.graph, Weights(engine.graph, still.get, self.dtype), engine.device)
            frozen.check_rows(rows, None if reference is None else partial(reference, weights=still))

    def _new_engine(self, graph: Graph) -> Engine:
        weights = Weights(graph, self._lookup, self.dtype)
        return Engine(graph, weights, self.examples[0][2], self.memory_budget)


# By identity, not by equality: two models may compare equal. Entries go when the model does.
_captures: dict[int, tuple[weakref.ref, OrderedDict]] = {}
_captures_lock = threading.RLock()


def captured(model: Model, examples: tuple[torch.Tensor, ...], explained: int | None = None) -> Captured:
    """The capture of `model` for inputs shaped like `examples`; kept as long as the model lives.

    Args:
        model, examples, explained: as for `Captured`.
    """
    model = original(model)
    explained = len(examples) if explained is None else explained
    key = (explained, *((tuple(x.shape[1:]), x.dtype, x.device) for x in examples))
    with _captures_lock:
        known = _known(model)
        found = known.get(key)
    if found is None:
        found = Captured(model, examples, "float32", explained=explained)
        with _captures_lock:
            found = known.setdefault(key, found)
            while len(known) > _SHAPES_PER_MODEL:
                known.popitem(last=False)
    return found


def refresh(model: Model) -> None:
    """Forgets what is known of `model`: its next explanation captures it anew.

    Only for changes that leave no trace on the model (see `Explainer.refresh`).

    Args:
        model: nn.Module or exported program.
    """
    with _captures_lock:
        _known(original(model)).clear()


def _known(model: Model) -> OrderedDict:
    number = id(model)
    if number in _captures and _captures[number][0]() is model:
        return _captures[number][1]

    def forget(reference: weakref.ref) -> None:
        with _captures_lock:
            if number in _captures and _captures[number][0] is reference:
                del _captures[number]

    known: OrderedDict = OrderedDict()
    _captures[number] = (weakref.ref(model, forget), known)
    return known


def original(model: Model) -> Model:
    """The module that is explained when `model` is given (behind torch.compile, DataParallel)."""
    return model if isinstance(model, torch.export.ExportedProgram) else unwrap(model)
