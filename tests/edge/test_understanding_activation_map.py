"""Class-activation maps: the mean of the map and the bias are the logit."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.understanding.activation_map import activation_map, class_map, resized
from acclimate.edge.understanding.tap_maps import sources_of
from acclimate.errors import BackendError, InputError


def test_the_mean_of_the_map_and_the_bias_are_the_logit() -> None:
    """In closed form, for a head that is linear on a mean over space."""
    draw = np.random.default_rng(0)
    maps, weight, bias = draw.normal(size=(5, 3, 4, 6)), draw.normal(size=(2, 6)), draw.normal(size=2)
    logits = maps.mean(axis=(1, 2)) @ weight.T + bias
    for c in range(2):
        np.testing.assert_allclose(class_map(maps, weight[c]).mean(axis=(1, 2)) + bias[c], logits[:, c], rtol=1e-12)


@pytest.mark.parametrize(("old", "new"), [((2, 2), (8, 8)), ((3, 5), (7, 7)), ((7,), (3,)), ((4, 4), (4, 4))])
def test_another_grid_keeps_the_mean(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    """Cells share areas, so that the mean stays, and whole multiples repeat."""
    maps = np.random.default_rng(1).normal(size=(3, *old))
    found = resized(maps, new)
    assert found.shape == (3, *new)
    axes = tuple(range(1, maps.ndim))
    np.testing.assert_allclose(found.mean(axis=axes), maps.mean(axis=axes), rtol=1e-12, atol=1e-15)
    if old == (2, 2):
        np.testing.assert_allclose(found, maps.repeat(4, axis=1).repeat(4, axis=2), rtol=1e-12)


@pytest.mark.parametrize("bundle", ["tiny_bundle", "tail_bundle"])
def test_a_bundles_maps_explain_its_logits(bundle: str, scenes: ModuleType, request: pytest.FixtureRequest) -> None:
    """With ONNX Runtime every tap has a map: mean, bias and a rest of rounding are the logit that predicts."""
    pytest.importorskip("onnxruntime")
    path: Path = request.getfixturevalue(bundle)
    x, _ = scenes.frames(20, 3)
    with Learner.open(path, runtime="onnx", threads=1) as learner:
        found, predicted = activation_map(learner, x), learner.predict(x)
    assert found.map.shape == (20, 8, 8)
    assert found.without == ()
    np.testing.assert_allclose(found.map.mean(axis=(1, 2)) + found.bias + found.rest, found.logit, rtol=1e-12)
    assert np.abs(found.rest).max() < 1e-4
    np.testing.assert_array_equal(found.target, predicted.probabilities.argmax(axis=1))


def test_the_logits_are_those_that_predict(tiny_bundle: Path, scenes: ModuleType) -> None:
    """The logits of all classes, made of maps alone, give the probabilities of the learner."""
    pytest.importorskip("onnxruntime")
    x, _ = scenes.frames(12, 4)
    with Learner.open(tiny_bundle, runtime="onnx", threads=1) as learner:
        wanted = learner.predict(x).probabilities
        maps = [activation_map(learner, x, target=c) for c in range(wanted.shape[1])]
    logits = np.stack([one.map.mean(axis=(1, 2)) + one.bias for one in maps], axis=1)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(shares / shares.sum(axis=1, keepdims=True), wanted, atol=1e-4)


def test_an_adapted_head_is_explained_with_classes_of_its_own(tiny_bundle: Path, scenes: ModuleType) -> None:
    """After adapting in another place the identity holds for the head in use."""
    pytest.importorskip("onnxruntime")
    x, y = scenes.frames(120, 1, 1.0)
    with Learner.open(tiny_bundle, runtime="onnx", threads=1) as learner:
        learner.observe(x, y)
        learner.adapt(on_insufficient="apply")
        found = activation_map(learner, x[:10])
    np.testing.assert_allclose(found.map.mean(axis=(1, 2)) + found.bias + found.rest, found.logit, rtol=1e-12)


def test_merged_classes_are_explained_by_the_part_that_says_most(tiny_bundle: Path, scenes: ModuleType) -> None:
    """Targets are columns of the predicted probabilities, also where two rows of the layer are one class."""
    pytest.importorskip("onnxruntime")
    x, _ = scenes.frames(12, 5)
    with Learner.open(tiny_bundle, runtime="onnx", threads=1) as learner:
        learner.classes.merge(["bark", "brick"], "wall")
        predicted = learner.predict(x).probabilities
        found = activation_map(learner, x)
    assert predicted.shape[1] == 3
    np.testing.assert_array_equal(found.target, predicted.argmax(axis=1))


def test_without_inner_tensors_it_is_refused_by_name(tiny_bundle: Path, scenes: ModuleType) -> None:
    """LiteRT gives no maps: the error names what to do instead."""
    pytest.importorskip("ai_edge_litert")
    x, _ = scenes.frames(2, 3)
    with Learner.open(tiny_bundle, runtime="tflite", threads=1) as learner, pytest.raises(InputError, match="LiteRT"):
        activation_map(learner, x)


def test_litert_gives_the_map_at_the_cut_of_a_tail(tail_bundle: Path, scenes: ModuleType) -> None:
    """There one tap has a map, and what the others say is told as the rest."""
    pytest.importorskip("ai_edge_litert")
    x, _ = scenes.frames(6, 3)
    with Learner.open(tail_bundle, runtime="tflite", threads=1) as learner:
        found = activation_map(learner, x)
    assert found.taps == ("stage2",)
    assert found.without == ("stage1", "head:input")
    np.testing.assert_allclose(found.map.mean(axis=(1, 2)) + found.bias + found.rest, found.logit, rtol=1e-12)
    assert np.abs(found.rest).max() > 1


def test_a_tap_that_is_no_mean_has_no_map(tiny_bundle: Path, scenes: ModuleType) -> None:
    """What the graph does not show to be pooled is left out; names and targets that are none are refused."""
    from acclimate.bundle import Bundle

    pytest.importorskip("onnxruntime")
    with Bundle(tiny_bundle) as bundle:
        content, taps = bundle.backbone("onnx"), bundle.manifest.taps
    assert list(sources_of(content, taps)) == ["stage1", "stage2", "head:input"]
    assert sources_of(content, taps[:2]) == {}
    with pytest.raises(BackendError, match="ONNX backbone"):
        sources_of(content[:50], taps)
    x, _ = scenes.frames(2, 3)
    with Learner.open(tiny_bundle, runtime="onnx", threads=1) as learner:
        with pytest.raises(InputError, match="taps among"):
            activation_map(learner, x, taps=["stage9"])
        with pytest.raises(InputError, match="target"):
            activation_map(learner, x, target=4)


def test_a_trained_tail_is_refused_by_name(
    tail_bundle: Path, scenes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its logits are no sum over places; without a head there is nothing to explain."""
    pytest.importorskip("onnxruntime")
    x, _ = scenes.frames(2, 3)
    with Learner.open(tail_bundle, runtime="onnx", threads=1) as learner:
        now = learner._session.in_use()
        assert now is not None
        tail: Any = object()
        tailed = replace(now, tail=tail)
        monkeypatch.setattr(learner._session, "in_use", lambda: tailed)
        with pytest.raises(InputError, match="trained tail"):
            activation_map(learner, x)
        monkeypatch.setattr(learner._session, "in_use", lambda: None)
        with pytest.raises(InputError, match="head to explain"):
            activation_map(learner, x)
