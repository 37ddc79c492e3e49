"""The server side: pretrain a general model, compress it, measure it and report."""

from ..extras import require

for _module in ("torch", "matplotlib", "jinja2"):
    require(_module, extra="server", needed_by="acclimate.server")

# The guard has to come first, so that a missing package is named together with the extra that installs it.
from .checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from .distill import distill, distillation_loss  # noqa: E402
from .pretrain import Run, pretrain  # noqa: E402
from .report import render_report, write_report  # noqa: E402
from .training import History, TrainingSettings, predict_logits, train_classifier  # noqa: E402

__all__ = [
    "History",
    "Run",
    "TrainingSettings",
    "distill",
    "distillation_loss",
    "load_checkpoint",
    "predict_logits",
    "pretrain",
    "render_report",
    "save_checkpoint",
    "train_classifier",
    "write_report",
]
