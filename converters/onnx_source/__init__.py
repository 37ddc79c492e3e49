"""An ONNX file of unknown origin as a source: read as hostile, split at its head, fed raw input."""
