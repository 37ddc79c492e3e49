"""LogME against the definition of the evidence, and against scikit-learn's Bayesian ridge regression."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.edge.choice.logme import log_evidence, logme

Float64 = NDArray[np.float64]
# Samples and dimensions: more of the first, more of the second, as many.
SHAPES = ((200, 10), (30, 100), (40, 40))


def draw(n: int, d: int, seed: int = 0) -> tuple[Float64, NDArray[np.int64]]:
    """Return latents and two classes that five of their dimensions tell, with noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    signal = x[:, :5] @ rng.normal(size=5)
    return x, (signal + rng.normal(size=n) > 0).astype(np.int64)


def density(x: Float64, y: Float64, alpha: float, beta: float) -> float:
    """Return ``ln N(y; 0, F F^T / alpha + I / beta)``, with the weights integrated out."""
    covariance = x @ x.T / alpha + np.eye(len(x)) / beta
    _, size = np.linalg.slogdet(covariance)
    return float(-(len(x) * np.log(2 * np.pi) + size + y @ np.linalg.solve(covariance, y)) / 2)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_it_is_the_highest_marginal_density_of_the_labels(n: int, d: int) -> None:
    """No pair of precisions on a grid gives more, and one of them nearly as much: by slogdet, whatever n and d."""
    x, y = draw(n, d)
    best = max(
        density(x, y.astype(np.float64), alpha, beta)
        for alpha in np.geomspace(1e-2, 1e5, 60)
        for beta in np.geomspace(1e-1, 1e3, 60)
    )
    (found,) = log_evidence(x, y)
    assert best / n <= found + 1e-12
    assert found == pytest.approx(best / n, abs=2e-3)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_it_equals_the_score_of_bayesian_ridge(n: int, d: int) -> None:
    """Per sample and class, to 1e-6, for two classes at once and for each alone: both ended at the maximum."""
    x, y = draw(n, d)
    scores = [bayesian_ridge(x, target).scores_[-1] / n for target in (1 - y, y)]
    np.testing.assert_allclose(log_evidence(x, np.stack([1 - y, y], axis=1)), scores, atol=1e-6)
    assert logme(x, y) == pytest.approx(np.mean(scores), abs=1e-6)


def test_the_published_code_misses_a_term_below_as_many_samples_as_dimensions_and_this_does_not() -> None:
    """Without ``(d - n) ln(alpha) / 2`` in the determinant the value is off by more than 1 nat per sample."""
    x, y = draw(30, 100)
    fitted = bayesian_ridge(x, y)
    missing = (100 - 30) * np.log(fitted.lambda_) / 2
    wrong = (fitted.scores_[-1] + missing) / 30
    assert wrong - log_evidence(x, y)[0] > 1


def test_it_does_not_stop_early() -> None:
    """A fixed point that moves for hundreds of steps is reached: after five of them the value is another."""
    x, y = draw(30, 100)
    early, late = (bayesian_ridge(x, y, steps=steps) for steps in (5, 100_000))
    assert late.n_iter_ > 100
    (found,) = log_evidence(x, y)
    assert found == pytest.approx(late.scores_[-1] / 30, abs=1e-6)
    assert abs(found - early.scores_[-1] / 30) > 1e-3


def test_rotating_latents_and_dimensions_without_a_value_change_nothing() -> None:
    """The prior knows no direction, and a weight of a dimension that is 0 is integrated out."""
    x, y = draw(60, 20)
    turned = x @ np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))[0]
    for other in (turned, np.hstack([x, np.zeros((60, 7))])):
        assert logme(other, y) == pytest.approx(logme(x, y), abs=1e-9)


def test_latents_that_say_more_get_more() -> None:
    """Labels that the latents tell above labels at random, and those above latents that are all 0."""
    x, y = draw(200, 10)
    shuffled = np.random.default_rng(1).permutation(y)
    assert logme(x, y) > logme(x, shuffled) + 0.1
    assert logme(x, shuffled) > logme(np.zeros((200, 1)), y) - 0.02


def test_a_fit_without_an_error_gets_a_finite_value() -> None:
    """Labels that are columns of the latents, once and twice: no more than the bound on the precisions allows."""
    y = np.arange(60) % 3
    x = np.eye(3)[y]
    assert 10 < logme(x, y) < 20
    assert logme(np.hstack([x, x]), y) == pytest.approx(logme(x, y), abs=0.1)


def bayesian_ridge(x: Float64, y: NDArray[Any], steps: int = 100_000) -> Any:
    """Return scikit-learn's regression without priors on the precisions, and without an intercept."""
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn, the oracle, is not installed")
    flat = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0.0)
    return linear.BayesianRidge(max_iter=steps, tol=1e-14, fit_intercept=False, compute_score=True, **flat).fit(x, y)
