"""The exported model says what the learner says, whatever became of its classes; and it never replaces a file."""

import json
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.runtime.runtime import installed
from acclimate.errors import InputError, OutputExistsError
from acclimate.manifest import Runtime

from .learners import Opening, fresh

# Where the best two are closer than this, rounding may choose the other one.
GAP = 2e-3
FAR = np.random.default_rng(5).integers(0, 256, (300, 8, 8, 1), dtype=np.uint8)


def run(path: Path, runtime: Runtime, frames: np.ndarray) -> tuple[Any, list[str]]:
    """Run an exported file with nothing of ours, and return probabilities and class names."""
    module: Any = import_module({"onnx": "onnxruntime", "tflite": f"{installed('tflite')}.interpreter"}[runtime])
    if runtime == "onnx":
        session = module.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        names = json.loads(session.get_modelmeta().custom_metadata_map["acclimate.classes"])
        return session.run(["probabilities"], {session.get_inputs()[0].name: frames})[0], names
    model = module.Interpreter(model_path=str(path), num_threads=1)
    model.resize_tensor_input(model.get_input_details()[0]["index"], frames.shape)
    model.allocate_tensors()
    model.set_tensor(model.get_input_details()[0]["index"], frames)
    model.invoke()
    with zipfile.ZipFile(path) as archive:
        names = archive.read("labels.txt").decode().splitlines()
    return model.get_tensor(model.get_output_details()[0]["index"]), names


def as_shipped(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    pass


def adapted(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    fresh(learner, x, y)


def renamed_and_extended(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    learner.observe(255 - x[:8], ["樹皮 é"] * 8)
    fresh(learner, x, y)
    learner.classes.rename("bark", "Rinde")


def merged(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    fresh(learner, x, y)
    learner.classes.merge(["bark", "moss"], "soft")


def removed(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    fresh(learner, x, y)
    learner.classes.remove("brick")


def merged_and_removed_as_shipped(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    learner.classes.merge(["gravel", "bark"], "ground")
    learner.classes.remove("moss")


def forgotten(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    fresh(learner, x, y)
    learner.forget(label="moss")


LIVES = [as_shipped, adapted, renamed_and_extended, merged, removed, merged_and_removed_as_shipped, forgotten]


@pytest.mark.parametrize("life", LIVES)
def test_it_says_what_the_learner_says(
    opening: Opening,
    scenes: ModuleType,
    tmp_path: Path,
    runtime: Runtime,
    life: Callable[[Learner, np.ndarray, np.ndarray], None],
) -> None:
    """On a thousand frames, near and far: probabilities within 1e-3, names, and each answer that is no tie."""
    learner = opening("device.db")
    life(learner, *scenes.frames(72, 2, 1.0))
    learner.export(tmp_path / f"m.{runtime}")
    frames = np.concatenate([scenes.frames(400, 98)[0], scenes.frames(300, 99, 1.0)[0], FAR])
    found, names = run(tmp_path / f"m.{runtime}", runtime, frames)
    live = learner.predict(frames)
    assert tuple(names) == live.classes
    assert found.shape == (1000, len(names))
    np.testing.assert_allclose(found, live.probabilities, atol=1e-3)
    two = np.sort(live.probabilities, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] > GAP
    assert clear.sum() > 900
    np.testing.assert_array_equal(found.argmax(axis=1)[clear], live.probabilities.argmax(axis=1)[clear])


def test_a_file_is_never_replaced_unasked(
    opening: Opening, scenes: ModuleType, tmp_path: Path, runtime: Runtime
) -> None:
    """A file that is there is refused and stays; `overwrite` replaces it, and nothing else is left in the folder."""
    learner, path = opening(), tmp_path / f"m.{runtime}"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match=rf"m\.{runtime} is there already"):
        learner.export(path)
    assert path.read_text() == "mine"
    learner.export(str(path), overwrite=True)
    assert path.stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_do_not_fit(opening: Opening, tmp_path: Path, runtime: Runtime) -> None:
    """The ending tells the format, which is that of the runtime; another, or none, is refused in words."""
    other = {"onnx": "tflite", "tflite": "onnx"}[runtime]
    learner = opening()
    for name in (f"m.{other}", "m", f"m.{runtime}.bak", f"m.{runtime.upper()}"):
        with pytest.raises(
            InputError, match=rf"expected a file name ending in \.{runtime}, found '{name}'.*latents of"
        ):
            learner.export(tmp_path / name)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        learner.export(tmp_path / "nowhere" / f"m.{runtime}")


def test_without_a_head_there_is_nothing_to_export(
    opening: Opening, remake: Callable[..., Path], tmp_path: Path, runtime: Runtime
) -> None:
    """A bundle that ships no head has to learn first."""
    learner = opening(None, remake(head=None, source=None, classes=()))
    with pytest.raises(InputError, match=r"expected a head to export, found none: observe labelled samples and adapt"):
        learner.export(tmp_path / f"m.{runtime}")
    with pytest.raises(InputError, match=r"expected a head to save, found none: observe labelled samples and adapt"):
        learner.save_update(tmp_path / "u.accu")
    assert [path.name for path in tmp_path.iterdir()] == ["other.acc"]
