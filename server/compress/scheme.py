"""Which tensors ONNX Runtime holds in 8 bits when a model is quantized statically, told from a recording of one run.

Weights of convolutions and linear layers are signed, per channel; what goes into them and what comes out is unsigned,
per tensor. An activation that cuts off goes into the operation before it, so that only its result is rounded. What
moves values about keeps their scale. Everything else computes in float on rounded values. The head and the averages in
front of it stay in float: the device computes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import InputError
from .recording import INPUT, Operation, Recording

LINEAR = frozenset({"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"})
_CUTS = frozenset(
    {"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_max"}
)
_COMPUTES = frozenset(
    {
        *("leaky_relu", "leaky_relu_", "sigmoid", "sigmoid_", "silu", "cat", "concat", "concatenate"),
        *("add", "add_", "__add__", "__radd__", "__iadd__", "mul", "mul_", "__mul__", "__rmul__", "__imul__"),
        *("matmul", "__matmul__", "bmm"),
    }
)
_AVERAGES = frozenset({"avg_pool1d", "avg_pool2d", "avg_pool3d", "interpolate"})
_VIEWS = frozenset(
    {
        *("view", "reshape", "flatten", "permute", "transpose", "T", "mT", "squeeze", "unsqueeze"),
        *("contiguous", "clone", "dropout", "dropout1d", "dropout2d"),
    }
)
_MOVES = _VIEWS | {
    *("max_pool1d", "max_pool2d", "max_pool3d", "boolean_dispatch", "pad", "chunk", "split", "__getitem__"),
}
_JOINS = frozenset(
    {
        *("mean", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d"),
        *("flatten", "reshape", "view", "squeeze", "permute", "transpose", "dropout", "dropout1d", "dropout2d"),
        *("contiguous", "clone"),
    }
)
WHOLE = frozenset({"multi_head_attention_forward", "scaled_dot_product_attention", "lstm", "gru", "rnn_tanh"})


@dataclass(frozen=True)
class Site:
    """A tensor that is held in 8 bits.

    Args:
        name: Where it passes: ``"module"`` for what a module returns, ``"module:input"`` for what it takes; empty where
            no module takes or returns it, or only one that is called several times.
        limit: The value above which it was cut off; its range cannot go beyond.
    """

    name: str
    limit: float


@dataclass(frozen=True)
class Scheme:
    """What is held in 8 bits.

    Args:
        sites: The tensors, in the order of the run.
        places: For each operation the sites of what it returns, None for what stays as it is. An average that keeps
            the scale of its input has the site of that.
        weights: Operations whose weights are in 8 bits.
        sources: For each operation the site of the first tensor that it takes, None where that is not held.
        input: Site of the model's input, or None.
        head: Operation that is the head.
        kept: Operations that return what they are given: normalisations that were folded.
    """

    sites: tuple[Site, ...]
    places: tuple[tuple[int | None, ...], ...]
    weights: frozenset[int]
    sources: tuple[int | None, ...]
    input: int | None
    head: int
    kept: frozenset[int]


def find_scheme(recording: Recording, *, head: str | None = None, folded: Sequence[int] = ()) -> Scheme:
    """Find what is held in 8 bits.

    Args:
        recording: One run of the model, its normalisations folded.
        head: Name of the module that is the head; the last one with weights where None.
        folded: Operations that only shift the result of the layer before them, and are one with it.

    Returns:
        The scheme.

    Raises:
        InputError: If the model computes in one function what the simulation would have to see inside of, there is no
            such head, or nothing to quantize.
    """
    operations = recording.operations
    for operation in operations:
        if operation.kind in WHOLE:
            raise InputError(
                f"expected convolutions, linear layers and element-wise operations, found {operation.kind!r} in "
                f"{operation.module!r}, whose inside cannot be simulated. Convert with quantize='weights' instead."
            )
    last = _find_head(operations, head)
    outer = _outer(recording, last)
    held, scales, moved = _held(recording, {*outer, last}, frozenset(folded))
    weights = frozenset(i for i, one in enumerate(operations) if one.kind in LINEAR and i != last)
    if not weights:
        raise InputError("expected a convolution or a linear layer in front of the head, found none to quantize.")
    names, limits = _names(recording), {key: one.limit for one in operations for key in one.outputs}
    order = sorted(held)
    number = {key: i for i, key in enumerate(order)}
    places = tuple(
        tuple(number.get(key, number.get(scales[key]) if key in scales else None) for key in operation.outputs)
        for operation in operations
    )
    firsts = (one.inputs[0] if one.inputs else -1 for one in operations)
    resting = (moved.get(key, key) for key in firsts)
    sources = tuple(number.get(scales.get(key, key)) for key in resting)
    sites = tuple(Site(names.get(key, ""), limits.get(key, float("inf"))) for key in order)
    return Scheme(sites, places, weights, sources, number.get(INPUT), last, frozenset(folded))


def _find_head(operations: Sequence[Operation], name: str | None) -> int:
    found = [i for i, one in enumerate(operations) if one.kind in LINEAR and (name is None or one.module == name)]
    if not found:
        what = "a convolution or a linear layer" if name is None else f"a layer with weights named {name!r} as the head"
        raise InputError(f"expected {what} in the model, found none.")
    return found[-1]


def _outer(recording: Recording, head: int) -> set[int]:
    """Return the averages and views between the last activation and the head, which stay in float."""
    takers, makers = recording.takers(), recording.makers()
    outer, waiting = {head}, list(recording.operations[head].inputs)
    while waiting:
        maker = makers.get(waiting.pop())
        if maker is None or recording.operations[maker].kind not in _JOINS:
            continue
        if all(set(takers.get(key, ())) <= outer for key in recording.operations[maker].outputs):
            outer.add(maker)
            waiting += recording.operations[maker].inputs
    return outer - {head}


def _held(
    recording: Recording, outer: set[int], folded: frozenset[int]
) -> tuple[set[int], dict[int, int], dict[int, int]]:
    """Return the tensors that are rounded; for averages of them the one whose scale they share; what moved whence."""
    takers, makers = recording.takers(), recording.makers()
    held: set[int] = set()
    scales: dict[int, int] = {}
    moved: dict[int, int] = {}
    for number, operation in enumerate(recording.operations):
        kind = operation.kind
        # What only moved is on its scale already.
        inputs = [moved.get(key, key) for key in operation.inputs]
        if number in outer:
            continue
        if number in folded:
            held.discard(inputs[0])
            held |= set(operation.outputs)
        elif kind in LINEAR or kind in _COMPUTES:
            held |= {key for key in inputs if key not in scales} | set(operation.outputs)
        elif kind in _CUTS:
            if inputs[0] in held:
                maker = makers.get(inputs[0])
                if len(takers[operation.inputs[0]]) == 1 and maker is not None:
                    held.discard(inputs[0])
                held |= set(operation.outputs)
        elif kind in _MOVES:
            moved |= dict.fromkeys(operation.outputs, inputs[0])
        elif kind in _AVERAGES and (inputs[0] in held or inputs[0] in scales):
            scales |= dict.fromkeys(operation.outputs, scales.get(inputs[0], inputs[0]))
    return held, {key: source for key, source in scales.items() if key not in held}, moved


def _names(recording: Recording) -> dict[int, str]:
    """Return where each tensor passes: modules called once, inner ones first, results before inputs."""
    found: dict[int, str] = {}
    for suffix, passed in (("", recording.outputs), (":input", recording.inputs[::-1])):
        for name, key in passed:
            if name and recording.calls[name] == 1:
                found.setdefault(key, f"{name}{suffix}")
    # A view of a tensor has its values, and so its range.
    for operation in reversed(recording.operations):
        if operation.kind in _VIEWS and operation.inputs and operation.outputs[0] in found:
            found.setdefault(operation.inputs[0], found[operation.outputs[0]])
    return found
