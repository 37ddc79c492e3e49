"""Scores of a classifier, from counts that add up over batches and processes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BINS = 15


@dataclass(frozen=True)
class Metrics:
    """Scores on samples with labels.

    Args:
        samples: Labelled samples.
        loss: Mean cross-entropy, in nats.
        accuracy: Share that is right, 0 to 1.
        macro_f1: Mean F1 over the classes that occur, in labels or in answers.
        recall: Share that is right, per class; None for a class without samples.
        calibration_error: Expected calibration error over 15 bins of equal width, 0 to 1.

    References:
        Calibration: Guo et al. 2017, "On calibration of modern neural networks".
    """

    samples: int
    loss: float
    accuracy: float
    macro_f1: float
    recall: tuple[float | None, ...]
    calibration_error: float


@dataclass(frozen=True, eq=False)
class Counts:
    """What scores are made of.

    Args:
        confusion: ``(k, k) float64`` samples by label and answer.
        bins: ``(15, 3) float64`` samples, right answers and summed confidence by confidence.
        loss: ``() float64`` summed cross-entropy.
    """

    confusion: Tensor
    bins: Tensor
    loss: Tensor

    def packed(self) -> Tensor:
        """Return all numbers in one vector, which processes add up."""
        return torch.cat([self.confusion.flatten(), self.bins.flatten(), self.loss.view(1)])


def no_counts(classes: int, device: torch.device) -> Counts:
    """Return the counts of no sample."""
    return Counts(
        torch.zeros(classes, classes, dtype=torch.float64, device=device),
        torch.zeros(BINS, 3, dtype=torch.float64, device=device),
        torch.zeros((), dtype=torch.float64, device=device),
    )


def unpacked(vector: Tensor, classes: int) -> Counts:
    """Return the counts whose `packed` is a vector."""
    confusion, bins, loss = torch.split(vector, [classes**2, 3 * BINS, 1])
    return Counts(confusion.view(classes, classes), bins.view(BINS, 3), loss.view(()))


def count_into(counts: Counts, logits: Tensor, labels: Tensor) -> None:
    """Add a batch to counts.

    Args:
        counts: Changed in place.
        logits: ``(b, k)``.
        labels: ``(b,) int64``, -1 for samples that do not count.
    """
    known = labels >= 0
    logits, labels = logits[known].double(), labels[known]
    classes = len(counts.confusion)
    confidence, answer = logits.softmax(1).max(1)
    counts.confusion.add_((labels * classes + answer).bincount(minlength=classes**2).view(classes, classes))
    # Bins are closed above, as in the paper: a confidence of 1 belongs to the last.
    place = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    right = (answer == labels).double()
    counts.bins.index_add_(0, place, torch.stack([torch.ones_like(confidence), right, confidence], 1))
    counts.loss.add_(functional.cross_entropy(logits, labels, reduction="sum"))


def metrics_of(counts: Counts) -> Metrics:
    """Return the scores of counts of one sample or more."""
    confusion, bins = counts.confusion.cpu(), counts.bins.cpu()
    total = float(confusion.sum())
    right, labelled, answered = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    occurs = (labelled + answered) > 0
    f1 = (2 * right / (labelled + answered).clamp(min=1))[occurs]
    recall = tuple(float(r / n) if n else None for r, n in zip(right, labelled, strict=True))
    return Metrics(
        samples=int(total),
        loss=float(counts.loss) / total,
        accuracy=float(right.sum()) / total,
        macro_f1=float(f1.mean()),
        recall=recall,
        calibration_error=float((bins[:, 1] - bins[:, 2]).abs().sum()) / total,
    )
