"""What stands in front of an ONNX network, inside its graph: the same as `preprocess`, as nodes of any opset."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor, nn

from ..graph_names import PREPROCESS
from ..preprocess import FramePreprocess, SamplePreprocess


class LastChannels(nn.Module):
    """Prepare frames for a network that takes channels last, as those of TensorFlow do.

    Args:
        prepare: What prepares them channels first.
    """

    def __init__(self, prepare: FramePreprocess) -> None:
        super().__init__()
        self.prepare = prepare

    def forward(self, frames: Tensor) -> Tensor:
        """Turn ``(n, height, width, channels) uint8`` into as much float32 of the size that the network takes."""
        prepared: Tensor = self.prepare(frames).permute(0, 2, 3, 1)
        return prepared


class AsTheyAre(nn.Module):
    """Hand on frames to a network that takes bytes."""

    def forward(self, frames: Tensor) -> Tensor:
        """Return the frames."""
        return frames


def preprocess_nodes(
    module: nn.Module, source: str, target: str
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Write a preprocessing module as nodes.

    Args:
        module: Of this file or of `preprocess`.
        source: Name of the raw input.
        target: Name of what the network takes.

    Returns:
        Nodes and their constants.
    """
    made = _Nodes(source)
    if isinstance(module, SamplePreprocess):
        made.constant("Mul", "scale", module.scale)
        made.constant("Add", "shift", module.shift)
    if isinstance(module, FramePreprocess | LastChannels):
        frames = module if isinstance(module, FramePreprocess) else module.prepare
        made.add("Cast", to=onnx.TensorProto.FLOAT)
        made.add("Transpose", perm=[0, 3, 1, 2])
        if frames.columns is not None:
            made.constant("MatMul", "columns", frames.columns.T)
        if frames.rows is not None:
            made.add("Transpose", perm=[0, 1, 3, 2])
            made.constant("MatMul", "rows", frames.rows.T)
            made.add("Transpose", perm=[0, 1, 3, 2])
        if frames.copies > 1:
            made.add("Concat", copies=frames.copies, axis=1)
        made.constant("Mul", "scale", frames.scale)
        made.constant("Add", "shift", frames.shift)
    if isinstance(module, LastChannels):
        made.add("Transpose", perm=[0, 2, 3, 1])
    made.add("Identity")
    made.nodes[-1].output[0] = target
    return made.nodes, made.constants


class _Nodes:
    """A chain of nodes, as it grows."""

    def __init__(self, source: str) -> None:
        self._at = source
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *given: str, copies: int = 1, **attributes: Any) -> None:
        name = f"{PREPROCESS}/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self._at] * copies + list(given), [name], name=name, **attributes))
        self._at = name

    def constant(self, kind: str, name: str, value: Tensor) -> None:
        array = np.ascontiguousarray(value.detach().numpy(), np.float32)
        self.constants.append(numpy_helper.from_array(array, f"{PREPROCESS}/{name}"))
        self.add(kind, f"{PREPROCESS}/{name}")
