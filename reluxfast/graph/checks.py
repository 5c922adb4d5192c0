"""What a graph must not do: mix rows, change the batch, return anything but one tensor, draw random numbers."""

from __future__ import annotations

from typing import Any

from reluxfast.errors import UnsupportedNode
from reluxfast.graph.node import Graph, Node, Ref

_RANDOM = set(
    "bernoulli rand rand_like randn randn_like randint randint_like randperm normal multinomial rrelu uniform poisson "
    "cauchy exponential log_normal geometric random normal_functional rrelu_with_noise".split()
)
_DROPOUT = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout")
_EVAL_DROPOUT = "Pass training=self.training; export a program after model.eval()"
_BLOCKS = {
    "wrap_with_set_grad_enabled": ("a torch.no_grad block", "for values that are to have no gradient, use .detach()"),
    "wrap_with_autocast": ("an autocast block", "precision is the engine's own"),
    **dict.fromkeys(("cond", "map", "while_loop", "scan"), ("a control-flow block", "explain one branch as a model")),
}
# Operations that combine the entries along the dimensions they are given.
_ALONG = (
    "mean sum prod amax amin max min std var std_mean var_mean norm linalg_vector_norm logsumexp softmax _softmax "
    "log_softmax _log_softmax cumsum cumprod cummax sort topk median flip roll argmax argmin"
).split()


def refuse(node: Node, reason: str, remedy: str = "") -> UnsupportedNode:
    """The error for a node that is refused for every method."""
    return UnsupportedNode(node.op, reason, node.module_path, node.source, remedy=remedy)


def check_node(node: Node) -> None:
    """Refuses operations that no attribution method can stand for."""
    short = node.op.rpartition(".")[2]
    if short in _DROPOUT and _argument(node, "train", default=True):
        raise refuse(node, "dropout is active although the model is explained in eval mode", _EVAL_DROPOUT)
    if short.rstrip("_") in _RANDOM and not (short == "rrelu" and not _argument(node, "training", default=True)):
        raise refuse(node, "the model draws random numbers", "Draw them outside and pass them as an input")
    if short.startswith("as_strided"):
        raise refuse(
            node, "as_strided reads memory by address, and layouts here are not the model's", "Use view or slices"
        )
    if short == "scaled_dot_product_attention" and _argument(node, "dropout_p", default=0.0):
        raise refuse(node, "dropout is active although the model is explained in eval mode", "Pass dropout_p=0 in eval")
    if short == "batch_norm" and _argument(node, "training", default=False):
        raise refuse(
            node,
            "batch norm without running statistics mixes the rows of a batch",
            "Use track_running_stats=True and calibrate the statistics",
        )
    if short in _BLOCKS:
        block, instead = _BLOCKS[short]
        raise refuse(
            node,
            f"{block} hides how the output depends on the input",
            f"Take the block out of the forward pass; {instead}",
        )


def check_output(node: Node | None) -> None:
    """The output must be one floating-point tensor."""
    if node is None or node.shape is None:
        raise UnsupportedNode("output", "the model does not return a tensor", remedy="Return the tensor to explain")
    if node.dtype is None or not node.dtype.is_floating_point:
        raise refuse(node, f"the output has dtype {node.dtype}, which has no gradient", "Return the logits")


def check_batch(graph: Graph) -> None:
    """Every row of the output must belong to one row of the input."""
    for node in graph:
        if node.shape is None or not node.inputs:
            continue
        source = next((graph.nodes[n] for n in node.inputs if graph.nodes[n].batch_dim is not None), None)
        if source is None:
            continue
        mixes = _dims(node) & {source.batch_dim, source.batch_dim - len(source.shape or ())}
        whole = node.op.rpartition(".")[2] in _ALONG and not _dims(node) and not node.shape
        if (mixes and node.op.rpartition(".")[2] in _ALONG) or whole:
            raise refuse(
                node,
                "the operation mixes the rows of the batch, so a row has no attribution of its own",
                "Reduce over the other dimensions, or give the whole set as one row",
            )
    output = graph.nodes[graph.output]
    if output.batch_dim == 0:
        return
    for node in graph:
        if node.shape and node.inputs and None in node.shape and node.batch_dim is None:
            raise refuse(
                node,
                f"the batch changes its size here: rows of shape {tuple(graph.nodes[node.inputs[0]].shape[1:])} become "
                f"a tensor of shape {tuple('N*k' if s is None else s for s in node.shape)}, so an input row does not "
                "give one output row",
                "Flatten with x.flatten(1), and check the image size the model was built for",
            )
    if output.shape and None not in output.shape:
        raise refuse(
            output,
            f"capture lost the batch on the way: the output has the fixed shape {output.shape}",
            "Write into a copy (.clone()), not into views such as the items of unbind; take the batch from x.shape[0]",
        )
    raise refuse(output, f"the output of shape {output.shape} has no batch dimension in front")


def _argument(node: Node, name: str, default: Any) -> Any:
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return default
    for i, argument in enumerate(schema.arguments):
        if argument.name == name:
            if i < len(node.args):
                return node.args[i]
            return node.kwargs.get(name, argument.default_value)
    return default


def _dims(node: Node) -> set[int]:
    """Dimensions that an operation is given to work along."""
    for name in ("dim", "dims"):
        value = _argument(node, name, None)
        if value is None or isinstance(value, Ref):
            continue
        return {v for v in value if isinstance(v, int)} if isinstance(value, (list, tuple)) else {int(value)}
    return set()
