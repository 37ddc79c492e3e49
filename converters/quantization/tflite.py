"""Static 8-bit quantization of an exported backbone with AI Edge Quantizer, and layers of it back in float."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AcclimateError, ConversionError
from ..quiet import quiet
from .bias_tflite import correct_biases_tflite
from .calibration import PERCENTILE, WATCHED, Calibration, check_method, find_ranges
from .tflite_graph import Scopes, find_scopes, inline_weights, short_name
from .trained_ranges import TrainedRange, keep_trained

_ANY = ".*"
_BACKBONE = "Backbone_"


@dataclass(frozen=True, eq=False)
class QuantizedTflite:
    """A backbone in float with the ranges of its activations, layer by layer (`sensitivity.Quantized`).

    Args:
        model: The TFLite file in float.
        scopes: Its operators.
        ranges: What the quantizer knows of each tensor.
        shown: ``(n, ...)`` raw samples to correct biases by; None where training has got used to the rounding.
    """

    model: bytes
    scopes: Scopes
    ranges: dict[str, Any] = field(repr=False)
    shown: NDArray[np.generic] | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that are in 8 bits, in the order of the graph."""
        return self.scopes.layers

    @property
    def convolutions(self) -> tuple[str, ...]:
        """Those of them that are convolutions."""
        return self.scopes.convolutions

    @property
    def labels(self) -> tuple[str, ...]:
        """For each layer the path of the module that it was made from, as far as the file tells it."""
        return tuple(short_name(name).removeprefix("backbone.").removeprefix("model.") for name in self.layers)

    def content(self, kept: Sequence[str] = ()) -> bytes:
        """Return the TFLite file with some layers in float.

        Raises:
            ConversionError: If the quantizer fails.
        """
        return _quantize(self.model, _static_recipe([*self.scopes.outer, *kept]), self.ranges)

    def corrected(self, content: bytes) -> bytes | None:
        """Return such a file with its biases corrected, or None where they are to stay as they are."""
        return None if self.shown is None else correct_biases_tflite(self.model, content, self.shown)


def prepare_tflite(
    model: bytes,
    calibration: NDArray[np.generic],
    *,
    method: Calibration = "minmax",
    percentile: float = PERCENTILE,
    trained: Sequence[TrainedRange] = (),
) -> QuantizedTflite:
    """Find the ranges of a backbone's activations: weights take signed 8 bits per channel, activations signed 8 bits.

    Input and output keep their types; preprocessing and the averages at the taps stay in float. The quantizer itself
    offers least and greatest values only: the ranges of the other methods are found here, and handed to it.

    Args:
        model: The TFLite file in float, as `export_tflite` makes it.
        calibration: ``(n, ...)`` raw input that shows the range of the activations.
        method: See `find_ranges`; other than ``"minmax"`` uses the first 32 samples.
        percentile: See `find_ranges`.
        trained: Ranges that training has chosen, which go before those of the method.

    Returns:
        The model, of which layers can be put back into float.

    Raises:
        ConversionError: If the quantizer fails.
    """
    check_method(method)
    with quiet():
        try:
            from ai_edge_quantizer import calibrator
            from ai_edge_quantizer.utils.qsv_utils import min_max_update

            scopes = find_scopes(model, _BACKBONE)
            recipe = _static_recipe(scopes.outer)
            # The quantizer's own update is a moving average that the first samples dominate: later extremes saturate.
            ranges = calibrator.Calibrator(model, num_threads=1, qsv_update_func=min_max_update)
            (signature,) = ranges.get_signature_list().items()
            ranges.calibrate({signature[0]: _Samples(signature[1]["inputs"][0], calibration)}, recipe)
            found = ranges.get_model_qsvs()
            if method != "minmax" or trained:
                places = {name: place for name, place in scopes.activations.items() if name in found}
                shown = _Activations(model, places, calibration[:WATCHED])
                chosen = {} if method == "minmax" else find_ranges(shown.batches, method, percentile)
                if trained:
                    seen = _Activations(model, places, calibration[:WATCHED]).batches()
                    chosen = keep_trained(chosen, seen, trained)
                for name, (low, high) in chosen.items():
                    for key, end in (("min", low), ("max", high)):
                        found[name][key] = np.full_like(found[name][key], end)
        except AcclimateError:
            raise
        # The quantizer raises anything.
        except Exception as error:
            raise _refusal(error) from error
    return QuantizedTflite(model, scopes, found, None if trained else calibration)


