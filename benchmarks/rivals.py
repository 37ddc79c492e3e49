"""What scikit-learn's classifiers make of the same latents, each tuned on the same folds."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegressionCV, RidgeClassifierCV
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

from acclimate.latent import Float32

Int64 = NDArray[np.int64]
Split = tuple[NDArray[np.intp], NDArray[np.intp]]
_SCORING = "balanced_accuracy"
_THRESHOLDS = (None, 0.2, 0.5, 1.0, 2.0)
_SHRINKAGES = ("auto", 0.01, 0.03, 0.1, 0.3, 0.6, 0.9)


@dataclass(frozen=True, eq=False)
class Rival:
    """A tuned classifier.

    Args:
        name: Its name.
        cross_validated: Class-balanced accuracy of its best setting on held-out samples.
        predicted: ``(t,)`` classes of the fresh samples.
    """

    name: str
    cross_validated: float
    predicted: Int64


def tune(x: Float32, y: Int64, fold: Int64, fresh: Float32) -> list[Rival]:
    """Fit and tune each; latents are standardised.

    Logistic regression, ridge and LDA see latents turned to the span of the samples, which is exact for the first two
    and for LDA changes only what a share of shrinkage means; it saves most of the time.

    Args:
        x: ``(n, d)`` latents.
        y: ``(n,)`` classes.
        fold: ``(n,)`` fold that each sample is held out with, -1 for never.
        fresh: ``(t, d)`` latents to predict.

    Returns:
        Logistic regression, ridge, nearest centroid and LDA; the best is the first of the greatest
        `Rival.cross_validated`.
    """
    scaler = StandardScaler().fit(x)
    whole, ahead = scaler.transform(x).astype(np.float64), scaler.transform(fresh).astype(np.float64)
    splits = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in np.unique(fold[fold >= 0])]
    if len(x) < x.shape[1]:
        _, _, axes = np.linalg.svd(whole, full_matrices=False)
        turned, beyond = whole @ axes.T, ahead @ axes.T
    else:
        turned, beyond = whole, ahead
    with warnings.catch_warnings():
        # Of folds without a sample of some class, and of optima whose last digits do not matter here.
        warnings.simplefilter("ignore")
        even = np.full(len(np.unique(y)), 1 / len(np.unique(y)))
        shrunk, discriminant = NearestCentroid(), LinearDiscriminantAnalysis("lsqr", priors=even)
        return [
            _logistic(turned, y, splits, beyond),
            _ridge(turned, y, splits, beyond),
            _searched(shrunk, {"shrink_threshold": _THRESHOLDS}, whole, y, splits, ahead),
            _searched(discriminant, {"shrinkage": _SHRINKAGES}, turned, y, splits, beyond),
        ]


def _logistic(x: NDArray[Any], y: Int64, splits: list[Split], fresh: NDArray[Any]) -> Rival:
    model = LogisticRegressionCV(
        Cs=10, cv=splits, scoring=_SCORING, class_weight="balanced", max_iter=300, use_legacy_attributes=False
    ).fit(x, y)
    best = float(np.nanmax(np.nanmean(model.scores_, axis=0)))
    return Rival("LogisticRegressionCV", best, model.predict(fresh))


def _ridge(x: NDArray[Any], y: Int64, splits: list[Split], fresh: NDArray[Any]) -> Rival:
    model = RidgeClassifierCV(np.logspace(-2, 6, 9), cv=splits, scoring=_SCORING, class_weight="balanced").fit(x, y)
    return Rival("RidgeClassifierCV", float(model.best_score_), model.predict(fresh))


def _searched(
    model: Any, grid: dict[str, Any], x: NDArray[Any], y: Int64, splits: list[Split], fresh: NDArray[Any]
) -> Rival:
    found = GridSearchCV(model, grid, cv=splits, scoring=_SCORING).fit(x, y)
    return Rival(type(model).__name__, float(found.best_score_), found.predict(fresh))
