"""Scores from counts, against scikit-learn, the device's numpy, and definitions."""

import math

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import numpy as np
import torch

from acclimate.server.training.metrics import Metrics, count_into, metrics_of, no_counts, unpacked

pytestmark = pytest.mark.needs_torch


def make_answers(count: int = 500, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(classes - 1, (count,), generator=generator)
    logits = 2 * torch.nn.functional.one_hot(labels, classes) + 1.5 * torch.randn(count, classes, generator=generator)
    return logits.float(), labels


def score(logits: torch.Tensor, labels: torch.Tensor, size: int) -> Metrics:
    counts = no_counts(logits.shape[1], torch.device("cpu"))
    for x, y in zip(torch.split(logits, size), torch.split(labels, size), strict=True):
        count_into(counts, x, y)
    return metrics_of(unpacked(counts.packed(), logits.shape[1]))


def test_scores_are_those_of_scikit_learn() -> None:
    """Loss, accuracy, macro F1 and recall, with a class that is answered and never right; batches change nothing."""
    metrics = pytest.importorskip("sklearn.metrics")
    logits, labels = make_answers()
    found = score(logits, labels, 64)
    answers = logits.argmax(1).numpy()
    assert found.samples == 500
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, answers))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, answers, average="macro"))
    expected = metrics.recall_score(labels, answers, average=None, labels=range(4))
    np.testing.assert_allclose(np.array(found.recall[:4], float), expected)
    assert found.recall[4] is None
    shares = torch.softmax(logits.double(), 1).numpy()
    assert found.loss == pytest.approx(metrics.log_loss(labels, shares, labels=range(5)))
    again = score(logits, labels, 500)
    assert (again.accuracy, again.macro_f1, again.recall) == (found.accuracy, found.macro_f1, found.recall)
    assert (again.loss, again.calibration_error) == pytest.approx((found.loss, found.calibration_error), rel=1e-12)


def test_calibration_error_is_its_definition() -> None:
    """The gap of confidence and accuracy in each of 15 bins, by their share of the samples."""
    logits, labels = make_answers()
    shares = torch.softmax(logits.double(), 1)
    confidence, answer = shares.max(1)
    expected = 0.0
    for bin_ in range(15):
        inside = (confidence > bin_ / 15) & (confidence <= (bin_ + 1) / 15)
        if inside.any():
            gap = (answer[inside] == labels[inside]).double().mean() - confidence[inside].mean()
            expected += float(inside.double().mean() * gap.abs())
    assert score(logits, labels, 500).calibration_error == pytest.approx(expected)


def test_samples_without_a_label_do_not_count() -> None:
    """A label of -1 takes a sample out of every score."""
    logits, labels = make_answers()
    some = torch.where(torch.arange(500) % 3 == 0, labels, -1)
    found, expected = score(logits, some, 64), score(logits[::3], labels[::3], 64)
    assert (found.samples, found.accuracy, found.recall) == (167, expected.accuracy, expected.recall)
    assert math.isclose(found.loss, expected.loss, rel_tol=1e-12)
