"""Bring a file to an opset that devices take."""

import onnx

from ...errors import ConversionError
from .graph import inline_constants

# Below 13 a weight has no scale per channel; the oldest runtime of a device, ONNX Runtime 1.20, knows none above 21.
OLDEST, NEWEST = 13, 21
_ADVICE = "Export the model again with opset 17 (torch.onnx.export(..., opset_version=17))"


def supported_opset(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return a network in an opset from `OLDEST` to `NEWEST`.

    Args:
        model: The network.
        name: Name of its file.

    Raises:
        ConversionError: If onnx cannot convert it.
    """
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    known = onnx.defs.onnx_opset_version()
    if not 1 <= version <= known:
        newer = ", or update onnx if the file is of a newer one" if version > known else ""
        raise ConversionError(
            f"{name}: expected an opset from {OLDEST} to {NEWEST}, or one that onnx {onnx.__version__} knows (1 to "
            f"{known}) and brings there, found {version}. {_ADVICE}{newer}."
        )
    wanted = min(max(version, OLDEST), NEWEST)
    # Up to version 3 of the format, weights have to be inputs as well.
    model.ir_version = min(max(model.ir_version, 8), 10)
    if version != wanted:
        from onnx import version_converter

        try:
            model = version_converter.convert_version(model, wanted)
        # The converter raises anything, and fails on operators that changed too much.
        except Exception as error:
            raise ConversionError(
                f"{name}: expected an opset from {OLDEST} to {NEWEST}, found {version}, which onnx cannot bring to "
                f"{wanted}{_reason(error)}. {_ADVICE}."
            ) from error
        inline_constants(model.graph)
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", wanted))
    return model


def _reason(error: Exception) -> str:
    """Return what an assertion of the converter says, without its place in code that nobody here has."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0].rpartition(" failed: ")[2]
    return f": {said[:200].rstrip('.')}"
