"""What scores are made of: counts against scikit-learn, kept beside the weights, and read back as from a stranger."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import numpy as np
import torch

from acclimate.errors import TrainingError
from acclimate.server.training.breakdown import (
    MOST_CLASSES,
    MOST_PAIRS,
    VALIDATION_FILE,
    Breakdown,
    breakdown_of,
    read_breakdowns,
    write_breakdowns,
)
from acclimate.server.training.metrics import count_into, metrics_of, no_counts

pytestmark = pytest.mark.needs_torch


def make_breakdown(classes: int, count: int = 600) -> tuple[Breakdown, np.ndarray, np.ndarray, Any]:
    generator = torch.Generator().manual_seed(classes)
    labels = torch.randint(classes, (count,), generator=generator)
    logits = torch.randn(count, classes, generator=generator) + torch.nn.functional.one_hot(labels, classes)
    counts = no_counts(classes, torch.device("cpu"))
    count_into(counts, logits, labels)
    return breakdown_of(counts), labels.numpy(), logits.argmax(1).numpy(), metrics_of(counts)


def test_counts_are_those_of_scikit_learn() -> None:
    """Confusion, recall, precision and F1 of each class; the bins give the calibration error of the scores."""
    metrics = pytest.importorskip("sklearn.metrics")
    found, labels, answers, scores = make_breakdown(6)
    assert found.confusion is not None
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(labels, answers))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, answers)
    assert [found.precision(i) for i in range(6)] == pytest.approx(precision)
    assert [found.recall(i) for i in range(6)] == pytest.approx(recall)
    assert [found.f1(i) for i in range(6)] == pytest.approx(f1)
    assert found.labelled == tuple(support)
    error = sum(abs(right - confidence) for _, right, confidence in found.bins) / 600
    assert error == pytest.approx(scores.calibration_error)


def test_of_many_classes_the_worst_pairs_stay() -> None:
    """Beyond 100 classes there is no table of all pairs, but the hundred most frequent mistakes, most first."""
    found, labels, answers, _ = make_breakdown(MOST_CLASSES + 1, 3_000)
    assert found.confusion is None
    assert len(found.pairs) == MOST_PAIRS
    table = np.zeros((101, 101), int)
    np.add.at(table, (labels, answers), 1)
    np.fill_diagonal(table, 0)
    assert [count for *_, count in found.pairs] == sorted(table[table > 0], reverse=True)[:MOST_PAIRS]
    assert all(table[label, answer] == count for label, answer, count in found.pairs)
    few, *_ = make_breakdown(MOST_CLASSES, 300)
    assert few.confusion is not None


def test_a_class_that_does_not_occur_has_no_score() -> None:
    """No recall without samples, no precision without answers, no F1 without both."""
    empty = Breakdown((2, 0), (2, 0), (1, 0), ((2, 1, 1.5),), ((1, 1), (0, 0)), ())
    assert (empty.recall(1), empty.precision(1), empty.f1(1)) == (None, None, None)
    assert empty.recall(0) == 0.5


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    """To the bit; a folder without the file has none."""
    tasks = (make_breakdown(3)[0], make_breakdown(101)[0])
    assert read_breakdowns(tmp_path) == ()
    write_breakdowns(tmp_path, 7, tasks)
    assert read_breakdowns(tmp_path) == tasks


def _plain() -> dict[str, Any]:
    task: dict[str, Any] = {
        "labelled": [3, 1],
        "answered": [2, 2],
        "right": [2, 1],
        "bins": [[4, 3, 2.5]],
        "confusion": [[2, 1], [0, 1]],
        "pairs": [[0, 1, 1]],
    }
    return {"format": "acclimate-validation", "version": 1, "step": 3, "tasks": [task]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labelled", [3]),
        ("labelled", [3, -1]),
        ("labelled", [3, 1.5]),
        ("labelled", [3, True]),
        ("labelled", [3, 2**60]),
        ("labelled", "33"),
        ("right", [3, 1]),
        ("bins", [[4, 5, 2.5]]),
        ("bins", [[4, 3, 9.5]]),
        ("bins", [[4, 3, float("nan")]]),
        ("bins", [[4, 3]]),
        ("bins", [[4, 3, 2.5]] * 16),
        ("confusion", [[2, 1]]),
        ("confusion", [[2, 1], [0]]),
        ("confusion", [[0, 0]] * 101),
        ("pairs", [[0, 2, 1]]),
        ("pairs", [[0, 1]]),
        ("pairs", [[0, 1, 1]] * 101),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    """Counts of other sizes, below 0, no whole numbers, beyond what was counted, or too many."""
    plain = _plain()
    (tmp_path / VALIDATION_FILE).write_text(json.dumps(plain))
    assert read_breakdowns(tmp_path)[0].right == (2, 1)
    plain["tasks"][0][key] = value
    (tmp_path / VALIDATION_FILE).write_text(json.dumps(plain))
    with pytest.raises(TrainingError, match="Reports leave out"):
        read_breakdowns(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000, b'{"format": "acclimate-validation"}', b"\xff"])
def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path, content: bytes) -> None:
    """No JSON, deeper than any, or of another format."""
    (tmp_path / VALIDATION_FILE).write_bytes(content)
    with pytest.raises(TrainingError, match="Reports leave out"):
        read_breakdowns(tmp_path)
