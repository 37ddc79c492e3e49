"""Write the complete adapted model as one TFLite file, on the device, with nothing but numpy.

The backbone's file is kept byte for byte, and a new front is put before it (`flatbuffer_writer`): lists that point to
the backbone's operators and tensors, and behind those to the head's. So the bundle needs no template, predicting runs
no operator of a head that waits to be filled in, and any backbone that LiteRT takes can be exported.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...bundle import LinearLayer
from ...latent import LatentCode
from ..runtime.tflite_scan import refuse_unsound_model
from .exported_head import exported_head
from .tflite_graph import OUTPUT, OpenModel, Signal, refused
from .tflite_labels import append_labels, check_printable

VALUES = "values"


def export_tflite(
    backbone: bytes,
    layer: LinearLayer,
    code: LatentCode,
    classes: Sequence[str],
    groups: NDArray[np.int64] | None = None,
) -> bytes:
    """Put a head behind a backbone: raw input to probabilities, for any batch size.

    Args:
        backbone: The TFLite file from raw input to latent.
        layer: The head; rows with bias `heads.ABSENT` are left out.
        code: The latent's 8-bit code: latents are brought into its range, as the learner does.
        classes: Names of the classes, one per row of the head, or per number in `groups`.
        groups: ``(r,) int64`` for each row the place of its class in `classes`. Rows of the same class have their
            probabilities summed.

    Returns:
        The TFLite file: the backbone's input, and ``(n, k) float32`` probabilities. Classes without a row are left out.
        The names of the others are in `labels.txt`, as TensorFlow Lite's metadata say: `unzip` finds it in the file.

    Raises:
        BackendError: If the backbone is not a sound one for latents of this width, or the file would be too large.
        InputError: If head, classes and groups do not fit together, no row is left, or a name is not printable.
    """
    width = len(code.offset)
    head = exported_head(layer, width, classes, groups)
    check_printable(head.classes)
    refuse_unsound_model(backbone)
    try:
        model = OpenModel(backbone, width)
        result = model.softmax(model.fully_connected("logits", _clipped(model, code), head.weight, head.bias))
        if head.sums is not None:
            result = model.fully_connected("merged", result, head.sums.T, None)
        return append_labels(model.write(result, OUTPUT), head.classes)
    except ValueError as error:
        raise refused(width, error) from error


def export_values_tflite(backbone: bytes, layer: LinearLayer, code: LatentCode, targets: Sequence[str]) -> bytes:
    """Put a regression head behind a backbone: raw input to values, for any batch size.

    Args:
        backbone: The TFLite file from raw input to latent.
        layer: The head, one row per target.
        code: As for `export_tflite`.
        targets: Names of the targets.

    Returns:
        The TFLite file: the backbone's input, and ``(n, t) float32`` values, their names in `labels.txt`.

    Raises:
        BackendError: If the backbone is not a sound one for latents of this width, or the file would be too large.
        InputError: If a name is not printable.
    """
    width = len(code.offset)
    check_printable(targets)
    refuse_unsound_model(backbone)
    try:
        model = OpenModel(backbone, width)
        result = model.fully_connected("values", _clipped(model, code), layer.weight, layer.bias)
        return append_labels(model.write(result, VALUES), targets)
    except ValueError as error:
        raise refused(width, error) from error


def _clipped(model: OpenModel, code: LatentCode) -> Signal:
    """Bring the latent into the range of its 8-bit code, as the learner does."""
    return model.clipped("clip", model.latent, code.offset, code.top)
