"""Static 8-bit quantization of an exported backbone with ONNX Runtime's quantizer."""

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from ..errors import ConversionError
from .export_onnx import INPUT, OUTPUT, PREPROCESS
from .quiet import quiet

Calibration = Literal["minmax", "percentile"]
# Clip and Relu must be among them: left out, every convolution's output would be quantized before it is cut off.
OPERATORS = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul"),
    *("Relu", "Clip", "LeakyRelu", "Sigmoid", "Add", "Mul"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Split", "Slice", "Pad", "Resize"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"),
)
# The averages at the taps and their joining stay in float: one 8-bit scale for all taps together would be coarse.
_JOINING = {"Concat", "ReduceMean", "GlobalAveragePool", "AveragePool", "Flatten", "Reshape", "Squeeze", "Transpose"}
# The percentile method keeps every activation of every sample in memory.
_PERCENTILE_SAMPLES = 32


def quantize_onnx(
    model: bytes,
    calibration: NDArray[np.generic],
    *,
    method: Calibration = "minmax",
    percentile: float = 99.99,
    float_convolutions: int = 0,
    reduce_range: bool = False,
    batch: int = 8,
) -> bytes:
    """Quantize a backbone: weights to signed 8 bits per channel, activations to unsigned 8 bits.

    Preprocessing and the averages at the taps stay in float.

    Args:
        model: The ONNX file in float, as `export_onnx` makes it.
        calibration: ``(n, ...)`` raw input that shows the range of the activations.
        method: ``"minmax"`` for the whole range seen, ``"percentile"`` to cut off its rarest values; that uses the
            first 32 samples.
        percentile: Share of the values, in percent, that ``"percentile"`` keeps.
        float_convolutions: How many of the first convolutions stay in float.
        reduce_range: Use 7 bits for weights, for x86 processors whose 8-bit products saturate (no VNNI); less precise.
        batch: Calibration samples in memory at a time.

    Returns:
        The ONNX file with quantized weights.

    Raises:
        ConversionError: If the quantizer fails, or finds nothing to quantize.
    """
    if method == "percentile":
        calibration = calibration[:_PERCENTILE_SAMPLES]
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, prepared, target = (Path(folder) / name for name in ("float.onnx", "prepared.onnx", "int8.onnx"))
        source.write_bytes(model)
        try:
            # Its optimizer would rename nodes and fuse what the exporter has fused already.
            quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
            graph = onnx.load(prepared).graph
            first = [node.name for node in graph.node if node.op_type == "Conv"][:float_convolutions]
            quantize_static(
                prepared,
                target,
                _Reader(calibration, batch),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATORS),
                per_channel=True,
                reduce_range=reduce_range,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[*_outer_nodes(graph), *first],
                calibrate_method=CalibrationMethod.MinMax if method == "minmax" else CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": percentile} if method == "percentile" else {},
            )
        # The quantizer raises anything.
        except Exception as error:
            raise ConversionError(
                f"expected a model that ONNX Runtime can quantize, found {type(error).__name__}: {str(error)[:300]}. "
                f"Convert with quantize=False to see whether the float model works."
            ) from error
        content = target.read_bytes()
    if not any(
        tensor.data_type == onnx.TensorProto.INT8 for tensor in onnx.load_from_string(content).graph.initializer
    ):
        raise ConversionError(
            "expected a convolution or a linear layer to quantize in the backbone, found none. "
            "Convert with quantize=False."
        )
    return content


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the quantizer asks for a subclass of its own
    """Hands calibration data to the quantizer, a batch at a time."""

    def __init__(self, samples: NDArray[np.generic], batch: int) -> None:
        self._batches = (samples[i : i + batch] for i in range(0, len(samples), batch))

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, or None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: np.ascontiguousarray(batch)}


def _outer_nodes(graph: onnx.GraphProto) -> list[str]:
    outer = {node.name for node in graph.node if node.name.startswith(f"{PREPROCESS}/")}
    makers = {output: node for node in graph.node for output in node.output}
    takers = defaultdict(set)
    for node in graph.node:
        for name in node.input:
            takers[name].add(node.name)
    joining: set[str] = set()
    waiting = [OUTPUT]
    while waiting:
        maker = makers.get(waiting.pop())
        # An average that the network itself goes on from is no end.
        if maker is None or maker.op_type not in _JOINING or not takers[maker.output[0]] <= joining:
            continue
        joining.add(maker.name)
        waiting += maker.input
    return sorted(outer | joining)
