"""Fusion of modalities, against scikit-learn and scipy on the same features."""

import itertools
from typing import Any

import numpy as np
import pytest

from acclimate.edge.transfer.concatenation import Concatenation
from acclimate.edge.transfer.late_fusion import LateFusion, equal_weights, fit_late
from acclimate.edge.transfer.pool_weights import on_simplex
from acclimate.errors import InputError


def looks(seed: int, n: int = 240, k: int = 3) -> tuple[list[Any], Any]:
    """Draw a sample's latents in three modalities of other widths and scales, the last one noise; and classes."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, k, n)
    parts = [
        scale * (strength * draw.normal(size=(k, d))[y] + draw.normal(size=(n, d))) + shift
        for d, scale, strength, shift in ((5, 1.0, 0.6, 3.0), (12, 100.0, 0.4, -50.0), (4, 0.01, 0.0, 0.0))
    ]
    return parts, y


def verdicts(parts: list[Any], y: Any, train: slice, test: slice) -> list[Any]:
    """Return what scikit-learn's logistic regression says of each modality."""
    linear, pipeline = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.pipeline")
    scaler = pytest.importorskip("sklearn.preprocessing").StandardScaler
    return [
        pipeline.make_pipeline(scaler(), linear.LogisticRegression()).fit(x[train], y[train]).predict_proba(x[test])
        for x in parts
    ]


def test_concatenation_is_scikit_learns_column_transformer() -> None:
    """Standardised per modality, on other samples than it was fitted on, and so is what a classifier makes of it."""
    compose = pytest.importorskip("sklearn.compose")
    scaler = pytest.importorskip("sklearn.preprocessing").StandardScaler
    linear = pytest.importorskip("sklearn.linear_model")
    parts, y = looks(0)
    joined, edges = np.concatenate(parts, axis=1), np.cumsum([0, *(x.shape[1] for x in parts)])
    blocks = [(str(i), scaler(), slice(edges[i], edges[i + 1])) for i in range(len(parts))]
    oracle = compose.ColumnTransformer(blocks).fit(joined[:150])
    ours = Concatenation.fit([x[:150] for x in parts])
    found, wanted = ours.apply([x[150:] for x in parts]), oracle.transform(joined[150:])
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    model = linear.LogisticRegression().fit(ours.apply([x[:150] for x in parts]), y[:150])
    rival = linear.LogisticRegression().fit(oracle.transform(joined[:150]), y[:150])
    np.testing.assert_allclose(model.predict_proba(found), rival.predict_proba(wanted), atol=1e-9)


def test_balance_gives_each_modality_one_unit_of_variance() -> None:
    """Whatever its width, a modality adds the same to squared distances."""
    parts, _ = looks(1)
    ours = Concatenation.fit(parts, balance=True)
    x = ours.apply(parts)
    edges = np.cumsum([0, *(part.shape[1] for part in parts)])
    shares = [x[:, a:b].var(axis=0).sum() for a, b in itertools.pairwise(edges)]
    np.testing.assert_allclose(shares, 1.0, rtol=1e-9)


def test_a_dimension_that_never_changes_is_centred_alone() -> None:
    """A constant is not divided by rounding."""
    x = np.column_stack([np.full(50, 0.1), np.arange(50.0)])
    found = Concatenation.fit([x]).apply([x])
    assert np.abs(found[:, 0]).max() < 1e-12


def test_the_plain_mean_of_probabilities_is_scikit_learns_soft_vote() -> None:
    """Linear pooling with weights equals VotingClassifier on the same features."""
    ensemble, linear = pytest.importorskip("sklearn.ensemble"), pytest.importorskip("sklearn.linear_model")
    parts, y = looks(2)
    x = parts[0]
    rivals = [(str(c), linear.LogisticRegression(C=c)) for c in (0.01, 1.0, 100.0)]
    vote = ensemble.VotingClassifier(rivals, voting="soft", weights=[0.5, 0.3, 0.2]).fit(x[:150], y[:150])
    each = [model.predict_proba(x[150:]) for model in vote.estimators_]
    found = LateFusion(np.array([0.5, 0.3, 0.2]), "linear").apply(each)
    np.testing.assert_allclose(found, vote.predict_proba(x[150:]), atol=1e-12)


def test_log_pooling_of_linear_heads_is_the_head_of_mean_logits() -> None:
    """The geometric mean of softmax outputs is the softmax of the mean logits, in closed form."""
    draw = np.random.default_rng(3)
    logits = draw.normal(size=(2, 30, 4))
    shares = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    mean = np.exp(logits.mean(axis=0))
    found = equal_weights(2).apply(list(shares))
    np.testing.assert_allclose(found, mean / mean.sum(axis=1, keepdims=True), rtol=1e-10)


