"""The checked-in bundle: what its script makes, small, and complete."""

import dataclasses
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.bundle import Bundle
from acclimate.manifest import Manifest

ROOT = Path(__file__).parents[2]


def test_it_is_small_and_complete(tiny_bundle: Path, scenes: ModuleType) -> None:
    """Both runtimes, 8-bit weights, head, statistics and verdict for four classes, several taps; below 150 kB."""
    assert tiny_bundle.stat().st_size < 150_000
    with Bundle(tiny_bundle) as bundle:
        bundle.verify()
        manifest = bundle.manifest
        assert {variant.runtime for variant in manifest.variants} == {"onnx", "tflite"}
        assert (manifest.classes, manifest.input.shape, manifest.input.dtype) == (scenes.CLASSES, scenes.SHAPE, "uint8")
        assert len(manifest.taps) > 1
        for variant in manifest.variants:
            assert variant.quantized
            assert bundle.head(variant.runtime) is not None
            source = bundle.source(variant.runtime)
            assert source is not None
            assert "fisher" in source
            assert bundle.novelty(variant.runtime) is not None


@pytest.mark.parametrize("name", ["tiny", "tail"])
def test_it_names_no_machine(tiny_bundle: Path, name: str) -> None:
    """No folder of the computer that made it is left in any member."""
    content = tiny_bundle.with_name(f"{name}.acc").read_bytes()
    for trace in (b"/home/", b"/root/", b"/tmp/", b"/usr/", b"site-packages", b"http://", b"https://"):
        assert trace not in content


def test_scenes_are_the_same_everywhere(scenes: ModuleType) -> None:
    """Equal seeds give equal frames; classes are balanced; another place looks different."""
    frames, labels = scenes.frames(40, seed=1)
    again, _ = scenes.frames(40, seed=1)
    np.testing.assert_array_equal(frames, again)
    assert (frames.dtype, frames.shape) == (np.uint8, (40, *scenes.SHAPE))
    assert sorted(labels) == sorted(scenes.CLASSES * 10)
    assert len(np.unique(frames.reshape(40, -1), axis=0)) == 40
    assert not np.array_equal(frames, scenes.frames(40, seed=2)[0])
    assert not np.array_equal(frames, scenes.frames(40, seed=1, shift=1)[0])


@pytest.mark.slow
@pytest.mark.needs_torch
@pytest.mark.parametrize("name", ["tiny", "tail"])
def test_its_script_makes_it(tiny_bundle: Path, tmp_path: Path, name: str) -> None:
    """Made again, it agrees in everything but what another processor or version may round differently."""
    for module in ("torch", "onnx", "onnxscript", "litert_torch", "ai_edge_quantizer"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    command = [sys.executable, "-m", f"tests.fixtures.make_{name}", str(tmp_path / "made.acc")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    def essentials(manifest: Manifest) -> dict[str, Any]:
        kept = dataclasses.asdict(manifest)
        kept["members"] = sorted(manifest.members)
        kept["variants"] = [(variant.runtime, variant.quantized, variant.tolerance) for variant in manifest.variants]
        kept["provenance"] = sorted(manifest.provenance)
        return kept

    with Bundle(tmp_path / "made.acc") as made, Bundle(tiny_bundle.with_name(f"{name}.acc")) as kept:
        assert essentials(made.manifest) == essentials(kept.manifest)
        for variant in kept.manifest.variants:
            one, other = made.head(variant.runtime), kept.head(variant.runtime)
            assert one is not None
            assert other is not None
            np.testing.assert_allclose(one.weight, other.weight, atol=0.1)
            new, old = made.tail(variant.runtime), kept.tail(variant.runtime)
            assert (new is None) == (old is None)
            if new is not None and old is not None:
                assert new.spec == old.spec
                for key, values in old.parameters.items():
                    np.testing.assert_allclose(new.parameters[key], values, atol=0.1)
