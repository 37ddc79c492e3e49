"""Label shift: the mix of classes is found by two estimators, and biases follow it."""

from types import ModuleType

import numpy as np
import pytest

from acclimate.edge.transfer.label_shift import estimate_prior, estimate_prior_black_box
from acclimate.errors import InputError

HOME, HERE = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.7])


def draw(n: int, prior: np.ndarray, seed: int, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return samples of three Gaussian classes, and their classes."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=prior)
    return np.eye(3)[y] * apart + rng.normal(size=(n, 3)), y


def posteriors(x: np.ndarray, prior: np.ndarray, apart: float = 2.0) -> np.ndarray:
    """Return the true posteriors by Bayes' rule: what an ideal classifier gives."""
    joint = np.exp(x * apart - apart**2 / 2) * prior
    found: np.ndarray = joint / joint.sum(axis=1, keepdims=True)
    return found


def test_the_mix_is_found() -> None:
    """Of 20,000 samples both estimators find the true mix, and the corrected posteriors are those of Bayes' rule."""
    x, _ = draw(20_000, HERE, 1)
    found = estimate_prior(posteriors(x, HOME), HOME)
    assert np.abs(found.prior - HERE).max() < 0.01
    np.testing.assert_allclose(found.ratio, found.prior / HOME)
    home_x, home_y = draw(20_000, HOME, 2)
    confusion = np.zeros((3, 3))
    np.add.at(confusion, (posteriors(home_x, HOME).argmax(axis=1), home_y), 1)
    black = estimate_prior_black_box(confusion, posteriors(x, HOME).argmax(axis=1))
    assert np.abs(black.prior - HERE).max() < 0.02
    logits = np.log(posteriors(x, HOME)) + found.correct(np.zeros(3))
    corrected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(corrected, posteriors(x, found.prior), atol=1e-9)


def test_the_mix_is_the_maximum_of_the_likelihood() -> None:
    """No other mix near by is likelier, and expectation and maximisation never step down."""
    x, _ = draw(500, HERE, 3)
    given = posteriors(x, HOME)

    def likelihood(prior: np.ndarray) -> float:
        return float(np.log(given @ (prior / HOME)).sum())

    found = estimate_prior(given, HOME, tolerance=1e-12, most=5_000)
    steps = [likelihood(estimate_prior(given, HOME, most=most).prior) for most in range(1, 30)]
    assert (np.diff(steps) > -1e-9).all()
    for seed in range(50):
        other = np.abs(found.prior + 0.02 * np.random.default_rng(seed).normal(size=3))
        assert likelihood(other / other.sum()) <= likelihood(found.prior) + 1e-6


def test_two_classes_as_a_library_maximises(sklearn: ModuleType) -> None:
    """With two classes the mix is the root of the likelihood's slope, as scipy finds it."""
    optimize = pytest.importorskip("scipy.optimize", reason="scipy, the oracle, is not installed")
    rng = np.random.default_rng(0)
    given = rng.beta(0.6, 0.9, 400)
    home = np.array([0.3, 0.7])

    def slope(p: float) -> float:
        a, b = given / home[0], (1 - given) / home[1]
        return float(((a - b) / (p * a + (1 - p) * b)).sum())

    wanted = optimize.brentq(slope, 1e-9, 1 - 1e-9)
    found = estimate_prior(np.stack([given, 1 - given], axis=1), home, tolerance=1e-13, most=10_000)
    assert found.prior[0] == pytest.approx(wanted, abs=1e-7)


def test_few_samples_are_drawn_to_the_source() -> None:
    """With no shift nothing changes, and `drawn` samples of the source hold the mix."""
    x, _ = draw(20, HERE, 4)
    free, held = (estimate_prior(posteriors(x, HOME), HOME, drawn=drawn) for drawn in (0.0, 1e9))
    np.testing.assert_allclose(held.prior, HOME, atol=1e-6)
    np.testing.assert_allclose(held.ratio, 1, atol=1e-5)
    assert np.abs(free.prior - HOME).max() > 0.1


def test_a_class_that_the_source_lacks_keeps_its_bias() -> None:
    """Nothing is known of it: its share stays 0, its ratio 1, and nothing is divided by 0."""
    x, _ = draw(50, HERE, 5)
    given = np.concatenate([posteriors(x, HOME), np.zeros((50, 1))], axis=1)
    found = estimate_prior(given, np.append(HOME, 0))
    assert found.prior[3] == 0
    assert found.correct(np.arange(4))[3] == 3
    black = estimate_prior_black_box(np.diag([5, 3, 2, 0]), np.array([0, 1, 2, 2]))
    np.testing.assert_allclose(black.prior, [0.25, 0.25, 0.5, 0])


def test_a_negative_ratio_is_none() -> None:
    """Where predictions would need a class less than never, it is never."""
    confusion = np.array([[0.4, 0.2], [0.1, 0.3]])
    found = estimate_prior_black_box(confusion, np.ones(100, np.int64))
    np.testing.assert_allclose(found.prior, [0, 1])


BAD = np.array([[0.5, 0.5], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("given", "source", "match"),
    [
        (BAD, [1.0, 1.0, 1.0], "one column per class"),
        (BAD[0], [1.0, 1.0], "one column per class"),
        (np.empty((0, 2)), [1.0, 1.0], "one column per class"),
        (BAD - 0.3, [1.0, 1.0], "at least 0"),
        (BAD * np.nan, [1.0, 1.0], "not finite"),
        (BAD * 2, [1.0, 1.0], "add up to 1"),
        (BAD, [0.0, 0.0], "a source with a class"),
    ],
)
def test_what_is_no_posterior_is_refused(given: np.ndarray, source: list[float], match: str) -> None:
    """Shapes, negative and non-finite numbers, and rows that are no distribution."""
    with pytest.raises(InputError, match=match):
        estimate_prior(given, source)


@pytest.mark.parametrize(
    ("confusion", "predicted", "match"),
    [
        (np.ones((2, 3)), [0], "confusion"),
        (np.ones((2, 2)), [0, 1], "tells the classes apart"),
        (np.array([[1.0, 1.0], [0.0, 0.0]]), [0, 0], "tells the classes apart"),
        (-np.eye(2), [0], "below 0"),
        (np.eye(2), [2], "from 0 to 1"),
        (np.eye(2), [], "Predict some"),
        (np.eye(2), [0.5], "Predict some"),
    ],
)
def test_what_is_no_confusion_is_refused(confusion: np.ndarray, predicted: list[float], match: str) -> None:
    """Among them a classifier that takes two classes for one, which says nothing of their shares."""
    with pytest.raises(InputError, match=match):
        estimate_prior_black_box(confusion, np.array(predicted))
