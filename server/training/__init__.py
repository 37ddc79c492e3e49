"""Training: a short loop on tensors in memory, and the parts of the loop that scales out."""

from .classifier import Augment, BatchLoss, Epoch, History, Progress, predict_logits, score, train_classifier
from .schedule import OneCycle
from .settings import ObjectiveSettings, RunSettings, TrainingSettings

__all__ = [
    "Augment",
    "BatchLoss",
    "Epoch",
    "History",
    "ObjectiveSettings",
    "OneCycle",
    "Progress",
    "RunSettings",
    "TrainingSettings",
    "predict_logits",
    "score",
    "train_classifier",
]
