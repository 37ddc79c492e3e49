"""A bundle with a tail on the device: frames are embedded once, latents and maps stored, and all else is as before."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="acclimate[onnx] is not installed")

from acclimate.bundle import Bundle
from acclimate.edge import Learner
from acclimate.edge.runtime import runtime as runtimes
from acclimate.edge.runtime.onnx import open_model
from acclimate.edge.runtime.runtime import check_maps, load_backbone
from acclimate.errors import AcclimateError, BackendError
from acclimate.manifest import RUNTIMES, Runtime


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_stored_is_what_the_backbone_gave(tail_bundle: Path, scenes: ModuleType, runtime: Runtime) -> None:
    """Codes of latent and map of every frame, in one call of the backbone."""
    if runtimes.installed(runtime) is None:
        pytest.skip(f"acclimate[{runtime}] is not installed")
    frames, labels = scenes.frames(50, seed=7)
    with Bundle(tail_bundle) as bundle, Learner.open(tail_bundle, threads=1, runtime=runtime) as learner:
        code, map_code, manifest = bundle.code(runtime), bundle.map_code(runtime), bundle.manifest
        assert map_code is not None
        embedder = load_backbone(bundle.backbone(runtime), runtime, manifest.input, manifest.width, 1, map_code.shape)
        latents, maps = embedder.embed_with_maps(frames)
        np.testing.assert_array_equal(embedder.embed(frames), latents)
        ids = learner.observe(frames, labels)
        store = learner._session.store
        np.testing.assert_array_equal(store.samples(ids).codes, code.encode(latents))
        np.testing.assert_array_equal(store.maps(ids), map_code.encode(maps))
        found, shown = learner._session.latents_and_maps(frames)
        np.testing.assert_array_equal(found, code.clip(latents))
        np.testing.assert_array_equal(shown, map_code.clip(maps))


def test_the_tail_gives_the_heads_logits(tail_bundle: Path, scenes: ModuleType) -> None:
    """The shipped tail on stored maps and the shipped head on latents agree, for other numbers of classes too."""
    frames, _ = scenes.frames(60, seed=8)
    with Bundle(tail_bundle) as bundle, Learner.open(tail_bundle, threads=1) as learner:
        tail, head = bundle.tail("onnx"), bundle.head("onnx")
        assert tail is not None
        assert head is not None
        latents, maps = learner._session.latents_and_maps(frames)
    expected = latents @ head.weight.T + head.bias
    model = open_model(tail.forward, 1, "tail")
    stored = tail.code.decode(tail.code.encode(maps))
    for k in (2, 3):
        values = {name: a[:k] if name in tail.spec.head else a for name, a in tail.parameters.items()}
        (logits,) = model.run(["logits"], {"map": stored, **{f"parameter/{n}": a for n, a in values.items()}})
        assert logits.shape == (60, k)
        np.testing.assert_allclose(logits, expected[:, :k], atol=0.02 * np.abs(expected).max())


def test_a_learner_adapts_heads_as_before(tail_bundle: Path, scenes: ModuleType, tmp_path: Path) -> None:
    """Observing, adapting, forgetting and reopening work on a bundle with a tail."""
    frames, labels = scenes.frames(120, seed=9, shift=1)
    path = tmp_path / "device.db"
    with Learner.open(tail_bundle, path, threads=1) as learner:
        ids = learner.observe(frames, labels)
        learner.adapt()
        learner.forget(ids=ids[:5])
    with Learner.open(tail_bundle, path, threads=1) as learner:
        assert learner.score(frames, labels) > 0.6


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("shape", [None, (16, 4), (16, 4, 5), (4, 4, 16)])
def test_a_backbone_of_other_maps_is_refused(
    tail_bundle: Path, runtime: Runtime, shape: tuple[int, ...] | None
) -> None:
    """Also one that gives maps where the manifest has none."""
    if runtimes.installed(runtime) is None:
        pytest.skip(f"acclimate[{runtime}] is not installed")
    with Bundle(tail_bundle) as bundle, pytest.raises(BackendError, match="expected a backbone from"):
        load_backbone(bundle.backbone(runtime), runtime, bundle.manifest.input, bundle.manifest.width, 1, shape)


def test_without_a_tail_there_are_no_maps(tiny_bundle: Path, scenes: ModuleType) -> None:
    """And a bundle cannot say that there are."""
    frames, _ = scenes.frames(3, seed=1)
    with Bundle(tiny_bundle) as bundle:
        content, manifest = bundle.backbone("onnx"), bundle.manifest
        embedder = load_backbone(content, "onnx", manifest.input, manifest.width, 1)
        with pytest.raises(BackendError, match="expected a backbone that gives maps"):
            embedder.embed_with_maps(frames)
        with pytest.raises(BackendError, match="expected a backbone from"):
            load_backbone(content, "onnx", manifest.input, manifest.width, 1, (16, 4, 4))


def test_the_other_runtime_gives_no_maps(tiny_bundle: Path, scenes: ModuleType) -> None:
    """It says so, whether the file or the call asks for them."""
    if runtimes.installed("tflite") is None:
        pytest.skip("acclimate[tflite] is not installed")
    with Bundle(tiny_bundle) as bundle:
        content, manifest = bundle.backbone("tflite"), bundle.manifest
    with pytest.raises(BackendError, match="expected a backbone from"):
        load_backbone(content, "tflite", manifest.input, manifest.width, 1, (16, 4, 4))
    embedder = load_backbone(content, "tflite", manifest.input, manifest.width, 1)
    with pytest.raises(BackendError, match="gives maps"):
        embedder.embed_with_maps(scenes.frames(1, seed=1)[0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_maps_that_are_not_numbers(value: float) -> None:
    """The frame is named; so is a map of another shape or type."""
    maps = np.ones((3, 2, 2), np.float32)
    assert check_maps(maps, 3, (2, 2), "test") is maps
    maps[1, 0, 1] = value
    with pytest.raises(BackendError, match="expected finite maps, found that test gives NaN or infinity for frame 1"):
        check_maps(maps, 3, (2, 2), "test")
    for other in (maps[:2], maps[:, 0], maps.astype(np.float64)):
        with pytest.raises(BackendError, match=r"expected maps \(3, 2, 2\) float32, found"):
            check_maps(other, 3, (2, 2), "test")


@pytest.mark.parametrize("member", ["tail.onnx", "train.onnx"])
def test_tails_that_reach_outside_are_refused(
    tail_bundle: Path, forgery: ModuleType, onnx_by_hand: ModuleType, tmp_path: Path, member: str
) -> None:
    """The same scan as for a backbone stands in front of the runtime."""
    content = forgery.members_of(tail_bundle)[f"onnx/{member}"]
    # A second graph with a tensor elsewhere: fields of a protocol buffer may come twice, and are merged.
    tensor = onnx_by_hand.external_tensor("w", [1], "weights.bin")
    outside = onnx_by_hand.field(7, onnx_by_hand.field(5, tensor))
    with pytest.raises(BackendError, match="external file"):
        open_model(content + outside, 1, "tail")
    with pytest.raises(AcclimateError, match=r"expected an ONNX file|cannot load the tail"):
        open_model(content[:100] + b"location", 1, "tail")
