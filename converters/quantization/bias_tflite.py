"""Bias correction in TFLite: as in ONNX (`bias_onnx`), on outputs that the activation has cut off already.

The interpreter shows what leaves a layer, its activation included. Where that cuts off a part of the values, the mean
of a channel moves by less than its bias does: by the share that is not cut off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quiet import quiet
from .bias_onnx import SHOWN, shifted
from .tflite_graph import BiasedLayer, biased_layers

# Between which values each fused activation passes on what it gets, by the schema's number.
_PASSED = {1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
_EVERYTHING = (-np.inf, np.inf)
# A channel that is almost always cut off tells little of its mean.
_LEAST_SHARE = 0.1


def correct_biases_tflite(float_model: bytes, content: bytes, samples: NDArray[np.generic]) -> bytes:
    """Shift the biases of a quantized backbone until the mean of every channel is that of the float one.

    Convolutions and linear layers with a bias of their own are corrected; others stay as they are.

    Args:
        float_model: The TFLite file in float.
        content: The same in 8 bits, some of its layers perhaps in float.
        samples: ``(n, ...)`` raw samples, of which the first 16 are used.

    Returns:
        The corrected file.

    References:
        Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", empirical variant.
    """
    from ai_edge_litert import schema_py_generated as schema

    # The quantizer adds operators between layers, and leaves their order.
    originals, layers = biased_layers(float_model), biased_layers(content)
    if len(originals) != len(layers):
        return content
    shown = samples[:SHOWN]
    wanted = _channels(
        float_model, {layer.output: _PASSED.get(layer.activation, _EVERYTHING) for layer in originals}, shown
    )
    patched = bytearray(content)
    root = schema.Model.GetRootAs(patched, 0)
    for original, layer in zip(originals, layers, strict=True):
        if layer.bias is None:
            continue
        found = _channels(bytes(patched), {layer.output: _EVERYTHING}, shown)[layer.output]
        expected = wanted[original.output]
        _shift(root, layer, (expected.mean - found.mean) / np.maximum(expected.passed, _LEAST_SHARE))
    return bytes(patched)


@dataclass(eq=False)
class _Channels:
    """The last dimension of a tensor: means, and the shares of values between two bounds."""

    mean: NDArray[np.float64]
    passed: NDArray[np.float64]


def _channels(
    content: bytes, watched: Mapping[int, tuple[float, float]], samples: NDArray[np.generic]
) -> dict[int, _Channels]:
    """Run a model and look at the channels of some tensors, given with bounds."""
    with quiet():
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    (taken,) = interpreter.get_input_details()
    rounding = {
        one["index"]: one["quantization"] for one in interpreter.get_tensor_details() if one["index"] in watched
    }
    found: dict[int, _Channels] = {}
    for i in range(len(samples)):
        interpreter.set_tensor(taken["index"], np.ascontiguousarray(samples[i : i + 1]))
        interpreter.invoke()
        for place, (low, high) in watched.items():
            values = _real(interpreter.get_tensor(place), rounding[place])
            rows = values.reshape(-1, values.shape[-1])
            mean, passed = rows.mean(axis=0, dtype=np.float64), ((rows > low) & (rows < high)).mean(axis=0)
            one = found.setdefault(place, _Channels(np.zeros_like(mean), np.zeros_like(passed)))
            one.mean += mean / len(samples)
            one.passed += passed / len(samples)
    return found


def _real(values: NDArray[Any], rounding: tuple[float, int]) -> NDArray[np.float32]:
    if values.dtype == np.float32:
        return values
    scale, zero = rounding
    return (values.astype(np.float32) - np.float32(zero)) * np.float32(scale)


def _shift(root: Any, layer: BiasedLayer, by: NDArray[np.float64]) -> None:
    """Change a bias where it stands in the file."""
    held = root.Buffers(layer.bias).DataAsNumpy().view(np.float32 if layer.scale is None else np.int32)
    held[:] = shifted(held, by, layer.scale)
