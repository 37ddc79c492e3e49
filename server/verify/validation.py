"""What is known of judging without labels of the target: importance weights, entropy, neighbourhoods, the way back."""

import math

import numpy as np
from numpy.typing import NDArray

from ..transfer.validators import (
    deep_embedded_risk,
    entropy,
    importance_weighted_risk,
    neighbourhood_density,
    reverse_answers,
)
from .check import Check, distance

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
_SUGIYAMA, _YOU, _SAITO = "Sugiyama et al. 2007", "You et al. 2019", "Saito et al. 2021"
# Samples of a world of four cells in the source and in the target, and in how many of each the model is wrong there.
_SOURCE, _TARGET, _WRONG = (40, 30, 20, 10), (10, 10, 30, 50), (4, 6, 10, 8)
_TEMPERATURE = 0.5


def validation_identities() -> tuple[Check, ...]:
    """Return the checks."""
    return (
        Check("importance-weighted validation", "four cells: the target's risk", _SUGIYAMA, _weighted, 1e-4),
        Check("deep embedded validation", "four cells: the target's risk", _YOU, _embedded, 1e-4),
        Check("deep embedded validation", "always wrong: 1, whatever the weights", _YOU, _always, 1e-9),
        Check("entropy", "= scipy's, of softmax", "Morerio et al. 2018; scipy", _entropy, 1e-12),
        Check("soft neighbourhood density", "certain answers of two classes, closed form", _SAITO, _groups, 1e-12),
        Check("soft neighbourhood density", "answers all alike: ln (m - 1)", _SAITO, _alike, 1e-12),
        Check("reverse validation", "answers of scikit-learn's neighbours", "Zhong et al. 2010; scikit-learn", _back),
    )


def _world() -> tuple[Float64, Int64, Float64, Float64]:
    """Return source features, labels and logits, and target features: one-hot cells, so that odds are ratios of counts.

    Copies of a feature share the penalty of the regression that tells the domains apart: next to none is left.
    """
    cells = np.tile(np.eye(4), (1, 400))
    wrong = np.concatenate([np.arange(n) < bad for n, bad in zip(_SOURCE, _WRONG, strict=True)])
    labels = wrong.astype(np.int64)
    # The model always answers 0.
    logits = np.tile([1.0, 0.0], (len(labels), 1))
    return np.repeat(cells, _SOURCE, axis=0), labels, logits, np.repeat(cells, _TARGET, axis=0)


def _risk() -> float:
    rate = np.array(_WRONG) / _SOURCE
    return float(rate @ _TARGET / sum(_TARGET))


def _weighted() -> tuple[float, float]:
    return _risk(), importance_weighted_risk(*_world())


def _embedded() -> tuple[float, float]:
    return _risk(), deep_embedded_risk(*_world())


def _always() -> tuple[float, float]:
    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(40, 2)), draw.normal(1.5, 1, (60, 2))
    return 1.0, deep_embedded_risk(source, np.ones(40, np.int64), np.tile([1.0, 0.0], (40, 1)), target)


def _entropy() -> tuple[float, float]:
    from scipy.special import softmax
    from scipy.stats import entropy as expected

    logits = 3 * np.random.default_rng(0).normal(size=(50, 6))
    return float(expected(softmax(logits, axis=1), axis=1).mean()), entropy(logits)


def _groups() -> tuple[float, float]:
    # Of each sample's neighbours two are alike, at cosine 1, and three orthogonal, at 0.
    logits = np.repeat(1e3 * np.eye(2), 3, axis=0)
    near = math.exp(1 / _TEMPERATURE)
    total = 2 * near + 3
    expected = math.log(total) - 2 * near / total / _TEMPERATURE
    return expected, neighbourhood_density(logits, temperature=_TEMPERATURE)


def _alike() -> tuple[float, float]:
    return math.log(9), neighbourhood_density(np.ones((10, 3)))


def _back() -> tuple[float, float]:
    from sklearn.neighbors import KNeighborsClassifier

    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(60, 3)), draw.normal(size=(80, 3))
    # Two classes and three neighbours: no votes are equal.
    logits = draw.normal(size=(80, 2))
    expected = KNeighborsClassifier(3).fit(target, logits.argmax(axis=1)).predict(source)
    return distance(reverse_answers(source, target, logits), expected)
