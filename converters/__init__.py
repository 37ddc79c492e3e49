"""The converters: a trained torch model becomes one bundle that a device can open and adapt."""

from ..extras import require

for _module in ("torch", "onnx", "onnxscript", "onnxruntime"):
    require(_module, extra="convert", needed_by="acclimate.converters")

# The guard has to come first, so that a missing package is named together with the extra that installs it.
from .conversion_report import ConversionReport, VariantReport  # noqa: E402
from .convert import convert  # noqa: E402
from .parity import Closeness, Parity, compare  # noqa: E402
from .split import Split, split  # noqa: E402

__all__ = [
    "Closeness",
    "ConversionReport",
    "Parity",
    "Split",
    "VariantReport",
    "compare",
    "convert",
    "split",
]
