"""Static 8-bit quantization of an exported backbone with AI Edge Quantizer."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConversionError
from .quiet import quiet
from .tflite_graph import float_scopes, inline_weights

_ANY = ".*"
_BACKBONE = "Backbone_"


def quantize_tflite(model: bytes, calibration: NDArray[np.generic], *, float_convolutions: int = 0) -> bytes:
    """Quantize a backbone: weights to signed 8 bits per channel, activations to signed 8 bits.

    Input and output keep their types; preprocessing and the averages at the taps stay in float.

    Args:
        model: The TFLite file in float, as `export_tflite` makes it.
        calibration: ``(n, ...)`` raw input that shows the range of the activations.
        float_convolutions: How many of the first convolutions stay in float.

    Returns:
        The TFLite file with quantized weights.

    Raises:
        ConversionError: If the quantizer fails.
    """
    with quiet():
        from ai_edge_quantizer import calibrator, qtyping, recipe_manager
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
        from ai_edge_quantizer.quantizer import Quantizer
        from ai_edge_quantizer.utils.qsv_utils import min_max_update

        operation = qtyping.TFLOperationName
        try:
            recipe = recipe_manager.RecipeManager()
            recipe.add_static_config(_ANY, operation.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
            for end in (operation.INPUT, operation.OUTPUT):
                recipe.add_quantization_config(_ANY, end, algorithm_key=AlgorithmName.NO_QUANTIZE)
            for scope in float_scopes(model, _BACKBONE, float_convolutions):
                exactly = f"^{re.escape(scope)}$"
                recipe.add_quantization_config(
                    exactly, operation.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
                )
            # The quantizer's own update is a moving average that the first samples dominate: later extremes saturate.
            ranges = calibrator.Calibrator(model, num_threads=1, qsv_update_func=min_max_update)
            (signature,) = ranges.get_signature_list().items()
            ranges.calibrate({signature[0]: _Samples(signature[1]["inputs"][0], calibration)}, recipe)
            quantizer = Quantizer(model, recipe.get_quantization_recipe())
            result = quantizer.quantize(
                ranges.get_model_qsvs(), enable_progress_bar=False, enable_progress_report=False
            )
            return inline_weights(bytes(result.quantized_model))
        # The quantizer raises anything.
        except Exception as error:
            raise ConversionError(
                f"expected a model that AI Edge Quantizer can quantize, found {type(error).__name__}: "
                f"{str(error)[:300]}. Convert with quantize=False to see whether the float model works."
            ) from error


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
