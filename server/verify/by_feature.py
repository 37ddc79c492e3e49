"""What is known of transfer by feature: discrepancies, alignment, components, augmentation."""

from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ...edge.transfer.augmentation import augment
from ...edge.transfer.components import primal_components, transfer_components
from ...edge.transfer.coral import coral_map_back, coral_samples, moments
from ...edge.transfer.joint_mmd import joint_mmd
from ...edge.transfer.mmd import Gaussians, Linear, biased, unbiased
from ...edge.transfer.shift_test import shift_test
from ...edge.transfer.thin_coral import thin_coral_map, thin_of_samples
from .check import Check, distance

Float64 = NDArray[np.float64]
_GRETTON = "Gretton et al. 2012"
_SUN = "Sun, Feng and Saenko 2016"
_PAN = "Pan et al. 2011"
# N(0, 1) against N(1, 1.5^2), and the bandwidth of the kernel.
_SHIFT, _SPREAD, _BANDWIDTH = 1.0, 1.5, 1.2
_TRIALS = 400


def feature_identities() -> tuple[Check, ...]:
    """Return the checks."""
    error = 4 * float(np.sqrt(0.05 * 0.95 / _TRIALS))
    return (
        Check("MMD", "two Gaussians, closed form", _GRETTON, _gaussians, 1e-3),
        Check("MMD", "linear kernel = squared distance of the means", _GRETTON, _means, 1e-12),
        Check("MMD", "unbiased: 0 on average over all ways to split", _GRETTON, _splits, 1e-12),
        Check("JMMD", "one layer and a constant one = MMD", "Long et al. 2017", _constant_layer, 1e-12),
        Check("shift test", f"false alarms at level 5 %, {_TRIALS} trials", _GRETTON, _level, error),
        Check("CORAL", "covariance of mapped samples = the target's", _SUN, _covariance, 1e-12),
        Check("CORAL", "folded into a linear layer", _SUN, _folded, 1e-10),
        Check("CORAL", "low rank + diagonal = whole covariances", _SUN, _thin, 1e-10),
        Check("TCA", "K H K w = v (K L K + mu I) w", _PAN, _eigenvectors, 1e-9),
        Check("TCA", "eigenvalues = scipy.linalg.eigh(KHK, KLK + mu I)", "scipy", _eigenvalues, 1e-9),
        Check("TCA", "primal: X'HX w = v (X'LX + mu I) w", "Long et al. 2013 (JDA)", _primal, 1e-9),
        Check("feature augmentation", "kernel 2K within a domain, K across", "Daume III 2007", _augmented, 1e-12),
    )


def _two_domains() -> tuple[Float64, Float64]:
    draw = np.random.default_rng(0)
    return draw.normal(size=(40, 6)) @ draw.normal(size=(6, 6)), draw.normal(size=(31, 6)) @ draw.normal(
        size=(6, 6)
    ) + 1


def _gaussians() -> tuple[float, float]:
    def within(spread: float) -> float:
        return float((_BANDWIDTH**2 / (_BANDWIDTH**2 + 2 * spread**2)) ** 0.5)

    whole = _BANDWIDTH**2 + 1 + _SPREAD**2
    across = float((_BANDWIDTH**2 / whole) ** 0.5 * np.exp(-(_SHIFT**2) / (2 * whole)))
    source, target = (
        np.array([[NormalDist(mean, spread).inv_cdf((i + 0.5) / n)] for i in range(n)])
        for mean, spread, n in ((0.0, 1.0, 500), (_SHIFT, _SPREAD, 400))
    )
    return within(1) + within(_SPREAD) - 2 * across, biased(source, target, Gaussians((_BANDWIDTH,)))


def _means() -> tuple[float, float]:
    source, target = _two_domains()
    apart = source.mean(axis=0) - target.mean(axis=0)
    return 1.0, biased(source, target, Linear()) / float(apart @ apart)


