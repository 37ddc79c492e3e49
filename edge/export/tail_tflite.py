"""Write the complete model of a trained tail as one TFLite file: backbone, tail, probabilities.

Both files are kept byte for byte behind a new front (`tflite_graph`); the tail's lists are written anew, since numbers
of tensors, buffers and operators move. What it took as inputs beside the maps are constants here.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError
from ...latent import Float32
from ...map_code import MapCode
from ...tail_content import TailContent
from ..runtime.tflite_operators import NEEDED
from ..runtime.tflite_scan import refuse_unsound_model
from .tflite_graph import OUTPUT, OpenModel, Signal
from .tflite_labels import append_labels, check_printable
from .tflite_splice import splice

# Axes of what a comparison broadcasts; of more, LiteRT's kernels know nothing.
_MOST_AXES = 4


def export_tail_tflite(
    backbone: bytes,
    width: int,
    tail: TailContent,
    parameters: Mapping[str, Float32],
    classes: Sequence[str],
    columns: NDArray[np.int64] | None = None,
) -> bytes:
    """Put a trained tail behind a backbone: raw input to probabilities, for any batch size.

    Args:
        backbone: The TFLite file from raw input to latent and map.
        width: Number of dimensions of the latent.
        tail: The tail of the bundle; its forward pass is joined, with the parameters as constants.
        parameters: The parameters by name.
        classes: Names of the classes.
        columns: ``(r,) int64`` place in `classes` of each row of the tail's head; None where they are the same. Rows of
            the same class have their probabilities summed.

    Returns:
        The TFLite file, as of `export_tflite`.

    Raises:
        BackendError: If backbone and tail cannot be joined, or the file would be too large.
        InputError: If a name is not printable.
    """
    check_printable(classes)
    refuse_unsound_model(backbone)
    refuse_unsound_model(tail.forward, NEEDED)
    rows = len(classes) if columns is None else len(columns)
    try:
        model = OpenModel(backbone, width)
        if model.map is None or model.map.shape != tail.code.shape:
            raise ValueError(f"maps of shape {None if model.map is None else model.map.shape}")
        maps = _clipped(model, model.map, tail.code)
        given = {"map": (maps.tensor, (-1, *maps.shape))}
        for name, values in parameters.items():
            given[f"parameter/{name}"] = (model.constant(f"tail/{name}", values), values.shape)
        result = model.softmax(splice(model, tail.forward, given, "logits", rows))
        if columns is not None:
            sums = (np.arange(len(classes))[:, None] == columns).astype(np.float32)
            result = model.fully_connected("merged", result, sums, None)
        return append_labels(model.write(result, OUTPUT), classes)
    except ValueError as error:
        raise BackendError(
            f"expected a backbone with one input, {width} dimensions of latents and maps of shape {tail.code.shape}, "
            f"a tail for them, and an adapted model below 2 GiB, found {error}. Convert the model again."
        ) from error


def _clipped(model: OpenModel, maps: Signal, code: MapCode) -> Signal:
    """Bring maps into the range of their 8-bit code, as the learner does."""
    shape, channel = code.shape, code.axis - 1
    if len(shape) >= _MOST_AXES:
        # What is before and behind the channels goes together.
        shape = (math.prod(shape[:channel]), shape[channel], math.prod(shape[channel + 1 :]))
        maps, channel = model.reshaped("tail/flat", maps, shape), 1
    along = [1, *(-1 if i == channel else 1 for i in range(len(shape)))]
    low, high = code.offset, code.offset + 255 * code.scale
    clipped = model.clipped("tail/clip", maps, low.reshape(along), high.reshape(along))
    return clipped if shape == code.shape else model.reshaped("tail/clipped", clipped, code.shape)
