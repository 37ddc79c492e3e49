"""Conversion with a tail: the backbone's maps, the tail behind them and its head are the model's, on the device too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from numpy.typing import NDArray
from torch import nn

from acclimate.bundle import Bundle
from acclimate.converters import ConversionReport, convert
from acclimate.converters.training.tflite_ops import EMITTERS
from acclimate.edge import Learner
from acclimate.edge.runtime.onnx import open_model
from acclimate.edge.runtime.runtime import load_backbone
from acclimate.edge.tail.forward import Forward
from acclimate.errors import CutError, InputError
from acclimate.manifest import TailCut
from acclimate.tail_content import TailContent

pytestmark = pytest.mark.needs_torch
CUT = "blocks.2"
Converted = tuple[Path, ConversionReport]
TRAINED_ON, HELD_OUT = slice(0, 400), slice(-200, None)


def make(path: Path, net: nn.Module, digits: Any, **options: Any) -> ConversionReport:
    """Convert the digit network with the last convolution and the head as its tail."""
    usual = {"cut": CUT, "mean": 0.5, "std": 0.5, "runtimes": ("onnx",)}
    return convert(net, digits.frames[:64], out=path, **{**usual, **options})


def run(tail: TailContent, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run the forward pass with the shipped parameters."""
    feed = {f"parameter/{name}": values for name, values in tail.parameters.items()}
    (logits,) = open_model(tail.forward, 1, "tail").run(["logits"], {"map": maps, **feed})
    found: NDArray[np.float32] = logits
    return found


