"""The converters: a torch or Keras model, or an ONNX file, becomes one bundle that a device can open and adapt."""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..extras import require
from .conversion_report import ConversionReport, VariantReport
from .keras_source.convert import convert_keras
from .parity import Closeness, Parity, compare
from .tap_budget import TapBudget, TapWorth

# Keras models are converted without torch, and TensorFlow and torch never share a process.
if TYPE_CHECKING or (find_spec("torch") is not None and "tensorflow" not in sys.modules):
    for _module in ("onnx", "onnxscript", "onnxruntime"):
        require(_module, extra="convert", needed_by="acclimate.converters")
    from .convert import convert
    from .splitting.split import Split, split

__all__ = [
    "Closeness",
    "ConversionReport",
    "Parity",
    "Split",
    "TapBudget",
    "TapWorth",
    "VariantReport",
    "compare",
    "convert",
    "convert_keras",
    "split",
]


def __getattr__(name: str) -> Any:
    """Say what is missing for torch models where one of their names is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("torch", extra="convert", needed_by="acclimate.converters")
    raise ImportError(f"{name} needs torch, which cannot share a process with TensorFlow: run it in one without.")
