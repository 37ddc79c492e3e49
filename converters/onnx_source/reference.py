"""The original of an ONNX source: the file in ONNX Runtime, between torch's preprocessing and numpy's pooling."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

from ...errors import ConversionError
from ..quiet import quiet
from .file import OnnxFile
from .taps import OnnxTap

Float32 = NDArray[np.float32]


class OnnxReference(nn.Module):
    """Raw samples to latents as the file computes them. Nothing of it goes into a bundle.

    Args:
        prepare: From raw samples to what the file takes.
        file: The file.
        taps: What of it is pooled, the cut last.
    """

    def __init__(self, prepare: nn.Module, file: OnnxFile, taps: Sequence[OnnxTap]) -> None:
        super().__init__()
        self.prepare = prepare
        self._taps, self._batch = tuple(taps), file.shape[0]
        self._session = open_session(_with_outputs(file, [tap.tensor for tap in taps]), file.name)
        self._input = self._session.get_inputs()[0].name

    def forward(self, raw: Tensor) -> Tensor:
        """Return the latents ``(n, d) float32`` of raw samples ``(n, *shape)``."""
        return torch.from_numpy(np.concatenate(self.parts(raw), axis=1))

    def parts(self, raw: Tensor) -> list[Float32]:
        """Return what the latents consist of, one ``(n, width) float32`` per tap, the cut last."""
        return self.pooled(self.tensors(raw))

    def pooled(self, tensors: Sequence[NDArray[Any]]) -> list[Float32]:
        """Pool the tensors at the taps over their positions."""
        found = []
        for tap, values in zip(self._taps, tensors, strict=True):
            others = tuple(i for i in range(1, values.ndim) if i != tap.axis)
            pool = np.max if tap.pool == "max" else np.mean
            found.append(np.asarray(pool(values, axis=others) if others else values, np.float32))
        return found

    def tensors(self, raw: Tensor) -> list[NDArray[Any]]:
        """Return the tensors themselves, ``(n, ...)`` each."""
        given = self.prepare(raw).numpy()
        n = len(given)
        size = self._batch or n
        # A file for one batch size is run on as many samples; the last batch is filled up with the last sample.
        rows = np.minimum(np.arange(-(-n // size) * size), n - 1).reshape(-1, size)
        names = [tap.tensor for tap in self._taps]
        runs = []
        for some in rows:
            try:
                with quiet():
                    runs.append(self._session.run(names, {self._input: np.ascontiguousarray(given[some])}))
            # ONNX Runtime's exceptions share no base class below Exception.
            except Exception as error:
                raise ConversionError(
                    f"expected the ONNX file to run on {given[some].shape} {given.dtype}, found: "
                    f"{str(error).strip()[:300]} Check the frame's size, its channels and `resize`."
                ) from error
        return [np.concatenate(parts)[:n] for parts in zip(*runs, strict=True)]


def open_session(content: bytes, name: str) -> onnxruntime.InferenceSession:
    """Load a file that was looked through.

    Raises:
        ConversionError: If the runtime does not take it.
    """
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, torch.get_num_threads())
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        with quiet():
            return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConversionError(
            f"{name}: expected a file that ONNX Runtime {onnxruntime.__version__} loads, found: "
            f"{str(error).strip()[:300]} Export the model again."
        ) from error


def _with_outputs(file: OnnxFile, tensors: Sequence[str]) -> bytes:
    model = onnx.load_from_string(file.content)
    if model.functions:
        # Inlined, their tensors have names of their own.
        model = onnx.ModelProto()
        model.CopyFrom(file.model)
    known = {value.name for value in model.graph.output}
    for name in dict.fromkeys(tensors):
        if name not in known:
            model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return bytes(model.SerializeToString())
