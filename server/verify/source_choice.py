"""What is known of the measures by which a source is chosen."""

import numpy as np
from numpy.typing import NDArray

from ...edge.choice.agreement import concordance, kendall_tau, mean_ranks
from ...edge.choice.expected_accuracy import expected_accuracy
from ...edge.choice.h_score import h_score
from ...edge.choice.leep import leep
from ...edge.choice.logme import log_evidence
from ...edge.choice.nce import nce
from .check import Check, distance

Float64 = NDArray[np.float64]
_LOGME = "You et al. 2021; scikit-learn"


def choice_identities() -> tuple[Check, ...]:
    """Return the checks."""
    return (
        Check("LogME", "BayesianRidge's evidence / n, n > d", _LOGME, lambda: _evidence(200, 10), 1e-6),
        Check("LogME", "BayesianRidge's evidence / n, n < d", _LOGME, lambda: _evidence(30, 100), 1e-6),
        Check("LEEP", "of certain answers = NCE", "Nguyen et al. 2020", _certain, 1e-12),
        Check("NCE", "= mutual information - H(y)", "Tran, Nguyen and Hassner 2019; scikit-learn", _information, 1e-12),
        Check("H-score", "sum of squared canonical correlations", "Bao et al. 2019", _correlations, 1e-10),
        Check("Kendall's tau", "= scipy's", "Kendall 1938; scipy", _tau, 1e-12),
        Check("rank aggregation", "mean rank = scipy's rankdata", "Borda 1784; scipy", _mean_ranks, 1e-12),
        Check("Kendall's W", "= scipy's Friedman statistic / (r (m - 1))", "Kendall 1939; scipy", _agreement, 1e-12),
        Check("expected accuracy", "classes far apart: 1", "Nadeau and Bengio 2003", _certain_accuracy),
        Check("expected accuracy", "its lower end = scipy's Wilson interval", "Wilson 1927; scipy", _lower_end, 1e-5),
    )


def _evidence(n: int, d: int) -> tuple[float, float]:
    from sklearn.linear_model import BayesianRidge

    draw = np.random.default_rng(0)
    x = draw.normal(size=(n, d))
    y = (x[:, :5] @ draw.normal(size=5) + draw.normal(size=n) > 0).astype(np.float64)
    flat = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0.0)
    other = BayesianRidge(max_iter=20_000, tol=1e-14, fit_intercept=False, compute_score=True, **flat).fit(x, y)
    return float(other.scores_[-1] / n), float(log_evidence(x, y)[0])


def _answers() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, 120)
    return (y + (draw.random(120) < 0.4) * draw.integers(0, 5, 120)) % 5, y


def _certain() -> tuple[float, float]:
    answers, y = _answers()
    return nce(answers, y), leep(np.eye(5)[answers], y)


def _information() -> tuple[float, float]:
    from sklearn.metrics import mutual_info_score

    answers, y = _answers()
    share = np.bincount(y) / len(y)
    return float(mutual_info_score(answers, y) + (share * np.log(share)).sum()), nce(answers, y)


def _correlations() -> tuple[float, float]:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 4, 100)
    x = draw.normal(size=(100, 6)) + draw.normal(size=(4, 6))[y]
    classes = np.eye(4)[y]
    one, other = (np.linalg.qr(side - side.mean(axis=0))[0] for side in (x, classes[:, 1:]))
    return float((np.linalg.svd(one.T @ other, compute_uv=False) ** 2).sum()), h_score(x, y, shrinkage=0.0)


def _tau() -> tuple[float, float]:
    from scipy.stats import kendalltau

    draw = np.random.default_rng(0)
    a, b = draw.normal(size=9), draw.normal(size=9)
    return float(kendalltau(a, b).statistic), kendall_tau(a, b)


def _scores() -> Float64:
    # With ties.
    return np.random.default_rng(0).integers(0, 5, (3, 8)).astype(np.float64)


def _mean_ranks() -> tuple[float, float]:
    from scipy.stats import rankdata

    return distance(mean_ranks(_scores()), rankdata(-_scores(), axis=1).mean(axis=0))


def _agreement() -> tuple[float, float]:
    from scipy.stats import friedmanchisquare

    return float(friedmanchisquare(*_scores().T).statistic / (3 * 7)), concordance(_scores())


def _far_apart() -> tuple[Float64, NDArray[np.int64]]:
    y = np.arange(145) % 2
    return np.random.default_rng(0).normal(size=(145, 4)) + 50.0 * y[:, None], y


def _certain_accuracy() -> tuple[float, float]:
    return 1.0, expected_accuracy(*_far_apart()).accuracy


def _lower_end() -> tuple[float, float]:
    from scipy.stats import binomtest, t

    # 25 folds that share samples, each of 29, say as much as 145 / (5 (1/25 + 1/4)) = 100 independent samples.
    level = 1 - 2 * t.sf(t.ppf(0.975, 24), 1e9)
    return binomtest(100, 100).proportion_ci(level, "wilson").low, expected_accuracy(*_far_apart()).low
