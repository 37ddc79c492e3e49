"""List the places where an ONNX network may be cut, with what each would cost a device."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx
from torch import nn

from ...errors import ConversionError, CutError
from ..splitting.cuts import TRAINING_BATCH, Cut
from ..splitting.examine import Taps
from ..tap_pooling import Pooling
from .batch import free_batch
from .blocks import block_cuts
from .file import OnnxFile
from .flow import Flow, numbers
from .graph import Network, attributes
from .head import find_onnx_head
from .latent import drawn_samples, head_input, latent_parts
from .tail import notes_on, untrained
from .taps import OnnxTap
from .weights import check_own, trained_uses

_FLOAT = 4
# What only gives values another shape or place keeps nothing of them.
_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout", "Expand", "Slice", "Split")


def list_onnx_cuts(
    file: OnnxFile, shape: Sequence[int], taps: Taps = "all", pooling: Pooling = "mean"
) -> tuple[Cut, ...]:
    """Find the tensors in front of the blocks of a file, from the head backwards.

    Args:
        file: The file.
        shape: Shape of one sample as the file takes it.
        taps: As for `split_onnx`. A bundle keeps them all beside the map, those behind the cut too.
        pooling: Likewise.

    Returns:
        The cuts, the head's input the first, as far back as everything behind them can be trained.

    Raises:
        CutError: If the file has no head.
        ConversionError: If it takes samples of another shape, or does not run.
        InputError: If there is no map to take maxima of.
    """
    wanted = file.shape[1:]
    if len(wanted) != len(shape) or any(a not in (None, b) for a, b in zip(wanted, shape, strict=True)):
        raise ConversionError(f"expected samples {wanted}, as {file.name} takes them, found {tuple(shape)}.")
    network = Network(free_batch(file.model, tuple(shape)), 2)
    head = find_onnx_head(network, file.name)
    end = head_input(network, head, file)
    flow = Flow(network)
    kept = latent_parts(network, file, end, nn.Identity(), drawn_samples(file, shape), taps, pooling)
    latent = sum(part.width for part in kept)
    path = flow.between(network.source, end.tensor)
    classes, width = head.weight.shape
    # Weights in 8 bits do not train.
    cuts = block_cuts(flow, end)[: 1 if file.quantized else None]
    cuts = [cut for cut in cuts if not untrained(flow.between(cut.tensor, end.tensor))]
    whole = _Cost.of(network, path)
    own = _Cost(classes * width + classes, classes * width, classes)
    return tuple(_measure(network, flow, file, cut, i, latent, end, own, whole) for i, cut in enumerate(cuts))


@dataclass(frozen=True)
class _Cost:
    """What a part of a network costs.

    Args:
        parameters: Numbers that train.
        products: Multiply-adds of a forward pass for one sample.
        kept: Numbers that backpropagation roughly keeps of one sample.
    """

    parameters: int
    products: int
    kept: int

    @classmethod
    def of(cls, network: Network, nodes: Sequence[onnx.NodeProto]) -> "_Cost":
        uses = trained_uses(network, nodes)
        by_output = {node.output[0]: node for node in nodes}
        sizes = {name: _size(network, by_output[use.node].input[use.place]) for use, name in uses.items()}
        kept = sum(_numbers(network, node.output[:1]) for node in nodes if node.op_type not in _VIEWS)
        return cls(sum(sizes.values()), sum(_products(network, node) for node in nodes), kept)

    def plus(self, other: "_Cost") -> "_Cost":
        """Return the sum."""
        return _Cost(self.parameters + other.parameters, self.products + other.products, self.kept + other.kept)


def _measure(
    network: Network,
    flow: Flow,
    file: OnnxFile,
    cut: OnnxTap,
    blocks: int,
    latent: int,
    end: OnnxTap,
    own: _Cost,
    whole: _Cost,
) -> Cut:
    behind = flow.between(cut.tensor, end.tensor)
    front = flow.between(network.source, cut.tensor)
    cost, all_ = _Cost.of(network, behind).plus(own), whole.plus(own)
    try:
        check_own(network, front, behind, cut.label, file.name)
        shared: tuple[str, ...] = ()
    except CutError as error:
        shared = (str(error).split(" share ")[-1].split(",")[0].strip("'"),)
    return Cut(
        name=cut.label,
        blocks=blocks,
        map_shape=cut.shape,
        latent_bytes=latent + (math.prod(cut.shape) if blocks else 0),
        parameters=cost.parameters,
        parameter_share=cost.parameters / max(1, all_.parameters),
        multiply_adds=cost.products,
        compute_share=cost.products / max(1, all_.products),
        activation_bytes=TRAINING_BATCH * _FLOAT * cost.kept,
        activation_share=cost.kept / max(1, all_.kept),
        shared=shared,
        notes=notes_on(behind),
    )


def _products(network: Network, node: onnx.NodeProto) -> int:
    out = _numbers(network, node.output[:1])
    if node.op_type == "Conv":
        return out * math.prod(length or 1 for length in network.shapes.get(node.input[1], ())[1:])
    if node.op_type in ("Gemm", "MatMul"):
        shape = network.shapes.get(node.input[0], ())
        return out * (shape[0 if attributes(node).get("transA", 0) else -1] or 1) if shape else 0
    return 0


def _numbers(network: Network, tensors: Iterable[str]) -> int:
    return sum(numbers(network.shapes[name]) for name in tensors if name in network.shapes)


def _size(network: Network, name: str) -> int:
    value = network.constant(name)
    return 0 if value is None else int(value.size)
