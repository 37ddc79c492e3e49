"""What is known of transfer by instance: importance weights and boosting."""

import numpy as np

from ...edge.transfer import domain_classifier, kliep, ulsif
from ...edge.transfer.kernels import gaussian
from ...edge.transfer.kmm import match
from ...edge.transfer.label_shift import estimate_prior, estimate_prior_black_box
from ...edge.transfer.selection import nearest_rows
from ..transfer.tradaboost import tradaboost
from .check import Check, distance


def instance_identities() -> tuple[Check, ...]:
    """Return the checks."""
    return (
        Check("KMM", "least loss = scipy's SLSQP, relative", "Huang et al. 2006", _kmm, 1e-5),
        Check("KLIEP", "at the maximum no centre's factor exceeds 1", "Sugiyama et al. 2008; Cover 1984", _kliep, 1e-4),
        Check("uLSIF", "solves (H + penalty I) a = h", "Kanamori, Hido and Sugiyama 2009", _ulsif, 1e-10),
        Check(
            "classifier weights",
            "N(0,1) to N(m,1): w = exp(m x - m^2/2)",
            "Bickel, Brueckner and Scheffer 2007",
            _ratio,
            1e-12,
        ),
        Check("classifier weights", "odds = scikit-learn's logistic regression", "scikit-learn", _logistic, 1e-4),
        Check("instance selection", "rows of scikit-learn's NearestNeighbors", "Turhan et al. 2009", _selected),
        Check("TrAdaBoost", "target only: SAMME's errors and votes", "Dai et al. 2007; scikit-learn", _boosting, 1e-9),
        Check("label shift", "EM: the mean posterior is the mix it finds", "Saerens et al. 2002", _fixed_point, 1e-6),
        Check("label shift", "C w = q: the mix of classes", "Lipton, Wang and Smola 2018", _mix, 1e-12),
    )


def _kmm() -> tuple[float, float]:
    from scipy.optimize import minimize

    draw, n, slack = np.random.default_rng(0), 30, 0.1
    source, target = draw.normal(size=(n, 2)), draw.normal(size=(45, 2)) + 0.5
    kernel = gaussian(source, source, 1.0) + np.eye(n)
    alike = gaussian(source, target, 1.0).sum(axis=1) * n / 45
    found, _ = match(source, target, 1.0, limit=20.0, slack=slack, ridge=1.0)
    other = minimize(
        lambda w: w @ kernel @ w / 2 - alike @ w,
        np.ones(n),
        jac=lambda w: kernel @ w - alike,
        bounds=[(0, 20.0)] * n,
        constraints=[
            {"type": "ineq", "fun": lambda w: w.sum() - n * (1 - slack)},
            {"type": "ineq", "fun": lambda w: n * (1 + slack) - w.sum()},
        ],
        method="SLSQP",
        options={"maxiter": 1_000, "ftol": 1e-12},
    )
    weight = found.x
    return 1.0, float((weight @ kernel @ weight / 2 - alike @ weight) / other.fun)


def _kliep() -> tuple[float, float]:
    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(80, 1)), draw.normal(size=(60, 1)) * 0.6 + 0.7
    at_target, mean = gaussian(target, target[:20], 0.7), gaussian(source, target[:20], 0.7).mean(axis=0)
    coefficient = kliep.fit(at_target, mean)
    factor = at_target.T @ (1 / (at_target @ coefficient)) / (len(target) * mean)
    return 1.0, float(factor.max())


def _ulsif() -> tuple[float, float]:
    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(80, 1)), draw.normal(size=(60, 1)) + 0.5
    at_source, at_target = gaussian(source, target[:8], 1.0), gaussian(target, target[:8], 1.0)
    # With such a penalty no coefficient falls below 0, where it would be cut off.
    found, penalty = ulsif.fit(at_source, at_target, 10.0), 10.0
    return distance(at_source.T @ (at_source @ found) / len(source) + penalty * found, at_target.mean(axis=0))


def _ratio() -> tuple[float, float]:
    x, shift, n, m = np.linspace(-3, 3, 13), 0.8, 300, 120
    # log(p / (1 - p)) with p the probability of the target, by Bayes' rule.
    log_odds = shift * x - shift**2 / 2 + np.log(m / n)
    expected = np.exp(shift * x - shift**2 / 2)
    return distance(domain_classifier.ratio(log_odds, n, m) / expected, np.ones(13))


def _logistic() -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(0)
    x = np.concatenate([draw.normal(size=(90, 3)), draw.normal(size=(60, 3)) + 0.5])
    y = np.repeat([0, 1], [90, 60]).astype(np.int64)
    penalty = 0.1
    found = domain_classifier.fit(x, y, np.array([penalty]))[0]
    strength = penalty * float((x * x).sum()) / len(x) * len(x)
    other = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=10_000).fit(x, y)
    return distance(found, np.r_[other.coef_[0], other.intercept_])


def _selected() -> tuple[float, float]:
    from sklearn.neighbors import NearestNeighbors

    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(60, 3)), draw.normal(size=(15, 3)) + 0.5
    near = NearestNeighbors(n_neighbors=4).fit(source).kneighbors(target, return_distance=False)
    return 0.0, float(len(np.setxor1d(nearest_rows(source, target, 4), near)))


def _boosting() -> tuple[float, float]:
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.tree import DecisionTreeClassifier

    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, 200)
    x = draw.normal(size=(200, 4)) + 0.7 * y[:, None] * [1, -1, 0, 0]
    found = tradaboost(lambda: DecisionTreeClassifier(max_depth=1, random_state=0), [], (x, y), rounds=10)
    other = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=10, random_state=0).fit(x, y)
    rounds = len(found.errors)
    return distance(
        np.r_[found.errors, found.votes], np.r_[other.estimator_errors_[:rounds], other.estimator_weights_[:rounds]]
    )


def _fixed_point() -> tuple[float, float]:
    draw, home = np.random.default_rng(0), np.array([0.5, 0.3, 0.2])
    y = draw.choice(3, 400, p=[0.2, 0.2, 0.6])
    # Posteriors of three Gaussians, by Bayes' rule with the mix of the source.
    likely = np.exp(-((draw.normal(size=(400, 1)) + 2.0 * y[:, None] - 2.0 * np.arange(3)) ** 2) / 2)
    given = likely * home / (likely * home).sum(axis=1, keepdims=True)
    prior = estimate_prior(given, home, most=10_000, tolerance=1e-12).prior
    corrected = given * prior / home
    return distance((corrected / corrected.sum(axis=1, keepdims=True)).mean(axis=0), prior)


def _mix() -> tuple[float, float]:
    # 80 % right in class 0, 70 % in class 1, classes alike in the source; here class 1 has three quarters.
    confusion = np.array([[0.8, 0.3], [0.2, 0.7]]) / 2
    share = float(confusion[1] @ [0.25, 0.75]) * 2
    count = round(share * 1_000)
    predicted = np.repeat([0, 1], [1_000 - count, count])
    return distance(estimate_prior_black_box(confusion, predicted).prior, [0.25, 0.75])
