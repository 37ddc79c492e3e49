"""The maximum mean discrepancy against closed forms."""

from statistics import NormalDist

import numpy as np
import pytest

from acclimate.edge.transfer import mmd
from acclimate.edge.transfer.mmd import Gaussians, Linear, biased, fourier, linear_time, unbiased
from acclimate.errors import InputError

# N(0, 1) and N(0.8, 1.5^2) in d dimensions, and a Gaussian kernel of this bandwidth.
SHIFT, SPREAD, BANDWIDTH = 0.8, 1.5, 1.2


def within(spread: float, bandwidth: float, d: int) -> float:
    """Return the mean kernel value of two samples of one Gaussian."""
    return float((bandwidth**2 / (bandwidth**2 + 2 * spread**2)) ** (d / 2))


def closed_form(bandwidth: float, d: int = 1) -> float:
    """Return the squared discrepancy of the two Gaussians."""
    whole = bandwidth**2 + 1 + SPREAD**2
    across = (bandwidth**2 / whole) ** (d / 2) * np.exp(-d * SHIFT**2 / (2 * whole))
    return within(1, bandwidth, d) + within(SPREAD, bandwidth, d) - 2 * float(across)


def quantiles(n: int, mean: float, spread: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([[NormalDist(mean, spread).inv_cdf((i + 0.5) / n)] for i in range(n)])


def test_gaussians_have_a_closed_form() -> None:
    """Of samples at the quantiles of two Gaussians, the biased estimate is the closed form; n and m differ."""
    source, target = quantiles(1500, 0, 1), quantiles(1000, SHIFT, SPREAD)
    assert biased(source, target, Gaussians((BANDWIDTH,))) == pytest.approx(closed_form(BANDWIDTH), abs=2e-4)
    several = Gaussians((0.6, 1.2, 2.4))
    expected = np.mean([closed_form(one) for one in several.bandwidths])
    assert biased(source, target, several) == pytest.approx(expected, abs=3e-4)


def test_unbiased_is_right_on_average_without_the_constant_of_others() -> None:
    """Over 400 draws the mean is the closed form; the biased one is too great by just what its diagonals add.

    The defect measured elsewhere was the unbiased value plus 2 / (n - 1), 0.09 here.
    """
    n, m, d = 24, 15, 3
    kernel, draw = Gaussians((BANDWIDTH,)), np.random.default_rng(0)
    found = []
    for _ in range(400):
        source, target = draw.normal(size=(n, d)), SHIFT + SPREAD * draw.normal(size=(m, d))
        found.append((unbiased(source, target, kernel), biased(source, target, kernel)))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / 20
    exact = closed_form(BANDWIDTH, d)
    added = (1 - within(1, BANDWIDTH, d)) / n + (1 - within(SPREAD, BANDWIDTH, d)) / m
    assert error.max() < 0.01
    assert abs(mean[0] - exact) < 4 * error[0]
    assert abs(mean[1] - exact - added) < 4 * error[1]


def test_linear_time_is_right_on_average() -> None:
    """Its mean over draws is the closed form, with an odd number of samples on one side."""
    draw, kernel = np.random.default_rng(1), Gaussians((BANDWIDTH,))
    found = [
        linear_time(draw.normal(size=(101, 2)), SHIFT + SPREAD * draw.normal(size=(60, 2)), kernel, seed=s)
        for s in range(300)
    ]
    assert abs(np.mean(found) - closed_form(BANDWIDTH, 2)) < 4 * np.std(found) / np.sqrt(300)


def test_linear_kernel_is_the_distance_of_the_means() -> None:
    """With the linear kernel the biased estimate is the squared distance of the means, exactly."""
    draw = np.random.default_rng(2)
    source, target = draw.normal(size=(30, 6)), draw.normal(size=(41, 6)) + 0.3
    expected = ((source.mean(axis=0) - target.mean(axis=0)) ** 2).sum()
    assert biased(source, target, Linear()) == pytest.approx(expected, rel=1e-12)


def test_equal_sets() -> None:
    """A set has no discrepancy from itself; the unbiased estimate falls below 0 by as much as it corrects."""
    rows = np.random.default_rng(3).normal(size=(20, 3))
    assert biased(rows, rows) == pytest.approx(0, abs=1e-12)
    assert unbiased(rows, rows) < 0


def test_random_features_come_near_the_exact_value() -> None:
    """The value of random features is within a few thousandths of the exact one, at unequal sizes."""
    draw = np.random.default_rng(4)
    source, target = draw.normal(size=(300, 8)), draw.normal(size=(200, 8)) + 0.4
    exact = unbiased(source, target)
    assert exact > 0.02
    near = [fourier(source, target, seed=s) for s in range(5)]
    np.testing.assert_allclose(near, exact, atol=4e-3)


def test_many_samples_take_linear_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the stated size no kernel matrix is made, and the answer stays close."""
    draw = np.random.default_rng(5)
    source, target = draw.normal(size=(1_600, 5)), draw.normal(size=(1_500, 5)) + 0.5
    assert len(source) + len(target) > mmd.EXACT_ROWS
    exact = unbiased(source, target)

    def refuse(*_: object) -> float:
        raise AssertionError("a matrix of kernel values was asked for")

    monkeypatch.setattr(mmd, "unbiased_of", refuse)
    assert mmd.mmd(source, target) == pytest.approx(exact, abs=4e-3)
    assert mmd.mmd(source, target) == mmd.mmd(source, target)
    with pytest.raises(AssertionError):
        mmd.mmd(source[:100], target)


def test_alike_and_constant_rows() -> None:
    """Where all rows are alike the discrepancy is 0; constant features and duplicates change nothing else."""
    same = np.full((6, 2), 3.0)
    assert mmd.mmd(same, same[:4]) == pytest.approx(0, abs=1e-12)
    draw = np.random.default_rng(6)
    source, target = draw.normal(size=(10, 2)), draw.normal(size=(12, 2))
    one, other = (np.concatenate([side, np.full((len(side), 1), 9.0)], axis=1) for side in (source, target))
    assert unbiased(one, other) == pytest.approx(unbiased(source, target), abs=1e-12)


def test_bad_input_is_refused() -> None:
    """Bandwidths must be positive, samples finite and of one width."""
    with pytest.raises(InputError, match="bandwidths above 0"):
        Gaussians((1.0, 0.0))
    for width in (1e-200, 1e200, float("inf"), float("nan")):
        with pytest.raises(InputError, match="from 1e-150 to 1e150"):
            Gaussians((width,))
    with pytest.raises(InputError, match="one width"):
        mmd.mmd(np.zeros((3, 2)), np.zeros((3, 4)))
    with pytest.raises(InputError, match="finite target"):
        linear_time(np.zeros((3, 2)), np.full((3, 2), np.nan))


def test_the_widest_bandwidths_that_are_allowed_give_numbers() -> None:
    """Rows are alike, or all of them are near; squares of bandwidths neither vanish nor overflow."""
    rows = np.eye(3)
    for width in (1e-150, 1e150):
        assert np.isfinite(biased(rows, 1 + rows, Gaussians((width,))))