@pytest.mark.parametrize("pool", ["log", "linear"])
@pytest.mark.parametrize("seed", range(5))
def test_weights_are_the_best_on_the_simplex(pool: Any, seed: int) -> None:
    """The held-out loss equals what scipy's SLSQP finds from another start, and the gap proves it."""
    optimize = pytest.importorskip("scipy.optimize")
    parts, y = looks(seed)
    each = verdicts(parts, y, slice(0, 120), slice(120, None))
    found = fit_late(each, y[120:], pool=pool)
    assert found.weight.min() >= 0
    assert found.weight.sum() == pytest.approx(1.0, abs=1e-12)
    assert found.gap < 1e-6
    rows = np.arange(len(y) - 120)

    def loss(weight: Any) -> float:
        shares = LateFusion(np.asarray(weight), pool).apply(each)
        return float(-np.log(shares[rows, y[120:]]).mean())

    rule = {"type": "eq", "fun": lambda w: w.sum() - 1}
    rival = optimize.minimize(loss, [0.8, 0.1, 0.1], bounds=[(0, 1)] * 3, constraints=rule, method="SLSQP", tol=1e-12)
    assert found.loss == pytest.approx(loss(found.weight), abs=1e-12)
    assert found.loss <= rival.fun + 1e-7
    assert found.weight[2] < 0.35


def test_fusing_two_views_is_better_than_either_and_noise_is_not_asked() -> None:
    """Over five draws late fusion's accuracy on new samples is above that of the best modality on average."""
    gains, noise = [], []
    for seed in range(5):
        parts, y = looks(seed, n=600)
        chosen = verdicts(parts, y, slice(0, 200), slice(200, 400))
        fused = fit_late(chosen, y[200:400])
        new = verdicts(parts, y, slice(0, 200), slice(400, None))
        accuracy = [float((p.argmax(axis=1) == y[400:]).mean()) for p in (*new, fused.apply(new))]
        gains.append(accuracy[-1] - max(accuracy[:-1]))
        noise.append(fused.weight[2])
    assert np.mean(gains) > 0.005
    assert np.mean(noise) < 0.15


def test_equal_modalities_and_one_alone() -> None:
    """Of one modality the weight is 1, and copies give what one of them gives."""
    parts, y = looks(4)
    (one, *_) = verdicts(parts, y, slice(0, 120), slice(120, None))
    assert fit_late([one], y[120:]).weight.tolist() == [1.0]
    both = fit_late([one, one], y[120:])
    np.testing.assert_allclose(both.apply([one, one]), one, atol=1e-9)


def test_a_certain_mistake_is_no_veto_without_end() -> None:
    """Probabilities of 0 keep the loss finite."""
    sure, fair = np.array([[1.0, 0.0]] * 10), np.full((10, 2), 0.5)
    found = fit_late([sure, fair], np.ones(10, np.int64))
    assert np.isfinite(found.loss)
    assert found.weight[1] > 0.99


def test_the_projection_is_the_nearest_point() -> None:
    """No random point of the simplex is nearer."""
    draw = np.random.default_rng(5)
    for _ in range(20):
        v = draw.normal(size=4)
        p = on_simplex(v)
        assert p.sum() == pytest.approx(1.0)
        others = draw.dirichlet(np.ones(4), 500)
        assert ((others - v) ** 2).sum(axis=1).min() >= ((p - v) ** 2).sum() - 1e-12


def test_bad_input_is_refused() -> None:
    """Missing rows, other widths, NaN, logits for probabilities, unknown classes and pools are errors that say so."""
    parts, _ = looks(6)
    fitted = Concatenation.fit(parts)
    half = np.full((3, 2), 0.5)
    with pytest.raises(InputError, match="late fusion"):
        Concatenation.fit([parts[0], parts[1][:-1]])
    with pytest.raises(InputError, match="widths"):
        fitted.apply(parts[::-1])
    with pytest.raises(InputError, match="finite"):
        Concatenation.fit([np.full((3, 2), np.nan)])
    with pytest.raises(InputError, match="not logits"):
        fit_late([np.ones((3, 2))], np.zeros(3, np.int64))
    with pytest.raises(InputError, match="classes from 0"):
        fit_late([half], np.array([0, 1, 2]))
    with pytest.raises(InputError, match="pool"):
        fit_late([half], np.zeros(3, np.int64), pool="median")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InputError, match="modalities"):
        equal_weights(2).apply([half])
    with pytest.raises(InputError, match="same samples"):
        fit_late([half, half[:2]], np.zeros(3, np.int64))


def test_what_has_no_finite_variance_and_what_is_no_number_is_refused() -> None:
    """Squares of 1e200 are infinite: all would be divided to 0."""
    with pytest.raises(InputError, match="finite variance, found values up to 1e\\+200"):
        Concatenation.fit([np.array([[1e200], [-1e200]])])
    with pytest.raises(InputError, match="found some that overflow"):
        Concatenation.fit([np.array([[0.0], [1e-3]])]).apply([np.array([[1e307]])])
    with pytest.raises(InputError, match=r"latents .* as real numbers"):
        Concatenation.fit([np.array([["a"]])])
    with pytest.raises(InputError, match=r"probabilities .* as real numbers"):
        fit_late([np.array([["a", "b"]])], np.zeros(1, np.int64))


@pytest.mark.parametrize("weight", [[0.5, 0.6], [1.5, -0.5], [np.nan, 1.0], [], [[1.0]], ["1"]])
def test_weights_that_are_none_are_refused(weight: Any) -> None:
    """Not adding up to 1, below 0, NaN, none, of another shape, or text."""
    with pytest.raises(InputError, match="weights \\(m,\\) of 0 or more that add up to 1"):
        LateFusion(np.array(weight))


def test_a_pool_that_is_none_is_refused() -> None:
    """It would be taken for the geometric mean."""
    with pytest.raises(InputError, match="'log' or 'linear', found 'median'"):
        LateFusion(np.ones(1), "median")  # type: ignore[arg-type]  # on purpose
