"""A bundle for LiteRT alone has a tail too, and a device lives with it as with any other."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("litert_torch", reason="acclimate[convert-tflite] is not installed")

from ai_edge_litert.interpreter import Interpreter
from torch import nn

from acclimate.bundle import Bundle
from acclimate.converters import convert
from acclimate.converters.training.tflite_ops import EMITTERS
from acclimate.edge import Learner
from acclimate.edge.tail import attempt
from acclimate.errors import ConversionError
from acclimate.manifest import TailCut

pytestmark = pytest.mark.needs_torch
CLASSES = [str(i) for i in range(10)]


def make(path: Path, net: nn.Module, digits: Any) -> Any:
    """Convert the digit network for LiteRT alone, with the last convolution and the head as its tail."""
    options: Any = {"cut": "blocks.2", "mean": 0.5, "std": 0.5, "quantize": False}
    return convert(net, digits.frames[:64], out=path, classes=CLASSES, runtimes=("tflite",), **options)


@pytest.fixture(scope="module")
def bundle(digit_net: nn.Module, digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("tail") / "digits.acc"
    report = make(path, digit_net, digits)
    assert report.tail is not None
    assert not any("tflite" in note for note in report.tail.notes)
    assert report.tail.parity.whole.error < 1e-3
    return path


def test_it_holds_the_tail_of_one_runtime(bundle: Path, digit_net: nn.Module) -> None:
    """Manifest, members and the model's own parameters; nothing for ONNX."""
    with Bundle(bundle) as opened:
        opened.verify()
        assert opened.manifest.tail == TailCut("blocks.2", (24, 4, 4), 1)
        assert not [name for name in opened.manifest.members if "onnx" in name]
        tail = opened.tail("tflite")
    assert tail is not None
    assert tail.runtime == "tflite"
    np.testing.assert_array_equal(tail.parameters["fc.weight"], digit_net.get_parameter("fc.weight").detach())


def test_a_device_lives_with_it(bundle: Path, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It observes, trains the tail, predicts, exports, goes back and forward, and forgets."""
    monkeypatch.setattr(attempt, "against_head", lambda *_: None)
    frames, labels = digits.frames[-240:], [CLASSES[label] for label in digits.labels[-240:]]
    shown, held_out = frames[:120], frames[120:]
    with Learner.open(bundle, store=tmp_path / "device.db", threads=1) as learner:
        ids = learner.observe(shown, labels[:120])
        assert learner.estimate().tail_memory > 0
        report = learner.adapt(tail=True, on_insufficient="apply")
        assert report.tail is not None
        assert report.tail.used
        assert learner.score(held_out, labels[120:]) > 0.9
        with_tail = learner.predict(held_out)
        learner.export(tmp_path / "tail.tflite")
        learner.rollback()
        before = learner.predict(held_out).probabilities
        assert not np.array_equal(before, with_tail.probabilities)
        learner.rollback(1)
    runner = Interpreter(str(tmp_path / "tail.tflite")).get_signature_runner()
    found = runner(input=held_out)["probabilities"]
    np.testing.assert_allclose(found, with_tail.probabilities, atol=1e-5)
    with zipfile.ZipFile(tmp_path / "tail.tflite") as archive:
        assert archive.read("labels.txt").decode().split() == CLASSES
    with Learner.open(bundle, store=tmp_path / "device.db", threads=1) as learner:
        np.testing.assert_allclose(learner.predict(held_out).probabilities, with_tail.probabilities, atol=1e-6)
        learner.forget(ids[:3].tolist())
        # What was trained on a forgotten sample is gone.
        assert 1 not in [version.number for version in learner.versions()]
        assert learner.score(held_out, labels[120:]) > 0.8


def test_without_a_form_for_litert_it_is_refused(
    digit_net: nn.Module, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words, with what to do instead, and no file is left."""
    monkeypatch.delitem(EMITTERS, "LogSoftmax")
    with pytest.raises(ConversionError, match=r"'LogSoftmax'.*add 'onnx' to the runtimes"):
        make(tmp_path / "a.acc", digit_net, digits)
    assert list(tmp_path.iterdir()) == []
