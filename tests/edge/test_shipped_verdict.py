"""What a shipped head calls unknown before anything was learnt on the device."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from acclimate.bundle import Bundle
from acclimate.edge import Learner
from acclimate.edge.runtime.runtime import load_backbone
from acclimate.manifest import Runtime

Opening = Callable[..., Learner]
Remake = Callable[..., Path]


def noise(n: int) -> NDArray[np.uint8]:
    """Return frames of nothing."""
    return np.random.default_rng(0).integers(0, 256, (n, 8, 8, 1), np.uint8)


def test_frames_like_the_sources_are_seldom_unknown(opening: Opening, scenes: ModuleType) -> None:
    """About the stated 5 % of further samples of the source; most frames of nothing."""
    learner = opening()
    assert 0.025 < learner.predict(scenes.frames(2000, seed=5)[0]).unknown.mean() < 0.1
    assert learner.predict(noise(200)).unknown.mean() > 0.7


def test_the_verdict_is_what_the_page_says(
    opening: Opening, tiny_bundle: Path, scenes: ModuleType, runtime: Runtime
) -> None:
    """Recomputed in float64 from the arrays of the bundle by the formula of `docs/bundle-format.md`."""
    with Bundle(tiny_bundle) as bundle:
        arrays, code, manifest = bundle.novelty(runtime), bundle.code(runtime), bundle.manifest
        embedder = load_backbone(bundle.backbone(runtime), runtime, manifest.input, manifest.width)
    assert arrays is not None
    centre, scale, weight, span, mean, offset, numbers = (array.astype(np.float64) for array in arrays.values())
    frames = np.concatenate([scenes.frames(300, seed=6)[0], noise(100)])
    z = code.clip(embedder.embed(frames)).astype(np.float64)
    x = (z - centre) * scale
    u = x @ weight.T
    far = ((u[:, None] - mean) ** 2).sum(axis=2)
    nearest = far.argmin(axis=1)
    left = np.maximum((x**2).sum(axis=1) - ((u @ span.T) ** 2).sum(axis=1), 1e-12)
    score = np.log(len(weight) + far.min(axis=1)) + np.log(left) - offset[nearest]
    clear = np.abs(score - numbers[0]) > 1e-3
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(opening().predict(frames).unknown[clear], (score > numbers[0])[clear])
    assert numbers[1:].tolist() == [0.05, 600]


def test_without_one_nothing_is_unknown(opening: Opening, remake: Remake, scenes: ModuleType) -> None:
    """A bundle that has a head and no verdict opens and predicts the same labels."""
    frames = np.concatenate([scenes.frames(40, seed=5)[0], noise(40)])
    with_one, without = opening(), opening(bundle=remake(novelty=None))
    assert not without.predict(frames).unknown.any()
    assert list(without.predict(frames).labels) == list(with_one.predict(frames).labels)


def test_it_comes_back_with_the_shipped_head(opening: Opening, scenes: ModuleType) -> None:
    """An adapted head has a verdict of its own; rolled back, frames are judged as before."""
    learner, (x, y) = opening(), scenes.frames(120, seed=2, shift=1.0)
    before = learner.predict(x).unknown
    assert before.mean() > 0.9
    learner.fit(x, y)
    assert learner.predict(x).unknown.mean() < 0.2
    learner.rollback(0)
    np.testing.assert_array_equal(learner.predict(x).unknown, before)


def test_a_removed_class_is_unknown(opening: Opening, scenes: ModuleType) -> None:
    """Without it in the head, its frames are unlike the others; those of the others are judged as before."""
    learner, (x, y) = opening(), scenes.frames(400, seed=5)
    before = learner.predict(x).unknown
    learner.classes.remove("moss")
    after = learner.predict(x).unknown
    assert after[y == "moss"].mean() > 0.5
    np.testing.assert_array_equal(after[y != "moss"], before[y != "moss"])