def quantize_tflite(
    model: bytes,
    calibration: NDArray[np.generic],
    *,
    method: Calibration = "minmax",
    percentile: float = PERCENTILE,
    float_convolutions: int = 0,
) -> bytes:
    """Quantize a backbone as `prepare_tflite` does, the first convolutions left in float.

    Args:
        model: The TFLite file in float, as `export_tflite` makes it.
        calibration: ``(n, ...)`` raw input that shows the range of the activations.
        method: See `find_ranges`.
        percentile: See `find_ranges`.
        float_convolutions: How many of the first convolutions stay in float.

    Returns:
        The TFLite file with quantized weights.

    Raises:
        ConversionError: If the quantizer fails.
    """
    prepared = prepare_tflite(model, calibration, method=method, percentile=percentile)
    return prepared.content(prepared.convolutions[:float_convolutions])


def quantize_weights_tflite(model: bytes) -> bytes:
    """Hold the weights of convolutions and linear layers in signed 8 bits; activations stay in float.

    Args:
        model: The TFLite file in float.

    Returns:
        The file, in which a dequantization stands before each layer.

    Raises:
        ConversionError: If the quantizer fails.
    """
    with quiet():
        from ai_edge_quantizer import qtyping, recipe_manager

        operation = qtyping.TFLOperationName
        recipe = recipe_manager.RecipeManager()
        for kind in (operation.CONV_2D, operation.DEPTHWISE_CONV_2D, operation.FULLY_CONNECTED):
            recipe.add_weight_only_config(_ANY, kind, num_bits=8)
    return _quantize(model, recipe, None)


def _static_recipe(in_float: Sequence[str]) -> Any:
    with quiet():
        from ai_edge_quantizer import qtyping, recipe_manager
        from ai_edge_quantizer.algorithm_manager import AlgorithmName

    operation = qtyping.TFLOperationName
    recipe = recipe_manager.RecipeManager()
    recipe.add_static_config(_ANY, operation.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    for end in (operation.INPUT, operation.OUTPUT):
        recipe.add_quantization_config(_ANY, end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for scope in in_float:
        exactly = f"^{re.escape(scope)}$"
        recipe.add_quantization_config(exactly, operation.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return recipe


def _quantize(model: bytes, recipe: Any, ranges: dict[str, Any] | None) -> bytes:
    with quiet():
        try:
            from ai_edge_quantizer.quantizer import Quantizer

            quantizer = Quantizer(model, recipe.get_quantization_recipe())
            result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
            return inline_weights(bytes(result.quantized_model))
        # The quantizer raises anything.
        except Exception as error:
            raise _refusal(error) from error


def _refusal(error: Exception) -> ConversionError:
    return ConversionError(
        f"expected a model that AI Edge Quantizer can quantize, found {type(error).__name__}: "
        f"{str(error)[:300]}. Convert with quantize=False to see whether the float model works."
    )


class _Activations:
    """Runs a model and gives its activations."""

    def __init__(self, model: bytes, places: dict[str, int], samples: NDArray[np.generic]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=model, num_threads=1, experimental_preserve_all_tensors=True)
        self._interpreter.allocate_tensors()
        self._places, self._samples = places, samples

    def batches(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Give the activations by name, a sample at a time."""
        (taken,) = self._interpreter.get_input_details()
        for i in range(len(self._samples)):
            self._interpreter.set_tensor(taken["index"], np.ascontiguousarray(self._samples[i : i + 1]))
            self._interpreter.invoke()
            yield {name: self._interpreter.get_tensor(place) for name, place in self._places.items()}


class _Samples:
    """Calibration data, one sample at a time; can be gone through several times."""

    def __init__(self, name: str, samples: NDArray[np.generic]) -> None:
        self._name = name
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for i in range(len(self._samples)):
            yield {self._name: np.ascontiguousarray(self._samples[i : i + 1])}
