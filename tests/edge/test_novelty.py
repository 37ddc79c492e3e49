"""The `unknown` verdict: its score against dense linear algebra, its threshold against counting, its promises."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from acclimate.edge.statistics import SourceStatistics, Statistics
from acclimate.edge.unknown.fit import EXEMPT, fit_novelty
from acclimate.edge.unknown.model import Labelled, discriminate
from acclimate.edge.unknown.novelty import Novelty, conformal_threshold, samples_needed
from acclimate.errors import BundleFormatError, InputError
from acclimate.latent import LatentCode
from acclimate.tensors import pack, unpack

D = 12
CODE = LatentCode(np.linspace(0.5, 2, D, dtype=np.float32), np.linspace(-3, 3, D, dtype=np.float32))
Codes = NDArray[np.uint8]
Classes = NDArray[np.int64]


def draw(n: int, k: int, seed: int, moved: float = 0.0) -> tuple[Codes, Classes]:
    """Draw correlated codes of k classes of one world, in turn; `moved` shifts all of them, as another place would."""
    world, rng = np.random.default_rng(7), np.random.default_rng((8, seed))
    mean, mixing = 128 + world.normal(size=(20, D)) * 18, world.normal(size=(D, D)) * 3
    step = world.normal(size=D)
    y = np.arange(n) % k
    values = mean[y] + rng.normal(size=(n, D)) @ mixing + moved * step
    return np.clip(np.rint(values), 0, 255).astype(np.uint8), y


def fold_of(y: Classes) -> Classes:
    """Deal samples that come class by class in turn to five folds."""
    return np.asarray(np.arange(len(y)) // (y.max() + 1) % 5)


def source_of(n: int, k: int, rank: int | None = None) -> SourceStatistics:
    """Return the statistics of a source."""
    return SourceStatistics.compress(Statistics.of(*draw(n, k, 99), k), rank)


def alarms(novelty: Novelty | None, codes: Codes) -> float:
    """Return the share of codes that are called unknown."""
    assert novelty is not None
    return float(novelty.unknown(CODE.decode(codes)).mean())


def fitted(n: int, k: int, seed: int = 1) -> Novelty:
    """Fit on n samples of k classes."""
    codes, y = draw(n, k, seed)
    novelty = fit_novelty(codes, y, fold_of(y), k, CODE)
    assert novelty is not None
    return novelty


@given(st.lists(st.integers(0, 10**6), min_size=20, max_size=60, unique=True), st.sampled_from([0.05, 0.1, 0.2]))
def test_threshold_is_exceeded_as_rarely_as_stated(numbers: list[int], rate: float) -> None:
    """With each of n + 1 scores as the further one in turn, at most the stated share exceeds the others' threshold."""
    scores = np.array(numbers, np.float64)
    above = [scores[i] > conformal_threshold(np.delete(scores, i), rate) for i in range(len(scores))]
    assert np.mean(above) <= rate
    # One rank lower, one more would exceed it, and that is too many.
    assert sum(above) + 1 > rate * len(scores) - 1e-9


def test_too_few_scores_give_no_threshold() -> None:
    """Of 18 scores none is exceeded in one of twenty cases; of 19 it is the greatest."""
    assert (samples_needed(0.05), samples_needed(0.1), samples_needed(0.01)) == (19, 9, 99)
    assert conformal_threshold(np.arange(18.0), 0.05) == math.inf
    assert conformal_threshold(np.arange(19.0), 0.05) == 18
    assert conformal_threshold(np.arange(39.0), 0.05) == 37


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_rate_is_between_0_and_1(rate: float) -> None:
    """Another rate is refused."""
    with pytest.raises(InputError, match="false-alarm rate above 0 and below 1"):
        samples_needed(rate)


