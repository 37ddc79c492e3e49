"""The H-score against canonical correlations, its shrunk form against the definition."""

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.edge.choice.h_score import h_score, ledoit_wolf
from acclimate.errors import InputError, NotEnoughSamplesError


def draw(n: int, d: int, k: int = 4, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return latents that are correlated with each other and with classes of unequal size."""
    rng = np.random.default_rng(seed)
    y = np.minimum(np.arange(n) % (k + 2), k - 1)
    return (rng.normal(size=(k, d))[y] + rng.normal(size=(n, d))) @ rng.normal(size=(d, d)), y


def test_it_is_the_sum_of_squared_canonical_correlations_with_the_classes() -> None:
    """By QR of both sides, whose product's singular values they are; linear maps of the latents change nothing."""
    for seed in range(5):
        x, y = draw(120, 8, seed=seed)
        sides = [x - x.mean(axis=0), np.eye(4)[y][:, 1:] - np.eye(4)[y][:, 1:].mean(axis=0)]
        first, second = (np.linalg.qr(side)[0] for side in sides)
        correlations = np.linalg.svd(first.T @ second, compute_uv=False)
        assert h_score(x, y, shrinkage=0) == pytest.approx(float((correlations**2).sum()), abs=1e-10)
        mixed = x @ np.random.default_rng(seed).normal(size=(8, 8)) + 3
        assert h_score(mixed, y, shrinkage=0) == pytest.approx(h_score(x, y, shrinkage=0), abs=1e-8)


@pytest.mark.parametrize(("n", "d"), [(120, 8), (30, 90)])
def test_the_shrunk_form_is_what_it_says(n: int, d: int) -> None:
    """The trace with the whole matrices written out, for more samples than dimensions and for fewer."""
    x, y = draw(n, d)
    a, centred = 0.3, x - x.mean(axis=0)
    means = np.stack([centred[y == label].mean(axis=0) for label in y])
    covariance, between = centred.T @ centred / n, means.T @ means / n
    shrunk = (1 - a) * covariance + a * np.trace(covariance) / d * np.eye(d)
    expected = np.trace((1 - a) * between @ np.linalg.inv(shrunk))
    assert h_score(x, y, shrinkage=a) == pytest.approx(float(expected), abs=1e-8)


@pytest.mark.parametrize(("n", "d"), [(120, 8), (30, 90)])
def test_the_shrinkage_is_that_of_ledoit_and_wolf(n: int, d: int) -> None:
    """By scikit-learn, to 1e-10, on either side of as many samples as dimensions."""
    covariance = pytest.importorskip("sklearn.covariance", reason="scikit-learn, the oracle, is not installed")
    x, y = draw(n, d)
    expected = covariance.ledoit_wolf(x)[1]
    assert ledoit_wolf(x - x.mean(axis=0)) == pytest.approx(expected, abs=1e-10)
    assert h_score(x, y) == pytest.approx(h_score(x, y, shrinkage=expected), abs=1e-8)


def test_of_fewer_samples_than_dimensions_the_plain_form_is_refused() -> None:
    """Classes at random would get k - 1, the most there is; shrunk, they get less than real ones."""
    x, y = draw(30, 90)
    with pytest.raises(NotEnoughSamplesError, match="any classes would get 3"):
        h_score(x, y, shrinkage=0)
    shuffled = [h_score(x, np.random.default_rng(seed).permutation(y)) for seed in range(20)]
    assert max(shuffled) < h_score(x, y)


def test_latents_that_are_all_alike_get_0_and_a_strange_shrinkage_is_refused() -> None:
    """Constant dimensions are the same as none."""
    x, y = draw(60, 6)
    assert h_score(np.ones((60, 3)), y) == 0
    assert h_score(np.hstack([x, np.ones((60, 2))]), y, shrinkage=0) == pytest.approx(h_score(x, y, shrinkage=0))
    with pytest.raises(InputError, match="from 0 to 1"):
        h_score(x, y, shrinkage=1.5)
