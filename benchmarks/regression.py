"""Regression heads against scikit-learn's RidgeCV, on its own data: R^2 on samples that neither has seen.

Acclimate has 8-bit codes and chooses everything by itself (`adapt`, without the guard: the candidate is taken); RidgeCV
has float features, standardised, and chooses among as many strengths by leave-one-out error. The last rows are of a
place with another zero: what head and statistics of a source bring there, which RidgeCV has no use for.

`python -m benchmarks.regression --json FILE`
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mlxtend.data import autompg_data, boston_housing_data
from numpy.typing import NDArray
from scipy.ndimage import rotate
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from acclimate.bundle import LinearLayer
from acclimate.edge.regression.adaptation import ShippedRegression, adapt
from acclimate.edge.regression.head import RegressionHead
from acclimate.edge.regression.source import RegressionSource
from acclimate.edge.store.samples import StoredSamples
from acclimate.latent import LatentCode

from .harness import Row, finish
from .paired import paired

Float64 = NDArray[np.float64]
SEEDS, SIZES = 5, (30, 100, 300)
ALPHAS = tuple(float(10 ** (power / 2)) for power in range(-8, 13))


@dataclass(frozen=True, eq=False)
class Data:
    """Features ``(n, d)`` and targets ``(n, t)``."""

    x: Float64
    y: Float64


def diabetes() -> Data:
    """Progression of diabetes, 442 patients, 10 features."""
    x, y = load_diabetes(return_X_y=True)
    return Data(x, y[:, None])


def boston() -> Data:
    """Prices of houses, 506 tracts, 13 features."""
    x, y = boston_housing_data()
    return Data(np.asarray(x, np.float64), np.asarray(y, np.float64)[:, None])


def mileage() -> Data:
    """Miles per gallon, 392 cars, 7 features."""
    x, y = autompg_data()
    return Data(np.asarray(x, np.float64)[:, :7], np.asarray(y, np.float64)[:, None])


def angles() -> Data:
    """By how much 1,797 digits of 8 x 8 pixels are turned, and how much ink they have: two targets."""
    images, rng = load_digits().images, np.random.default_rng(0)
    turned = rng.uniform(-45, 45, len(images))
    x = np.stack([rotate(image, angle, reshape=False, order=1) for image, angle in zip(images, turned, strict=True)])
    return Data(x.reshape(len(x), -1), np.stack([turned, images.mean(axis=(1, 2))], axis=1))


def main() -> None:
    """Measure and print."""
    rows = [row for load in (diabetes, boston, mileage, angles) for row in compare(load)]
    finish("regression", rows, ["scikit-learn", "mlxtend"])


def compare(load: Callable[[], Data]) -> list[Row]:
    """Return the rows of one collection."""
    data, rows = load(), []
    # Of 30 turned digits many pixels are dark in all, and RidgeCV, which divides by their spread, falls apart.
    for n in SIZES[1:] if load is angles else SIZES:
        found = np.array([once(data, n, seed) for seed in range(SEEDS)])
        ours, rival, moved, joint, refit = 100 * found.mean(axis=0)
        name = f"{load.__name__}, {n} samples"
        gap = paired((100 * (found[:, 1] - found[:, 0])).tolist())
        note = f"R^2 {ours:.1f}, its {rival:.1f}; it is better by {gap}"
        rows.append(Row(f"RidgeCV better by at most, {name}", gap.high, "points", 0.0, "scikit_learn", note))
        note = f"shipped head {moved:.1f}; RidgeCV on the samples alone {refit:.1f}"
        rows.append(Row(f"R^2 with a source, another zero, {name}", joint, "points", refit, "", note))
    return rows


def once(data: Data, n: int, seed: int) -> tuple[float, float, float, float, float]:
    """Return R^2 of ours and of RidgeCV, and at a place with another zero of the shipped head, ours, and RidgeCV."""
    order = np.random.default_rng(seed).permutation(len(data.x))
    # The source is as large as what is left of small collections allows.
    local, rest = order[:n], order[n:]
    fresh, home = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    code = LatentCode.fit(data.x[np.concatenate([local, home])].astype(np.float32))
    codes = code.encode(data.x.astype(np.float32))
    rival = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(data.x[local], data.y[local])
    expected = rival.predict(data.x[fresh]).reshape(len(fresh), -1)

    def ours(y: Float64, shipped: ShippedRegression) -> RegressionHead:
        samples = StoredSamples(np.arange(1, n + 1), np.full(n, -1), codes[local])
        return adapt(samples, y[local], shipped, None).head

    def score(head: RegressionHead, y: Float64) -> float:
        return r2(y[fresh], head.values(code.decode(codes[fresh])).astype(np.float64))

    alone = score(ours(data.y, ShippedRegression(code, None, None)), data.y)
    away = data.y + 2 * data.y.std(axis=0)
    at_home = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(code.decode(codes[home]), data.y[home])
    weight = at_home[1].coef_.reshape(data.y.shape[1], -1) / at_home[0].scale_
    bias = np.atleast_1d(at_home[1].intercept_) - weight @ at_home[0].mean_
    layer = LinearLayer(weight.astype(np.float32), bias.astype(np.float32))
    shipped = ShippedRegression(code, layer, RegressionSource.of(codes[home], data.y[home]))
    refit = r2(data.y[fresh], expected)
    return alone, refit, score(RegressionHead(layer), away), score(ours(away, shipped), away), refit


def r2(y: Float64, predicted: Float64) -> float:
    """Return the mean over the targets of the share of the variance that is explained."""
    return float(np.mean(1 - ((predicted - y) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)))


if __name__ == "__main__":
    main()
