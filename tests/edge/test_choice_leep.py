"""LEEP and NCE: against each other, against mutual information, and by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.edge.choice.leep import leep
from acclimate.edge.choice.nce import nce
from acclimate.errors import InputError, LabelError


def test_leep_of_certain_answers_is_nce_is_mutual_information_less_entropy() -> None:
    """To 1e-12 over random tables of answers and labels; information by scikit-learn, in nats."""
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn, the oracle, is not installed")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y, z = rng.integers(0, 4, 80), rng.integers(0, 6, 80)
        z = np.where(rng.random(80) < 0.5, y, z)
        expected = metrics.mutual_info_score(z, y) - metrics.mutual_info_score(y, y)
        assert nce(z, y) == pytest.approx(expected, abs=1e-12)
        assert leep(np.eye(6)[z], y) == pytest.approx(expected, abs=1e-12)


def test_leep_by_hand() -> None:
    """Two samples, two classes: of the joint distribution to the mean of two logarithms."""
    p = np.array([[0.8, 0.2], [0.4, 0.6]])
    # P(y|z): of z = 0 the first has .8 of 1.2, of z = 1 it has .2 of .8.
    first, second = 0.8 * 0.8 / 1.2 + 0.2 * 0.2 / 0.8, 0.4 * 0.4 / 1.2 + 0.6 * 0.6 / 0.8
    assert leep(p, [0, 1]) == pytest.approx((np.log(first) + np.log(second)) / 2, abs=1e-15)


def test_a_head_that_knows_the_classes_gets_0_and_one_that_knows_nothing_gets_the_entropy() -> None:
    """Both measures, in the two extremes; classes of the source that are never answered change nothing."""
    y = np.array([0, 0, 1, 2, 2, 2])
    share = np.bincount(y) / len(y)
    entropy = float((share * np.log(share)).sum())
    assert leep(np.eye(5)[y + 1], y) == pytest.approx(0, abs=1e-12)
    assert nce(y + 7, y) == pytest.approx(0, abs=1e-12)
    assert leep(np.full((6, 4), 0.25), y) == pytest.approx(entropy, abs=1e-12)
    assert nce(np.zeros(6, np.int64), y) == pytest.approx(entropy, abs=1e-12)


def test_names_of_classes_do_not_matter() -> None:
    """Texts in place of numbers, in another order."""
    y, z = np.array([0, 1, 2, 1, 0, 2]), np.array([1, 1, 0, 1, 2, 0])
    assert nce(np.array(["x", "b", "q"])[z], np.array(["t", "a", "m"])[y]) == pytest.approx(nce(z, y), abs=1e-15)


@pytest.mark.parametrize(
    ("probabilities", "said"),
    [
        (np.array([[0.5, 0.6], [0.5, 0.5]]), "add up to 1"),
        (np.array([[1.5, -0.5], [0.5, 0.5]]), "at least 0"),
        (np.array([[np.nan, 1.0], [0.5, 0.5]]), "NaN or infinity in row 0"),
        (np.array([0.5, 0.5]), "found shape"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities: NDArray[np.float64], said: str) -> None:
    """Logits among them: the message says to pass their softmax."""
    with pytest.raises(InputError, match=said):
        leep(probabilities, [0, 1])


def test_answers_that_are_not_one_per_sample_are_refused() -> None:
    """Too few, or numbers that are not whole."""
    for answers in ([0, 1], [0.5, 1.0, 2.0]):
        with pytest.raises(LabelError, match=r"one answer.*per sample \(3\)"):
            nce(answers, [0, 1, 1])
