"""What the low-rank form of the source costs: accuracy on real digits against the whole second moment."""

from types import ModuleType

import numpy as np

from acclimate.edge.adaptation.coordinates import embed
from acclimate.edge.adaptation.selection import cross_validate, fit
from acclimate.edge.heads import LDA, Problem, Prototype
from acclimate.edge.statistics import RANK, SourceStatistics, Statistics
from acclimate.latent import LatentCode

WIDTH, SEEDS = 640, 6


def accuracies(seed: int, ranks: tuple[int | None, ...]) -> list[float]:
    """Adapt to 50 shifted digits with the statistics of 900 others, in forms of several ranks; None: whole."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    mixing, order = rng.normal(size=(64, WIDTH)) / 8, rng.permutation(len(y))
    source, local, test = order[:900], np.sort(order[900:950]), order[950:]
    shift = rng.normal(size=64) * 2

    def latents(rows: np.ndarray) -> np.ndarray:
        # Random rectified features stand for a backbone.
        return np.maximum(rows / 16 @ mixing, 0).astype(np.float32)

    far, near, asked = latents(x[source]), latents(x[local] + shift), latents(x[test] + shift)
    code = LatentCode.fit(np.vstack([far, near]))
    exact, codes, found = Statistics.of(code.encode(far), y[source], 10), code.encode(near), []
    for rank in ranks:
        shipped = SourceStatistics.compress(exact, rank)
        if rank is None:
            shipped = SourceStatistics(exact.count, exact.sum, exact.moment, None, None)
        coordinates, samples = embed(codes, shipped, None, code)
        problem = Problem(samples, y[local], 10, coordinates.source(shipped, np.arange(10), 10))
        heads = (Prototype(), LDA())
        layer = coordinates.layer(fit(problem, cross_validate(problem, heads).best, heads), code)
        logits = code.decode(code.encode(asked)) @ layer.weight.T + layer.bias
        found.append(float((logits.argmax(axis=1) == y[test]).mean()))
    return found


def test_the_rank_that_travels_loses_less_than_a_fifth_of_a_point(sklearn: ModuleType) -> None:
    """On average over seeds, the shipped rank is within 0.2 points of the whole moment; an eighth of it is not."""
    found = np.array([accuracies(seed, (None, RANK, RANK // 8)) for seed in range(SEEDS)])
    whole, shipped, small = 100 * found.mean(axis=0)
    assert whole > 90
    assert whole - shipped <= 0.2
    assert whole - small > 0.5
