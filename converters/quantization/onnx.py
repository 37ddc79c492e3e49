"""Static 8-bit quantization of an exported backbone with ONNX Runtime's quantizer, and layers of it back in float."""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from ...errors import AcclimateError, ConversionError
from ..graph_names import INPUT, OUTPUT, PREPROCESS
from ..quiet import quiet
from .bias_onnx import correct_biases_onnx
from .calibration import PERCENTILE, WATCHED, Calibration, Range, find_ranges
from .onnx_layers import FloatLayers, Layer, find_layers
from .trained_ranges import TrainedRange, keep_trained

# Clip and Relu must be among them: left out, every convolution's output would be quantized before it is cut off.
OPERATORS = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul"),
    *("Relu", "Clip", "LeakyRelu", "Sigmoid", "Add", "Mul"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Split", "Slice", "Pad", "Resize"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"),
)
# Averages and maxima at the taps and their joining stay in float: one 8-bit scale for all taps would be coarse.
_JOINING = {
    *("Concat", "ReduceMean", "GlobalAveragePool", "AveragePool", "ReduceMax", "GlobalMaxPool"),
    *("Flatten", "Reshape", "Squeeze", "Transpose"),
}
_BATCH = 8


@dataclass(frozen=True, eq=False)
class QuantizedOnnx:
    """A backbone in float and in 8 bits, layer by layer (`sensitivity.Quantized`).

    Args:
        float_model: The model in float, prepared for the quantizer.
        int8_model: The same with every layer in 8 bits.
        shown: ``(n, ...)`` raw samples to correct biases by; None where training has got used to the rounding.
    """

    float_model: onnx.ModelProto
    int8_model: onnx.ModelProto
    shown: NDArray[np.generic] | None = None

    @cached_property
    def _layers(self) -> tuple[Layer, ...]:
        return find_layers(self.float_model.graph, self.int8_model.graph)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that are in 8 bits, in the order of the graph."""
        return tuple(layer.name for layer in self._layers)

    @property
    def convolutions(self) -> tuple[str, ...]:
        """Those of them that are convolutions."""
        kinds = {node.name: node.op_type for node in self.float_model.graph.node}
        return tuple(name for name in self.layers if kinds[name] == "Conv")

    @property
    def labels(self) -> tuple[str, ...]:
        """For each layer the name of its weights in the model, or of the node."""
        weights = {node.name: node.input[1] for node in self.float_model.graph.node if len(node.input) > 1}
        given = {tensor.name for tensor in self.float_model.graph.initializer if tensor.name.endswith(".weight")}
        found = (weights[name] if weights[name] in given else name for name in self.layers)
        return tuple(name.removeprefix("backbone.").removeprefix("model.").removesuffix(".weight") for name in found)

    def content(self, kept: Sequence[str] = ()) -> bytes:
        """Return the ONNX file with some layers in float."""
        if not kept:
            return bytes(self.int8_model.SerializeToString())
        chosen = [layer for layer in self._layers if layer.name in set(kept)]
        return FloatLayers(self.float_model, self.int8_model).restore(chosen)

    def corrected(self, content: bytes) -> bytes | None:
        """Return such a file with its biases corrected, or None where they are to stay as they are."""
        return None if self.shown is None else correct_biases_onnx(self.float_model, content, self.shown)


def prepare_onnx(
    model: bytes,
    calibration: NDArray[np.generic],
    *,
    method: Calibration = "minmax",
    percentile: float = PERCENTILE,
    reduce_range: bool = False,
    trained: Sequence[TrainedRange] = (),
) -> QuantizedOnnx:
    """Quantize a backbone: weights to signed 8 bits per channel, activations to unsigned 8 bits.

    Preprocessing and the averages at the taps stay in float.

    Args:
        model: The ONNX file in float, as `export_onnx` makes it.
        calibration: ``(n, ...)`` raw input that shows the range of the activations.
        method: See `find_ranges`; other than ``"minmax"`` uses the first 32 samples.
        percentile: See `find_ranges`.
        reduce_range: Use 7 bits for weights, for x86 processors whose 8-bit products saturate (no VNNI); less precise.
        trained: Ranges that training has chosen, which go before those of the method.

    Returns:
        The model, of which layers can be put back into float.

    Raises:
        ConversionError: If the quantizer fails, or finds nothing to quantize.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, prepared = (Path(folder) / name for name in ("float.onnx", "prepared.onnx"))
        source.write_bytes(model)
        try:
            # Its optimizer would rename nodes and fuse what the exporter has fused already.
            quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
            whole = onnx.load(prepared)
            outer = _outer_nodes(whole.graph)
            watched = _Activations(whole, outer, calibration if method == "minmax" else calibration[:WATCHED])
            ranges = find_ranges(watched.batches, method, percentile)
            if trained:
                ranges = keep_trained(ranges, _Activations(whole, outer, calibration[:WATCHED]).batches(), trained)
            quantized = onnx.ModelProto()
            quantized.CopyFrom(whole)
            quantizer = QDQQuantizer(
                quantized,
                per_channel=True,
                reduce_range=reduce_range,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QUInt8,
                tensors_range=_as_tensors_data(ranges),
                nodes_to_quantize=[],
                nodes_to_exclude=outer,
                op_types_to_quantize=list(OPERATORS),
                extra_options={},
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
            result = onnx.load_from_string(quantizer.model.model.SerializeToString())
        except AcclimateError:
            raise
        # The quantizer raises anything.
        except Exception as error:
            raise ConversionError(
                f"expected a model that ONNX Runtime can quantize, found {type(error).__name__}: {str(error)[:300]}. "
                f"Convert with quantize=False to see whether the float model works."
            ) from error
    if not any(tensor.data_type == onnx.TensorProto.INT8 for tensor in result.graph.initializer):
        raise ConversionError(
            "expected a convolution or a linear layer to quantize in the backbone, found none. "
            "Convert with quantize=False."
        )
    return QuantizedOnnx(whole, result, None if trained else calibration)


def quantize_onnx(
    model: bytes,
    calibration: NDArray[np.generic],
    *,
    method: Calibration = "minmax",
    percentile: float = PERCENTILE,
    float_convolutions: int = 0,
    reduce_range: bool = False,
) -> bytes:
    """Quantize a backbone as `prepare_onnx` does, the first convolutions left in float.

    Args:
        model: The ONNX file in float, as `export_onnx` makes it.
        calibration: ``(n, ...)`` raw input that shows the range of the activations.
        method: See `find_ranges`.
        percentile: See `find_ranges`.
        float_convolutions: How many of the first convolutions stay in float.
        reduce_range: Use 7 bits for weights.

    Returns:
        The ONNX file with quantized weights.

    Raises:
        ConversionError: If the quantizer fails, or finds nothing to quantize.
    """
    prepared = prepare_onnx(model, calibration, method=method, percentile=percentile, reduce_range=reduce_range)
    return prepared.content(prepared.convolutions[:float_convolutions])


class _Activations:
    """Runs a model and gives what the quantizer wants to know the range of."""

    def __init__(self, model: onnx.ModelProto, outer: Sequence[str], samples: NDArray[np.generic]) -> None:
        told = {value.name: value for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]}
        given = {tensor.name for tensor in model.graph.initializer}
        seen: dict[str, None] = {}
        for node in model.graph.node:
            if node.op_type in OPERATORS and node.name not in outer:
                for name in [*node.input, *node.output]:
                    value = told.get(name)
                    is_float = value is not None and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
                    if is_float and name not in given:
                        seen[name] = None
        self._names, self._samples = list(seen), samples
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        there = {value.name for value in [*watched.graph.input, *watched.graph.output]}
        watched.graph.output.extend(told[name] for name in self._names if name not in there)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(watched.SerializeToString(), options, ["CPUExecutionProvider"])

    def batches(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Give the activations by name, a batch of samples at a time."""
        if not self._names:
            return
        for i in range(0, len(self._samples), _BATCH):
            fed = {INPUT: np.ascontiguousarray(self._samples[i : i + _BATCH])}
            made = [name for name in self._names if name != INPUT]
            found = dict(zip(made, self._session.run(made, fed), strict=True))
            # A model without preprocessing takes 8 bits at its very input.
            yield {**found, INPUT: fed[INPUT]} if INPUT in self._names else found


def _as_tensors_data(ranges: dict[str, Range]) -> TensorsData:
    ends = {name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, ends)


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
