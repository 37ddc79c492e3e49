"""The tail of a Keras model: what lies behind the cut in the exported ONNX file, compiled in the converting process.

Maps have Keras's axes, channels last, in both formats; the tail turns them first.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from ...errors import ConversionError
from ...manifest import Runtime
from ..graph_names import MAP, OUTPUT
from ..mapped import Mapped
from ..mapped_samples import mapped_samples
from ..onnx_source.flow import Flow
from ..onnx_source.graph import Network, drop_unused, inline_constants
from ..onnx_source.head import OnnxHead
from ..onnx_source.operation import BATCHES
from ..onnx_source.tail import build_tail, tail_at
from ..onnx_source.taps import OnnxTap
from ..original import ExportedFiles
from ..tail_arguments import Train
from ..tail_plan import TailPlan, compile_plan
from ..training.objective import Penalty
from ..training.optimiser import Optimiser
from .parts import KerasParts
from .request import FEATURES, MAPS, Answer, exported

Float32 = NDArray[np.float32]
_FILE = "the Keras model"


def plan_keras_tail(
    folder: Path,
    answer: Answer,
    parts: KerasParts,
    samples: NDArray[np.generic],
    *,
    train: Train = "all",
    optimiser: Optimiser = "sgd",
    penalty: Penalty = "l2sp",
    runtimes: Sequence[Runtime] = ("onnx",),
) -> TailPlan:
    """Compile the tail that TensorFlow's process has cut.

    Args:
        folder: Holds what that process has left: exported files and maps.
        answer: Its answer.
        parts: Taps, cut and head.
        samples: ``(n, *shape)`` raw samples, at least three.
        train: As for `convert`.
        optimiser: Likewise.
        penalty: Likewise.
        runtimes: What is converted for.

    Returns:
        The tail. Its `mapped` holds the backbones that give maps.

    Raises:
        CutError: If both sides of the cut share weights.
        ConversionError: If the tail cannot be trained ahead.
        InputError: If `train` fits nothing.
        ParityError: If the compiled tail does not compute what PyTorch does.
    """
    maps: Float32 = np.load(folder / MAPS, allow_pickle=False)
    model = onnx.load_from_string(exported(folder, "onnx", mapped=True).read_bytes())
    files: dict[Runtime, bytes] = {"onnx": _backbone(model)}
    if "tflite" in runtimes:
        from ..tflite_batch import free_batch
        from ..tflite_map import latent_first, part_map

        content = free_batch(exported(folder, "tflite", mapped=True).read_bytes(), answer.batch)
        files["tflite"] = part_map(latent_first(content, parts.taps[-1].offset + parts.taps[-1].width))
    inline_constants(model.graph)
    network = Network(model, BATCHES[0])
    flow = Flow(network)
    end = _end(network, parts)
    head = OnnxHead(end.tensor, parts.weight, parts.bias, parts.cut, f"the head takes {parts.cut}")
    tensor, turn = _cut(flow, end.tensor)
    # Its own axes; those of a map are Keras's.
    cut = OnnxTap(tensor, 1, flow.sample(tensor), answer.cut)
    tail = build_tail(tail_at(flow, _FILE, head, end, cut), samples[: BATCHES[-1]], turn)
    shape = tuple(maps.shape[1:])
    mapped = Mapped(ExportedFiles(files), answer.cut, shape, len(shape), mapped_samples(samples), maps)
    return compile_plan(tail, mapped, train=train, optimiser=optimiser, penalty=penalty, runtimes=runtimes)


def _backbone(model: onnx.ModelProto) -> bytes:
    """Return the file without what goes into the head as an output of its own."""
    backbone = onnx.ModelProto()
    backbone.CopyFrom(model)
    kept = [value for value in backbone.graph.output if value.name in (OUTPUT, MAP)]
    del backbone.graph.output[:]
    backbone.graph.output.extend(kept)
    drop_unused(backbone)
    return bytes(backbone.SerializeToString())


def _end(network: Network, parts: KerasParts) -> OnnxTap:
    given = {value.name for value in network.model.graph.output}
    # Where the latent is nothing but what goes into the head, that is no output of its own.
    name = FEATURES if FEATURES in given else OUTPUT
    return OnnxTap(name, 1, (parts.weight.shape[1],), parts.cut)


def _cut(flow: Flow, end: str) -> tuple[str, tuple[int, ...]]:
    """Return the tensor that the network goes on from at the cut, and the order of a map's axes that makes it."""
    at, order = MAP, list(range(len(flow.network.shapes[MAP])))
    while flow.passing(at, end) is not None:
        node = flow.network.makers.get(at)
        if node is None or node.op_type not in ("Identity", "Transpose"):
            raise ConversionError(
                "expected an export that goes on from the map at the cut, found that tf2onnx computes what lies behind "
                "it in another way. Cut elsewhere, or convert without a tail."
            )
        if node.op_type == "Transpose":
            turned = next(list(entry.ints) for entry in node.attribute if entry.name == "perm")
            order = [turned[axis] for axis in order]
        at = node.input[0]
    turn = tuple(int(axis) for axis in np.argsort(order))
    return at, () if turn == tuple(range(len(turn))) else turn
