"""Confident learning: against cleanlab, by hand, and on labels flipped on purpose."""

from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.edge.suspects import Suspect, suspects
from acclimate.errors import InputError

# Twelve random rows for which cleanlab 2.9 was asked.
CHANCES = np.array(
    [
        [0.27, 0.49, 0.24],
        [0.17, 0.51, 0.32],
        [0.88, 0.11, 0.01],
        [0.10, 0.09, 0.81],
        [0.48, 0.48, 0.04],
        [0.33, 0.29, 0.38],
        [0.58, 0.28, 0.14],
        [0.01, 0.40, 0.59],
        [0.32, 0.50, 0.18],
        [0.56, 0.08, 0.36],
        [0.11, 0.25, 0.64],
        [0.24, 0.30, 0.46],
    ]
)
GIVEN = np.repeat([0, 1, 2], 4)


@pytest.fixture(scope="module")
def cleanlab() -> ModuleType:
    """Skip where cleanlab, the oracle, is not installed."""
    found: ModuleType = pytest.importorskip("cleanlab.filter", reason="cleanlab, the oracle, is not installed")
    return found


def world(seed: int, n: int = 60, k: int = 4) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw probabilities of which some contradict the given classes."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % k)
    chances = rng.dirichlet(np.ones(k) * 0.5, size=n) * 0.4
    chances[np.arange(n), y] += 0.6 * (rng.random(n) < 0.8)
    return chances / chances.sum(axis=1, keepdims=True), y


def test_they_are_those_of_cleanlab() -> None:
    """Stored answer of cleanlab 2.9.0, the rows and their order; 5 is predicted otherwise, but not confidently."""
    # find_label_issues(GIVEN, CHANCES, filter_by="confident_learning", return_indices_ranked_by="self_confidence")
    found = suspects(CHANCES, GIVEN)
    assert [suspect.index for suspect in found] == [3, 1, 8, 0, 6, 9, 7]
    assert found[0].confidence == pytest.approx(0.9)
    assert [suspect.suggested for suspect in found] == [2, 1, 1, 1, 0, 0, 2]
    assert [suspect.given for suspect in found] == GIVEN[[3, 1, 8, 0, 6, 9, 7]].tolist()


@pytest.mark.parametrize("seed", range(10))
def test_they_are_those_of_cleanlab_on_other_samples(cleanlab: ModuleType, seed: int) -> None:
    """The same rows as cleanlab's on random probabilities."""
    chances, y = world(seed)
    issues = cleanlab.find_label_issues(y, chances, filter_by="confident_learning", n_jobs=1, min_examples_per_class=0)
    assert sorted(suspect.index for suspect in suspects(chances, y)) == np.flatnonzero(issues).tolist()


def test_thresholds_are_those_of_the_classes() -> None:
    """What reaches a weakly predicted class's threshold is confident; what falls short of a strong one's is not."""
    chances = np.array([[0.9, 0.1], [0.9, 0.1], [0.45, 0.55], [0.6, 0.4], [0.7, 0.3]])
    # Thresholds: class 0: (.9 + .9 + .45) / 3 = .75; class 1: (.4 + .3) / 2 = .35.
    (found,) = suspects(chances, np.array([0, 0, 0, 1, 1]))
    assert found == Suspect(2, 0, 1, found.confidence)
    assert found.confidence == pytest.approx(0.55)


def test_flipped_labels_are_found() -> None:
    """Of a tenth of labels flipped at random, most are found, nearly none besides, and with the right class."""
    rng = np.random.default_rng(0)
    true = np.arange(1_000) % 5
    flipped = rng.random(1_000) < 0.1
    y = np.where(flipped, (true + rng.integers(1, 5, 1_000)) % 5, true)
    logits = 4 * np.eye(5)[true] + rng.normal(size=(1_000, 5))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = suspects(chances, y)
    rows = np.array([suspect.index for suspect in found])
    assert flipped[rows].mean() > 0.95
    assert np.isin(np.flatnonzero(flipped), rows).mean() > 0.8
    right = [suspect.suggested == true[suspect.index] for suspect in found]
    assert np.mean(right) > 0.9


def test_rows_that_were_not_predicted_are_left_out() -> None:
    """A sample that could not be held out has no probabilities: neither suspect nor in its class's threshold."""
    chances = np.vstack([CHANCES, np.full((3, 3), np.nan)])
    assert suspects(chances, np.append(GIVEN, [0, 1, 2])) == suspects(CHANCES, GIVEN)


def test_equal_ones_come_in_the_order_of_rows() -> None:
    """Ties are broken by row."""
    chances = np.tile([[0.2, 0.8], [0.8, 0.2], [0.9, 0.1], [0.1, 0.9]], (3, 1))
    y = np.tile([0, 1, 0, 1], 3)
    assert [suspect.index for suspect in suspects(chances, y)] == [0, 1, 4, 5, 8, 9]


def test_a_mean_of_equal_numbers_is_reached() -> None:
    """The mean of equal numbers may be above them by rounding, which must not make them less than confident."""
    for high in np.linspace(0.55, 0.95, 41):
        chances = np.array([[high, 1 - high]] * 3 + [[1 - high, high]] * 3 + [[high, 1 - high]])
        assert [suspect.index for suspect in suspects(chances, np.array([0, 0, 0, 1, 1, 1, 1]))] == [6]


def test_classes_without_samples_are_not_suggested() -> None:
    """A class that no sample is labelled as has no threshold to reach."""
    chances = np.array([[0.1, 0.3, 0.6], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    assert {suspect.suggested for suspect in suspects(chances, np.array([0, 0, 1, 1]))} <= {0, 1}


def test_nothing_and_misfits() -> None:
    """No sample gives none, and neither does one class; other shapes and classes are refused."""
    assert suspects(np.empty((0, 3)), np.empty(0, np.int64)) == ()
    assert suspects(np.ones((4, 1)), np.zeros(4, np.int64)) == ()
    assert suspects(np.full((4, 3), np.nan), np.zeros(4, np.int64)) == ()
    with pytest.raises(InputError, match=r"found \(12, 3\) and 11"):
        suspects(CHANCES, GIVEN[:11])
    with pytest.raises(InputError, match="classes from 0 to 2, found -1 to 2"):
        suspects(CHANCES, np.append(GIVEN[:11], -1))
