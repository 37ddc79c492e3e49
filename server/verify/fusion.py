"""What is known of the fusion of modalities: pools in closed form, the least loss, latents side by side."""

import numpy as np
from numpy.typing import NDArray

from ...edge.transfer.concatenation import Concatenation
from ...edge.transfer.late_fusion import equal_weights, fit_late
from ...edge.transfer.pool_weights import Pool, on_simplex
from .check import Check, distance

Float64 = NDArray[np.float64]


def fusion_identities() -> tuple[Check, ...]:
    """Return the checks."""
    genest = "Genest and Zidek 1986"
    return (
        Check("late fusion", "log pool of equal weights = softmax of the mean logits", genest, _mean_logits, 1e-12),
        Check("late fusion", "linear pool of equal weights = the mean probability", genest, _mean, 1e-12),
        Check("late fusion", "log pool: loss = scipy's SLSQP", f"{genest}; scipy", lambda: _least("log", 0), 1e-6),
        Check(
            "late fusion", "linear pool: loss = scipy's SLSQP", f"{genest}; scipy", lambda: _least("linear", 1), 1e-6
        ),
        Check("late fusion", "(1, 0.5, -2) onto the simplex: (3/4, 1/4, 0)", "Duchi et al. 2008", _projected, 1e-12),
        Check("concatenation", "= scikit-learn's StandardScaler of each modality", "scikit-learn", _scaled, 1e-12),
    )


def _logits() -> Float64:
    return 2 * np.random.default_rng(0).normal(size=(3, 40, 4))


def _verdicts() -> Float64:
    from scipy.special import softmax

    found: Float64 = softmax(_logits(), axis=2)
    return found


def _mean_logits() -> tuple[float, float]:
    from scipy.special import softmax

    return distance(equal_weights(3, "log").apply(list(_verdicts())), softmax(_logits().mean(axis=0), axis=1))


def _mean() -> tuple[float, float]:
    return distance(equal_weights(3, "linear").apply(list(_verdicts())), sum(_verdicts()) / 3)


def _least(pool: Pool, seed: int) -> tuple[float, float]:
    """Return the least cross-entropy that another solver finds, and that of the weights fitted."""
    from scipy.optimize import LinearConstraint, minimize
    from scipy.special import log_softmax

    y, rows, given = np.random.default_rng(seed).integers(0, 4, 40), np.arange(40), _verdicts()
    # The first modality is right more often than by chance.
    given[0, rows, y] += 1.0
    given[0] /= given[0].sum(axis=1, keepdims=True)

    def loss(weight: Float64) -> float:
        if pool == "linear":
            return -float(np.log(np.tensordot(weight, given, 1)[rows, y]).mean())
        return -float(log_softmax(np.tensordot(weight, np.log(given), 1), axis=1)[rows, y].mean())

    found = fit_late(list(given), y, pool=pool)
    whole = LinearConstraint(np.ones(3), 1, 1)
    other = minimize(
        loss, np.full(3, 1 / 3), method="SLSQP", bounds=[(0, 1)] * 3, constraints=whole, options={"ftol": 1e-12}
    )
    return float(other.fun), loss(found.weight)


def _projected() -> tuple[float, float]:
    return distance(on_simplex(np.array([1.0, 0.5, -2.0])), [0.75, 0.25, 0.0])


def _scaled() -> tuple[float, float]:
    from sklearn.preprocessing import StandardScaler

    draw = np.random.default_rng(0)
    parts, new = ([draw.normal(3, scale, (n, d)) for d, scale in ((4, 1), (7, 50))] for n in (30, 9))
    expected = [StandardScaler().fit(part).transform(x) for part, x in zip(parts, new, strict=True)]
    return distance(Concatenation.fit(parts).apply(new), np.concatenate(expected, axis=1))