@pytest.mark.parametrize("n", [9, 200])
def test_score_is_that_of_dense_algebra(n: int) -> None:
    """Distances differ as full Mahalanobis distances do, and what is left of a latent is what least squares leaves."""
    k = 3
    codes, y = draw(n, k, 3)
    model = discriminate(Labelled.of(codes, y, k), None, CODE)
    assert model is not None
    spread = np.maximum(codes.std(axis=0), 1)
    mean = np.stack([codes[y == c].mean(axis=0) for c in range(k)])
    residual = (codes - mean[y]) / spread
    scatter = residual.T @ residual
    covariance = (scatter + np.trace(scatter) / D * np.eye(D)) / (2 * (n - k))
    other, _ = draw(50, 6, 4)
    z = (other - mean.mean(axis=0)) / spread
    centred = (mean - mean.mean(axis=0)) / spread
    away = z[:, None, :] - centred
    full = np.einsum("ncd,de,nce->nc", away, np.linalg.inv(covariance), away)
    u = z @ model.weight.T.astype(np.float64)
    within = ((u[:, None, :] - model.mean) ** 2).sum(axis=2)
    np.testing.assert_allclose(within - within[:, :1], full - full[:, :1], rtol=1e-3, atol=1e-3)
    assert (within <= full * 1.0001).all()
    basis = model.weight.T.astype(np.float64)
    left = z.T - basis @ np.linalg.lstsq(basis, z.T, rcond=None)[0]
    expected = np.log(k - 1 + within.min(axis=1)) + np.log((left**2).sum(axis=0))
    np.testing.assert_allclose(model.scores(CODE.decode(other)), expected, rtol=1e-3, atol=1e-3)


def test_rows_and_scatter_give_one_solution() -> None:
    """The dual form, from rows, is the primal one, from the scatter."""
    codes, y = draw(60, 3, 5)
    primal = discriminate(Labelled.of(codes, y, 3), None, CODE)
    again = discriminate(replace(Labelled.of(codes, y, 3), statistics=None), None, CODE)
    few = discriminate(Labelled.of(codes[:10], y[:10], 3), None, CODE)
    assert primal is not None
    assert again is not None
    assert few is not None
    latents = CODE.decode(draw(40, 6, 6)[0])
    np.testing.assert_allclose(primal.scores(latents), again.scores(latents), rtol=1e-4, atol=1e-4)
    assert not np.allclose(primal.scores(latents), few.scores(latents), atol=0.1)


def test_samples_left_out_leave_no_trace() -> None:
    """The statistics without some samples are those of the others."""
    codes, y = draw(90, 3, 5)
    out = np.arange(90) < 30
    left = Labelled.of(codes, y, 3).without(out).statistics
    anew = Labelled.of(codes[~out], y[~out], 3).statistics
    assert left is not None
    assert anew is not None
    assert left.moment.tobytes() == anew.moment.tobytes()
    assert left.sum.tobytes() == anew.sum.tobytes()


@pytest.mark.parametrize("per_class", [6, 40])
def test_false_alarms_are_as_rare_as_stated(per_class: int) -> None:
    """Over 40 draws, samples of known classes are unknown in at most about the stated share of cases."""
    k = 4
    seen = [alarms(fitted(per_class * k, k, seed), draw(400, k, 1000 + seed)[0]) for seed in range(40)]
    # 40 thresholds of n scores each scatter by about sqrt(rate / n / 40) around the stated rate.
    assert np.mean(seen) <= 0.05 + 3 * math.sqrt(0.05 / (per_class * k) / 40)
    assert np.mean(seen) > 0.005


def test_classes_never_seen_are_unknown() -> None:
    """Most samples of other classes are called unknown, and frames of nothing are."""
    novelty = fitted(160, 4)
    others, labels = draw(600, 20, 2)
    assert alarms(novelty, others[labels >= 4]) > 0.6
    assert alarms(novelty, np.zeros((1, D), np.uint8)) == 1
    assert alarms(novelty, np.full((1, D), 255, np.uint8)) == 1


def test_one_latent_has_the_score_that_it_has_among_others() -> None:
    """For one latent the score is worked out by other calls: the same to rounding, near the classes and far away."""
    novelty = fitted(160, 4)
    codes = np.concatenate([draw(600, 20, 2)[0], np.zeros((1, D), np.uint8), np.full((1, D), 255, np.uint8)])
    latents = CODE.decode(codes)
    found = np.array([novelty.score(latent) for latent in latents])
    np.testing.assert_allclose(found, novelty.scores(latents), atol=1e-4)
    assert 0.2 < novelty.unknown(latents).mean() < 0.9
    np.testing.assert_array_equal(found > novelty.threshold, novelty.unknown(latents))
    assert np.ptp(found) > 3


def test_samples_that_belong_together_are_held_out_together() -> None:
    """With copies in other folds the threshold is too low: folds are taken as they are given."""
    codes, y = draw(40, 4, 1)
    twice, labels = np.repeat(codes, 2, axis=0), np.repeat(y, 2)
    together = fit_novelty(twice, labels, np.repeat(fold_of(y), 2), 4, CODE)
    apart = fit_novelty(twice, labels, np.arange(80) % 2, 4, CODE)
    assert together is not None
    assert apart is not None
    assert together.threshold > apart.threshold + 0.1