def _splits() -> tuple[float, float]:
    pooled, kernel = _two_domains()[0][:7], Gaussians((2.0,))
    ways = [np.isin(np.arange(7), chosen) for chosen in combinations(range(7), 3)]
    return 0.0, float(np.mean([unbiased(pooled[way], pooled[~way], kernel) for way in ways]))


def _constant_layer() -> tuple[float, float]:
    source, target = _two_domains()
    ones = np.full((len(source), 2), 3.0), np.full((len(target), 2), 3.0)
    return unbiased(source, target), joint_mmd([ones[0], source], [ones[1], target])


def _level() -> tuple[float, float]:
    draw = np.random.default_rng(0)
    alarms = [
        shift_test(draw.exponential(size=(15, 3)), draw.exponential(size=(25, 3)), permutations=99, seed=trial).shifted
        for trial in range(_TRIALS)
    ]
    return 0.05, float(np.mean(alarms))


def _covariance() -> tuple[float, float]:
    source, target = _two_domains()
    expected = moments(target)[1]
    found = moments(coral_samples(source, target, ridge=0).apply(source))[1]
    return distance(found / np.abs(expected).max(), expected / np.abs(expected).max())


def _folded() -> tuple[float, float]:
    source, target = _two_domains()
    back = coral_map_back(*moments(source), *moments(target))
    draw = np.random.default_rng(1)
    weight, bias = draw.normal(size=(4, 6)), draw.normal(size=4)
    folded, moved = back.fold(weight, bias)
    return distance(target @ folded.T + moved, back.apply(target) @ weight.T + bias)


def _thin() -> tuple[float, float]:
    source, target = (rows[:5] for rows in _two_domains())
    thin = thin_coral_map(thin_of_samples(source), thin_of_samples(target), ridge=0.5)
    return distance(thin.apply(source), coral_samples(source, target, ridge=0.5).apply(source))


def _problem() -> tuple[Float64, Float64, Float64, Float64]:
    """Return samples, H, L and a linear kernel, as the paper writes them."""
    source, target = _two_domains()
    pooled = np.concatenate([source, target])
    n, m = len(source), len(target)
    e = np.r_[np.full(n, 1 / n), np.full(m, -1 / m)][:, None]
    return pooled, np.eye(n + m) - 1 / (n + m), e @ e.T, pooled @ pooled.T


def _eigenvectors() -> tuple[float, float]:
    _, centring, contrast, kernel = _problem()
    found = transfer_components(*_two_domains(), 4, mu=0.3)
    left = kernel @ centring @ kernel @ found.coefficients
    right = (kernel @ contrast @ kernel + 0.3 * np.eye(len(kernel))) @ found.coefficients
    return distance(left / found.values[0], right * found.values / found.values[0])


def _eigenvalues() -> tuple[float, float]:
    from scipy.linalg import eigh

    _, centring, contrast, kernel = _problem()
    expected = eigh(kernel @ centring @ kernel, kernel @ contrast @ kernel + 0.3 * np.eye(len(kernel)))[0][::-1][:4]
    return distance(transfer_components(*_two_domains(), 4, mu=0.3).values / expected, np.ones(4))


def _primal() -> tuple[float, float]:
    x, centring, contrast, _ = _problem()
    found = primal_components(*_two_domains(), 4, mu=0.3)
    left, right = x.T @ centring @ x @ found.weight, (x.T @ contrast @ x + 0.3 * np.eye(6)) @ found.weight
    return distance(left / found.values[0], right * found.values / found.values[0])


def _augmented() -> tuple[float, float]:
    source, target = _two_domains()
    within = augment(source, 0) @ augment(source, 0).T
    across = augment(source, 0) @ augment(target, 1).T
    expected = np.concatenate([2 * source @ source.T, source @ target.T], axis=1)
    return distance(
        np.concatenate([within, across], axis=1) / np.abs(expected).max(), expected / np.abs(expected).max()
    )