@pytest.fixture(scope="module")
def converted(digit_net: nn.Module, digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    path = tmp_path_factory.mktemp("tail") / "digits.acc"
    source = (digits.frames[TRAINED_ON], digits.labels[TRAINED_ON])
    return path, make(path, digit_net, digits, quantize=True, source=source)


def test_maps_and_tail_are_the_models(converted: Converted, digit_net: nn.Module, digits: Any) -> None:
    """8-bit maps of the 8-bit backbone, through the tail: its classes are the model's for 98 % of what is held out."""
    path, report = converted
    with Bundle(path) as bundle:
        bundle.verify()
        assert bundle.manifest.tail == TailCut(CUT, (24, 4, 4), 1)
        tail, backbone, spec = bundle.tail("onnx"), bundle.backbone("onnx"), bundle.manifest.input
        width = bundle.manifest.width
    assert tail is not None
    assert report.tail is not None
    assert (report.tail.cut, report.tail.map_shape) == (CUT, (24, 4, 4))
    assert report.tail.trained == sum(values.size for values in tail.parameters.values()) == 24 * 64 + 64 + 640 + 10
    assert report.tail.parity.whole.cosine > 0.95
    frames = digits.frames[HELD_OUT]
    latents, maps = load_backbone(backbone, "onnx", spec, width, 1, (24, 4, 4)).embed_with_maps(frames)
    assert tail.code.saturation(maps) < 0.01
    stored = tail.code.decode(tail.code.encode(maps))
    with torch.no_grad():
        expected = digit_net(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1).numpy()
    assert (run(tail, stored).argmax(1) == expected.argmax(1)).mean() >= 0.98
    np.testing.assert_array_equal(latents.shape, (len(frames), width))


def test_a_device_stores_both_and_predicts_as_before(converted: Converted, digits: Any, tmp_path: Path) -> None:
    """Frames of a bundle with a tail are observed, adapted to and predicted with heads as those of any other."""
    with Learner.open(converted[0], store=tmp_path / "device.db", threads=1) as learner:
        frames, names = digits.frames[HELD_OUT], [str(label) for label in digits.labels[HELD_OUT]]
        ids = learner.observe(frames, names)
        assert learner.score(frames, names) > 0.9
    with Learner.open(converted[0], store=tmp_path / "device.db", threads=1) as learner:
        assert len(learner.observe(frames, names, on_duplicate="skip")) == len(ids)


def test_in_float_the_map_is_the_models(digit_net: nn.Module, digits: Any, tmp_path: Path) -> None:
    """Within a thousandth of its spread; `last` counts blocks from the head."""
    report = make(tmp_path / "a.acc", digit_net, digits, cut=None, last=1, quantize=False)
    assert report.tail is not None
    assert report.tail.cut == CUT
    assert report.tail.parity.whole.error < 1e-3
    with Bundle(tmp_path / "a.acc") as bundle:
        tail = bundle.tail("onnx")
        assert tail is not None
        np.testing.assert_array_equal(tail.parameters["fc.weight"], digit_net.get_parameter("fc.weight").detach())
        assert tail.spec.head == ("fc.weight", "fc.bias")


def test_only_what_was_named_trains_and_the_head(digit_net: nn.Module, digits: Any, tmp_path: Path) -> None:
    """The rest is a constant of both models."""
    report = make(tmp_path / "a.acc", digit_net, digits, train=["last.bias"], quantize=False)
    assert report.tail is not None
    assert report.tail.trained == 64 + 640 + 10
    with Bundle(tmp_path / "a.acc") as bundle:
        tail = bundle.tail("onnx")
        assert tail is not None
        assert list(tail.parameters) == ["last.bias", "fc.weight", "fc.bias"]


def test_a_fitted_head_is_the_tails_too(digit_net: nn.Module, digits: Any, tmp_path: Path) -> None:
    """On other classes than the model's: the tail starts from a head fitted on what its own head takes."""
    frames, labels = digits.frames[TRAINED_ON], np.where(digits.labels[TRAINED_ON] % 2, "odd", "even")
    make(tmp_path / "a.acc", digit_net, digits, head="fit", source=(frames, labels), quantize=False)
    with Bundle(tmp_path / "a.acc") as bundle:
        tail, spec, width = bundle.tail("onnx"), bundle.manifest.input, bundle.manifest.width
        backbone, classes = bundle.backbone("onnx"), np.array(bundle.manifest.classes)
    assert tail is not None
    assert tail.parameters["fc.weight"].shape == (2, 64)
    maps = load_backbone(backbone, "onnx", spec, width, 1, (24, 4, 4)).embed_with_maps(digits.frames[HELD_OUT])[1]
    expected = np.where(digits.labels[HELD_OUT] % 2, "odd", "even")
    assert (classes[run(tail, maps).argmax(1)] == expected).mean() > 0.85


def test_without_classes_the_tail_has_no_rows(digit_net: nn.Module, digits: Any, tmp_path: Path) -> None:
    """The device defines its own, and adds them."""
    make(tmp_path / "a.acc", digit_net, digits, head=None, quantize=False)
    with Bundle(tmp_path / "a.acc") as bundle:
        tail = bundle.tail("onnx")
        assert bundle.manifest.classes == ()
        assert tail is not None
        assert tail.spec.classes == 0
        assert tail.parameters["fc.weight"].shape == (0, 64)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"last": 1}, "either last or cut"),
        ({"cut": None, "last": 0}, "a number of blocks from 1"),
        ({"cut": None, "last": True}, "a number of blocks from 1"),
        ({"cut": None, "train": ["fc.*"]}, "`train` beside a tail"),
        ({"task": "regression"}, "classification for a tail"),
        ({"train": ["nothing.*"]}, "fits none"),
    ],
)
def test_what_cannot_be_is_refused(
    digit_net: nn.Module, digits: Any, tmp_path: Path, options: dict[str, Any], match: str
) -> None:
    """In words, and no file is left."""
    with pytest.raises(InputError, match=match):
        make(tmp_path / "a.acc", digit_net, digits, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", ["nowhere", "fc"])
def test_a_cut_that_is_none(digit_net: nn.Module, digits: Any, tmp_path: Path, cut: str) -> None:
    """It names those that are."""
    with pytest.raises(CutError, match="expected"):
        make(tmp_path / "a.acc", digit_net, digits, cut=cut)
    assert list(tmp_path.iterdir()) == []


def test_both_runtimes_have_the_tail(digit_net: nn.Module, digits: Any, tmp_path: Path) -> None:
    """The maps of the TFLite backbone, through its tail in LiteRT: the model's logits; both tails start alike."""
    pytest.importorskip("litert_torch", reason="acclimate[convert-tflite] is not installed")
    report = make(tmp_path / "a.acc", digit_net, digits, quantize=False, runtimes=("onnx", "tflite"))
    assert report.tail is not None
    assert any("maps of the tflite variant agree" in note for note in report.tail.notes)
    with Bundle(tmp_path / "a.acc") as bundle:
        bundle.verify()
        found, beside = bundle.tail("tflite"), bundle.tail("onnx")
        backbone, manifest = bundle.backbone("tflite"), bundle.manifest
    assert found is not None
    assert beside is not None
    assert found.spec == beside.spec
    for name, values in beside.parameters.items():
        np.testing.assert_array_equal(found.parameters[name], values)
    frames = digits.frames[HELD_OUT][:40]
    maps = load_backbone(backbone, "tflite", manifest.input, manifest.width, 1, (24, 4, 4)).embed_with_maps(frames)[1]
    with torch.no_grad():
        expected = digit_net(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1).numpy()
    np.testing.assert_allclose(Forward(found, 1).logits(maps, found.parameters), expected, rtol=1e-3, atol=1e-3)


def test_a_variant_without_a_form_of_the_tail_says_why(
    digit_net: nn.Module, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle is written all the same: its TFLite variant has heads alone, and the report gives the reason."""
    pytest.importorskip("litert_torch", reason="acclimate[convert-tflite] is not installed")
    monkeypatch.delitem(EMITTERS, "LogSoftmax")
    report = make(tmp_path / "a.acc", digit_net, digits, quantize=False, runtimes=("onnx", "tflite"))
    assert report.tail is not None
    assert any("tflite variant has no tail" in note and "'LogSoftmax'" in note for note in report.tail.notes)
    with Bundle(tmp_path / "a.acc") as bundle:
        assert bundle.tail("onnx") is not None
        assert bundle.tail("tflite") is None