def test_nothing_is_unknown_without_evidence() -> None:
    """Too few samples, one class, classes of one sample each, and a class that nothing shows give no verdict."""
    codes, y = draw(60, 3, 1)
    fold = fold_of(y)
    assert fit_novelty(codes[:18], y[:18], fold[:18], 3, CODE) is None
    assert fit_novelty(codes[:21], y[:21], fold[:21], 3, CODE) is not None
    assert fit_novelty(codes, np.zeros(60, np.int64), fold, 1, CODE) is None
    assert fit_novelty(codes, np.arange(60), np.arange(60) % 5, 60, CODE) is None
    assert fit_novelty(codes, y, fold, 4, CODE) is None
    assert fit_novelty(np.full((60, D), 9, np.uint8), y, fold, 3, CODE) is None


def test_a_class_of_one_sample_does_not_raise_the_threshold() -> None:
    """A sample of which nothing else shows the class is not held out, and neither is one that is in no fold."""
    codes, y = draw(60, 3, 1)
    alone = np.append(codes, draw(18, 18, 2)[0][17:], axis=0)
    novelty = fit_novelty(alone, np.append(y, 3), np.append(fold_of(y), 0), 4, CODE)
    assert novelty is not None
    assert novelty.samples == 60
    assert novelty.threshold < fitted(60, 3).threshold + 0.5
    without = fit_novelty(codes, y, np.where(np.arange(60) < 6, -1, fold_of(y)), 3, CODE)
    assert without is not None
    assert without.samples == 54


@pytest.mark.parametrize("rank", [None, 6])
def test_the_source_enters_moved(rank: int | None) -> None:
    """A class without local samples is where the source has it, moved by the mean way of the others."""
    k, source = 5, source_of(400, 5, rank)
    codes, y = draw(100, k, 1, 14.0)
    here = y < 3
    model = discriminate(Labelled.of(codes[here], y[here], k), source, CODE)
    assert model is not None
    away = np.stack([codes[y == c].mean(axis=0) for c in range(3)]) - source.mean()[:3]
    expected = CODE.offset + (source.mean()[4] + away.mean(axis=0)) * CODE.scale
    u = ((expected - model.centre) * model.scale) @ model.weight.T
    np.testing.assert_allclose(u, model.mean[4], atol=1e-3)


def test_low_rank_source_is_solved_with_its_rest_spread_evenly() -> None:
    """Alone, a source of factor and diagonal gives the discriminants of ``factor^T factor`` and its mean diagonal."""
    source = source_of(400, 5, 3)
    model = discriminate(Labelled.of(np.empty((0, D), np.uint8), np.empty(0, np.int64), 5), source, CODE)
    assert model is not None
    assert source.factor is not None
    assert source.diagonal is not None
    spread = np.sqrt(source.variance())
    factor = source.factor / spread
    scatter = factor.T @ factor + np.mean(source.diagonal / spread**2) * np.eye(D)
    covariance = (scatter + np.trace(scatter) / D * np.eye(D)) / (2 * (400 - 5))
    centred = (source.mean() - source.mean().mean(axis=0)) / spread
    away = centred[:, None] - centred
    full = np.einsum("ncd,de,nce->nc", away, np.linalg.inv(covariance), away)
    found = ((model.mean[:, None] - model.mean) ** 2).sum(axis=2)
    np.testing.assert_allclose(found, full, rtol=1e-3, atol=1e-3)


def test_lengths_must_agree() -> None:
    """A class and a fold for each sample are asked for."""
    codes, y = draw(60, 3, 1)
    with pytest.raises(InputError, match="a class and a fold for each of 60 samples, found 60, 59"):
        fit_novelty(codes, y, fold_of(y)[:59], 3, CODE)


@pytest.mark.parametrize("rank", [None, 6])
def test_classes_of_the_source_are_known(rank: int | None) -> None:
    """In another place, shipped classes without local samples are seldom unknown; classes of neither still are."""
    k, moved = 8, 14.0
    codes, y = draw(320, k, 1, moved)
    here = y < 5
    novelty = fit_novelty(codes[here], y[here], fold_of(y)[here], k, CODE, source_of(800, k, rank))
    alone = fit_novelty(codes[here], y[here], fold_of(y)[here], 5, CODE)
    others, labels = draw(800, 20, 2, moved)
    only = others[(labels >= 5) & (labels < 8)]
    assert alarms(novelty, only) < 0.12
    assert alarms(alone, only) > 0.5
    assert alarms(novelty, others[labels < 5]) < 0.12
    assert alarms(novelty, others[labels >= 8]) > 0.4
    assert novelty is not None
    assert (novelty.offset[:5] == 0).all()


