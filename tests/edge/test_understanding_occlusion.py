"""Occlusion, against closed forms of linear models."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.understanding.occlusion import log_odds, occlude, occlude_learner
from acclimate.errors import BudgetError, InputError


def linear(shape: tuple[int, ...], classes: int = 3, seed: int = 0) -> tuple[Any, Any]:
    """Return a linear model of frames, and its weights ``(classes, *shape)``."""
    weight = np.random.default_rng(seed).normal(size=(classes, *shape))
    return lambda x: x.reshape(len(x), -1).astype(np.float64) @ weight.reshape(classes, -1).T, weight


def test_a_linear_model_gets_weight_times_input_patch_by_patch() -> None:
    """Without overlap each patch, also one cut at the edge, falls by its sum of weight times input less fill."""
    scores, weight = linear((7, 5, 2))
    x = np.random.default_rng(1).normal(size=(4, 7, 5, 2))
    found = occlude(scores, x, patch=(3, 2), stride=(3, 2), fill=0.25, target=[0, 2, 1, 2])
    for i, c in enumerate([0, 2, 1, 2]):
        parts = (weight[c] * (x[i] - 0.25)).sum(axis=2)
        for top in (0, 3, 6):
            for left in (0, 2, 4):
                cut = (i, slice(top, top + 3), slice(left, left + 2))
                np.testing.assert_allclose(found.heat[cut], parts[cut[1:]].sum(), rtol=1e-9, atol=1e-12)
    assert found.looks == 4 * (1 + 9)


def test_patches_of_one_place_are_the_parts_of_the_score() -> None:
    """With patches of one place the heat adds up to the score less that of the fill (completeness)."""
    scores, _ = linear((6, 4), seed=2)
    x = np.random.default_rng(3).normal(size=(5, 6, 4))
    found = occlude(scores, x, patch=1, stride=1, fill=0.0)
    np.testing.assert_allclose(found.heat.sum(axis=(1, 2)), found.score, rtol=1e-9)
    np.testing.assert_array_equal(found.target, scores(x).argmax(axis=1))


def test_where_patches_overlap_a_place_has_the_mean_of_those_that_hide_it() -> None:
    """Of a window of a series each time has the mean over the patches over it, channels hidden together."""
    scores, weight = linear((6, 2), classes=1, seed=4)
    x = np.random.default_rng(5).normal(size=(1, 6, 2))
    found = occlude(scores, x, axes=(0,), patch=3, stride=1, fill=0.0)
    parts = (weight[0] * x[0]).sum(axis=1)
    fell = [parts[i : i + 3].sum() for i in range(4)]
    wanted = [np.mean([fell[i] for i in range(4) if i <= t < i + 3]) for t in range(6)]
    np.testing.assert_allclose(found.heat[0], wanted, rtol=1e-9)


def test_the_usual_fill_is_the_mean_of_each_channel() -> None:
    """A frame that is constant in every channel loses nothing, in whole numbers too."""
    scores, _ = linear((4, 4, 3))
    x = np.broadcast_to(np.array([10, 20, 30], np.uint8), (2, 4, 4, 3))
    assert not occlude(scores, x).heat.any()


def test_the_part_that_a_planted_model_looks_at_stands_out(tiny_bundle: Path, scenes: ModuleType) -> None:
    """A learner's heat has the shape of a frame; hiding what does not matter to a score changes nothing."""
    x, _ = scenes.frames(3, 7)
    with Learner.open(tiny_bundle, threads=1) as learner:
        calls: list[tuple[int, int]] = []
        found = occlude_learner(learner, x, patch=2, progress=lambda done, total: calls.append((done, total)))
        assert found.heat.shape == (3, 8, 8)
        assert calls[-1] == (found.looks, found.looks)
        classes = list(learner.predict(x).classes)
        assert [classes[i] for i in found.target] == learner.predict(x).labels.tolist()
        one = occlude_learner(learner, x[0], patch=2)
        np.testing.assert_allclose(one.heat[0], found.heat[0], atol=1e-4)

    def corner(frames: Any) -> Any:
        return frames[:, :2, :2, 0].sum(axis=(1, 2), dtype=np.float64)[:, None]

    heat = occlude(corner, x, patch=2, stride=2, fill=0).heat
    assert heat[:, :2, :2].all()
    heat[:, :2, :2] = 0
    assert not heat.any()


def test_log_odds_of_a_sure_prediction_are_finite_and_right() -> None:
    """They equal the logits' differences for two classes, and stay exact near 1."""
    logits = np.array([[0.0, 3.0], [26.5, 0.0], [-25.0, 0.0]])
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(log_odds(shares)[:, 0], logits[:, 0] - logits[:, 1], rtol=1e-9)


def test_work_is_bounded() -> None:
    """More looks than allowed are refused before the model is asked."""
    asked: list[int] = []

    def scores(x: Any) -> Any:
        asked.append(len(x))
        return np.zeros((len(x), 1))

    with pytest.raises(BudgetError, match="at most 100 looks"):
        occlude(scores, np.zeros((4, 8, 8)), patch=1, most=100)
    assert not asked


@pytest.mark.parametrize(
    "options",
    [{"patch": 9}, {"patch": 0}, {"patch": 2, "stride": 3}, {"axes": (3,)}, {"target": 3}, {"target": [0]},
     {"fill": float("nan")}, {"fill": np.zeros(5)}],
)  # fmt: skip
def test_what_does_not_fit_is_refused(options: Any) -> None:
    """Patches, strides, axes, targets and fills that cannot be are errors that say so."""
    scores, _ = linear((8, 8, 1))
    with pytest.raises(InputError, match="expected"):
        occlude(scores, np.ones((2, 8, 8, 1)), **options)


def test_scores_that_are_not_finite_are_refused() -> None:
    """NaN would spread over the whole map without a word."""
    with pytest.raises(InputError, match="finite scores"):
        occlude(lambda x: np.full((len(x), 2), np.nan), np.ones((1, 4, 4)))
