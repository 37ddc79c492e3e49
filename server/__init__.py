"""The server side: pretrain a general model, compress it, measure it and report."""

import sys
from typing import TYPE_CHECKING, Any

from ..extras import require

if TYPE_CHECKING:
    from .models import load_model

# TensorFlow's process, which trains Keras models (`keras`), has no torch.
if TYPE_CHECKING or "tensorflow" not in sys.modules:
    for _module in ("torch", "matplotlib", "jinja2"):
        require(_module, extra="server", needed_by="acclimate.server")

    # The guard has to come first, so that a missing package is named together with the extra that installs it.
    from .checkpoint import load_checkpoint, save_checkpoint
    from .distill import distill, distillation_loss
    from .pretrain import pretrain
    from .report import render_report, write_report
    from .run import Run
    from .training import History, TrainingSettings, predict_logits, train_classifier

__all__ = [
    "History",
    "Run",
    "TrainingSettings",
    "distill",
    "distillation_loss",
    "load_checkpoint",
    "load_model",
    "predict_logits",
    "pretrain",
    "render_report",
    "save_checkpoint",
    "train_classifier",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import `load_model` when it is first asked for: building models by name needs the converters."""
    if name == "load_model":
        from .models import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