def test_a_source_that_cannot_be_compared_exempts_its_classes() -> None:
    """With fewer than two classes here and there, nothing is known of the way between: never unknown."""
    codes, y = draw(120, 6, 1)
    here = (y == 0) | (y >= 4)
    places = np.array([0, 1, 2, 3])
    source = source_of(400, 4)
    novelty = fit_novelty(codes[here], y[here], fold_of(y)[here], 6, CODE, source, shipped=places)
    assert novelty is not None
    assert novelty.offset.tolist() == [0, EXEMPT, EXEMPT, EXEMPT, 0, 0]
    others, labels = draw(120, 6, 2)
    assert alarms(novelty, others[labels == 2]) == 0


def test_places_of_the_source_may_be_others() -> None:
    """With its classes at other places the source says the same."""
    codes, y = draw(160, 5, 1)
    here, source = y < 4, source_of(400, 5)
    straight = fit_novelty(codes[here], y[here], fold_of(y)[here], 5, CODE, source)
    turned = fit_novelty(codes[here], 4 - y[here], fold_of(y)[here], 5, CODE, source, shipped=np.arange(5)[::-1])
    assert straight is not None
    assert turned is not None
    latents = CODE.decode(draw(60, 8, 3)[0])
    np.testing.assert_allclose(straight.scores(latents), turned.scores(latents), atol=1e-3)
    assert straight.threshold == pytest.approx(turned.threshold, abs=1e-3)


def test_a_class_that_is_removed_is_no_longer_known() -> None:
    """Its samples become unknown, those of the others stay as they are; without any class there is no verdict."""
    novelty = fitted(160, 4)
    fewer = novelty.keeping(np.array([True, True, False, True]))
    codes, labels = draw(400, 4, 2)
    assert alarms(novelty, codes[labels == 2]) < 0.15
    assert alarms(fewer, codes[labels == 2]) > 0.5
    assert alarms(fewer, codes[labels != 2]) < 0.15
    assert novelty.keeping(np.zeros(4, np.bool_)) is None


def test_equal_arguments_give_equal_verdicts() -> None:
    """Fits are deterministic."""
    assert pack(fitted(80, 4).to_arrays()) == pack(fitted(80, 4).to_arrays())


def test_many_rows_are_scored_as_few_are() -> None:
    """Rows that are scored in blocks get the scores that they get alone."""
    novelty = fitted(80, 4)
    latents = CODE.decode(draw(9_000, 6, 3)[0])
    together = novelty.scores(latents)
    assert together.shape == (9_000,)
    assert together.dtype == np.float32
    for i in (0, 4_095, 4_096, 8_999):
        np.testing.assert_allclose(novelty.scores(latents[i : i + 1]), together[i : i + 1], rtol=1e-4, atol=1e-4)


def test_it_is_stored_beside_a_head() -> None:
    """Through safetensors and back it gives the same scores, bit for bit, at about a head's size."""
    novelty, latents = fitted(80, 4), CODE.decode(draw(50, 6, 3)[0])
    content = pack(novelty.to_arrays())
    again = Novelty.from_arrays(unpack(content, "head", Novelty.spec(D)), "head")
    assert again.scores(latents).tobytes() == novelty.scores(latents).tobytes()
    assert (again.threshold, again.rate, again.samples) == (novelty.threshold, 0.05, 80)
    values = sum(array.size for array in novelty.to_arrays().values())
    assert values <= (4 + 2) * D + 4 * 4 * 2 + 4 + 3


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("span", np.ones((2, 3), np.float32)),
        ("mean", np.ones((4, 2), np.float32)),
        ("mean", np.ones((0, 3), np.float32)),
        ("offset", np.ones(3, np.float32)),
        ("weight", np.ones((0, D), np.float32)),
        ("scale", np.zeros(D, np.float32)),
        ("numbers", np.array([1.0, 0.0, 5.0])),
        ("numbers", np.array([1.0, 0.05, -1.0])),
        ("numbers", np.array([1.0, 0.05, 2.5])),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, array: NDArray[np.generic]) -> None:
    """What was stored is hostile input: each of these alone is refused."""
    arrays = fitted(80, 4).to_arrays() | {f"novelty.{name}": array}
    with pytest.raises(BundleFormatError, match=r"update 3: expected a score of novelty.* found .* or adapt again"):
        Novelty.from_arrays(unpack(pack(arrays), "update 3", Novelty.spec(D)), "update 3")
