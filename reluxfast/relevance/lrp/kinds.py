"""What a node is to LRP, and which values can never be negative."""

from __future__ import annotations

from reluxfast.graph import Graph, Node
from reluxfast.graph.node import Ref, references

# Every element of the result is one element of an operand: relevance is carried along.
_CARRIES = set(
    "view _unsafe_view reshape flatten unflatten unsqueeze squeeze permute transpose t numpy_T movedim moveaxis "
    "swapaxes swapdims contiguous clone alias expand expand_as repeat repeat_interleave tile slice select narrow chunk "
    "split split_with_sizes unbind tensor_split unsafe_chunk unsafe_split index_select cat concat concatenate stack "
    "hstack vstack pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
    "replication_pad2d replication_pad3d roll flip rot90 pixel_shuffle pixel_unshuffle channel_shuffle "
    "native_channel_shuffle im2col "
    "diagonal to _to_copy type_as dropout feature_dropout alpha_dropout feature_alpha_dropout slice_scatter "
    "select_scatter diagonal_scatter lift_fresh_copy lift_fresh getitem copy".split()
)
_PICKS = set("index gather take_along_dim take masked_select".split())
# Multiples of an operand.
_SCALES = set("mul multiply div divide true_divide neg negative tril triu".split())
_PRODUCTS = set("mul multiply".split())
# With one operand that carries relevance, and a constant.
_SHIFTS = set("add sub subtract rsub".split())
# Sums of elements with weights that are not negative.
_AVERAGES = set(
    "mean sum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d upsample_nearest1d upsample_nearest2d upsample_nearest3d "
    "upsample_linear1d upsample_bilinear2d upsample_trilinear3d _upsample_nearest_exact1d _upsample_nearest_exact2d "
    "_upsample_nearest_exact3d cumsum col2im".split()
)
_OTHER_SUMS = set("add sub subtract rsub upsample_bicubic2d matmul mm bmm".split())
# Elements of an operand, chosen by their size.
_WINNERS = set(
    "max_pool1d max_pool2d max_pool3d amax amin max min adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d maximum minimum".split()
)
_THROUGH_ZERO = set(
    "tanh gelu silu elu selu celu mish leaky_relu prelu hardswish hardtanh hardshrink softshrink softsign rrelu clamp "
    "clamp_min clamp_max clip abs relu6 threshold".split()
)
_GATES = set("sigmoid hardsigmoid softmax _softmax tanh".split())
_ABOVE_ZERO = set("sigmoid softplus hardsigmoid exp softmax _softmax".split())


def short_name(node: Node) -> str:
    """The operation's name without its namespace."""
    return node.op.rpartition(".")[2]


def kind_of(node: Node) -> str:
    """`Layer.kind`; "other" where no LRP rule is known."""
    if node.kind in ("conv", "linear"):
        return "convolution" if node.kind == "conv" else "linear"
    if node.kind == "clamp":
        return "activation"
    if node.kind in ("batch_norm", "max_pool"):
        return node.kind
    if node.kind == "add":
        return "sum"
    short = short_name(node)
    if node.kind == "linear_call":
        if short in _SHIFTS and len(node.inputs) == 1 and _is_scaled(node, short):
            return "shift"
        if short in _CARRIES:
            return "carry"
        if short in _SCALES:
            return "scale"
        return "sum" if short in _AVERAGES | _OTHER_SUMS else "other"
    if node.kind == "call":
        if short in _PICKS:
            return "carry"
        if short in _SCALES and len(node.inputs) == 1 and _is_scaled(node, short):
            return "scale"
        if short in _PRODUCTS and len(node.inputs) == 2 and len(node.args) == 2:
            return "product"
        if short in _WINNERS:
            return "max_pool"
        if short in _THROUGH_ZERO | (_ABOVE_ZERO - {"softmax", "_softmax", "exp"}) and len(node.inputs) == 1:
            return "activation"
    return "other"


def _is_scaled(node: Node, short: str) -> bool:
    """Whether the one operand that carries relevance is multiplied, not squared or divided by."""
    operands = [a.name for a in node.args if isinstance(a, Ref)]
    divides_by_it = short in ("div", "divide", "true_divide") and operands[:1] != [node.inputs[0]]
    return operands.count(node.inputs[0]) == 1 and not divides_by_it and not node.kwargs.get("rounding_mode")


def signal_of(graph: Graph, product: Node) -> str | None:
    """The operand of a product that is no gate; None where nothing tells."""
    a, b = (graph.nodes[name] for name in product.inputs)
    gates = [_is_gate(graph, n) for n in (a, b)]
    if gates[0] != gates[1]:
        return b.name if gates[0] else a.name
    if a.row_elements != b.row_elements:
        return max(a, b, key=lambda n: n.row_elements).name
    return None


def _is_gate(graph: Graph, node: Node) -> bool:
    while kind_of(node) == "carry" and len(node.inputs) == 1:
        node = graph.nodes[node.inputs[0]]
    return short_name(node) in _GATES


def can_pass(node: Node) -> bool:
    """Whether relevance can be handed on unchanged here, if the value has the operand's shape."""
    if kind_of(node) == "other":
        return len(node.inputs) == 1 and node.shape is not None
    return kind_of(node) in ("activation", "batch_norm", "convolution", "linear", "shift")


def passes_zero(node: Node) -> bool:
    """Whether an activation is 0 at 0, so that its output is a multiple of its input."""
    if node.kind == "clamp":
        return node.attrs["lo"] <= 0 <= node.attrs["hi"]
    short = short_name(node)
    if short in ("clamp", "clip", "clamp_min", "clamp_max", "threshold"):
        return False
    return short in _THROUGH_ZERO


def not_negative(graph: Graph) -> frozenset[str]:
    """Values that no input can make negative, as far as the graph's operations alone prove it."""
    found: set[str] = set()
    for node in graph:
        if _is_not_negative(node, found):
            found.add(node.name)
    return frozenset(found)


def _is_not_negative(node: Node, known: set[str]) -> bool:
    if node.kind == "clamp":
        return node.attrs["lo"] >= 0 or (node.attrs["hi"] >= 0 and node.inputs[0] in known)
    short = short_name(node)
    if node.kind == "call" and short in _ABOVE_ZERO | {"abs"}:
        return True
    keeps_sign = (
        node.kind in ("max_pool", "add")
        or (node.kind == "linear_call" and short in _CARRIES | _AVERAGES)
        or (node.kind == "call" and short in _WINNERS)
    )
    if not keeps_sign or not node.inputs:
        return False
    # A constant among the operands (a concatenation, a padding value) may be negative.
    if any(n not in known for n in references(node)) or (short in ("pad", "constant_pad_nd") and len(node.args) > 2):
        return False
    return all(n in known for n in node.inputs)
