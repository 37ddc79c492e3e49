"""The whole path: a trained model becomes a bundle that the device opens; what does not fit leaves no file behind."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import nn

from acclimate.bundle import Bundle
from acclimate.converters import ConversionReport, convert
from acclimate.converters.splitting.split import Split
from acclimate.edge import Learner
from acclimate.edge.runtime.runtime import load_backbone
from acclimate.errors import (
    CalibrationError,
    CutError,
    InputError,
    LabelError,
    MissingExtraError,
    OutputExistsError,
    ParityError,
)
from acclimate.manifest import RUNTIMES, Runtime

pytestmark = pytest.mark.needs_torch
NAMES = tuple(f"digit {i}" for i in range(10))
NORMALISED: dict[str, Any] = {"mean": 0.5, "std": 0.5}
INSTALLED: tuple[Runtime, ...] = RUNTIMES if find_spec("litert_torch") else ("onnx",)
TRAINED_ON, HELD_OUT = slice(0, 1000), slice(-400, None)


class Converted:
    """One conversion for every test that only looks at the result."""

    def __init__(self, path: Path, net: nn.Module, digits: Any) -> None:
        self.path = path
        self.steps: list[tuple[int, int]] = []
        self.report: ConversionReport = convert(
            net,
            digits.frames[:64],
            out=path,
            classes=NAMES,
            source=(digits.frames[TRAINED_ON], digits.labels[TRAINED_ON]),
            runtimes=INSTALLED,
            provenance={"data": "UCI digits"},
            licence="CC0-1.0",
            progress=lambda done, total: self.steps.append((done, total)),
            **NORMALISED,
        )


@pytest.fixture(scope="module")
def converted(digit_net: nn.Module, digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return Converted(tmp_path_factory.mktemp("convert") / "digits.acc", digit_net, digits)


@pytest.mark.parametrize("runtime", INSTALLED)
def test_the_device_classifies_as_the_model_did(
    converted: Converted, digit_net: nn.Module, digits: Any, runtime: Runtime, tmp_path: Path
) -> None:
    """Raw frames in; 8 bits move at most 2 % of the held-out predictions."""
    with torch.no_grad():
        x = torch.from_numpy(digits.frames[HELD_OUT]).permute(0, 3, 1, 2).float() / 127.5 - 1
        expected = [NAMES[i] for i in digit_net(x).argmax(1)]
    with Learner.open(converted.path, store=tmp_path / "device.db", runtime=runtime) as learner:
        found = learner.predict(digits.frames[HELD_OUT]).labels
    assert np.mean([a == b for a, b in zip(found, expected, strict=True)]) >= 0.98


def test_the_manifest_says_what_was_converted(converted: Converted, digit_split: Split) -> None:
    """Classes, input, taps, cut, licence, where it came from and with which tools; every hash fits."""
    with Bundle(converted.path) as bundle:
        bundle.verify()
        manifest = bundle.manifest
    assert manifest.classes == NAMES
    assert manifest.input.shape == (8, 8, 1)
    assert manifest.taps == digit_split.taps
    assert manifest.cut == digit_split.cut == "fc:input"
    assert manifest.licence == "CC0-1.0"
    assert manifest.provenance["data"] == "UCI digits"
    assert {"acclimate", "torch", "onnx", "onnxruntime"} <= set(manifest.provenance)
    assert [variant.runtime for variant in manifest.variants] == list(INSTALLED)
    assert all(variant.quantized for variant in manifest.variants)


@pytest.mark.parametrize("runtime", INSTALLED)
def test_source_statistics_are_those_of_the_variants_own_codes(
    converted: Converted, digits: Any, runtime: Runtime
) -> None:
    """Counts, sums and second moment, recomputed from the shipped backbone in whole numbers."""
    with Bundle(converted.path) as bundle:
        spec, width, code = bundle.manifest.input, bundle.manifest.width, bundle.code(runtime)
        embedder = load_backbone(bundle.backbone(runtime), runtime, spec, width)
        arrays = bundle.source(runtime)
    assert arrays is not None
    frames, labels = digits.frames[TRAINED_ON], digits.labels[TRAINED_ON]
    latents = np.concatenate([embedder.embed(frames[i : i + 16]) for i in range(0, len(frames), 16)])
    codes = code.encode(latents).astype(np.int64)
    assert code.saturation(latents) == 0
    np.testing.assert_array_equal(arrays["count"], np.bincount(labels))
    np.testing.assert_array_equal(arrays["sum"], [codes[labels == c].sum(0) for c in range(10)])
    np.testing.assert_array_equal(arrays["moment"], (codes.T @ codes)[np.triu_indices(width)])


@pytest.mark.parametrize("runtime", INSTALLED)
def test_fisher_information_is_the_shipped_heads(converted: Converted, digits: Any, runtime: Runtime) -> None:
    """Mean of p (1 - p) times the squared, centred code, recomputed sample by sample from the shipped backbone."""
    with Bundle(converted.path) as bundle:
        spec, width, code = bundle.manifest.input, bundle.manifest.width, bundle.code(runtime)
        embedder = load_backbone(bundle.backbone(runtime), runtime, spec, width)
        arrays, head = bundle.source(runtime), bundle.head(runtime)
    assert arrays is not None
    assert head is not None
    frames = digits.frames[TRAINED_ON]
    codes = code.encode(np.concatenate([embedder.embed(frames[i : i + 16]) for i in range(0, len(frames), 16)]))
    expected = np.zeros((10, width + 1))
    for row in codes:
        logits = head.weight.astype(float) @ code.decode(row[None])[0] + head.bias
        share = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        away = np.append(row - codes.mean(axis=0), 1.0)
        expected += np.outer(share * (1 - share), away**2) / len(codes)
    np.testing.assert_allclose(arrays["fisher"].astype(float), expected, rtol=1e-3, atol=1e-5 * expected.max())


@pytest.mark.parametrize("runtime", INSTALLED)
def test_the_shipped_head_knows_what_it_does_not_know(converted: Converted, digits: Any, runtime: Runtime) -> None:
    """Frames of grey are, and few digits; of those that the network was not trained on, more than the stated 5 %."""
    grey = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, 8, 8, 1))
    with Learner.open(converted.path, runtime=runtime) as learner:
        assert learner.predict(digits.frames[TRAINED_ON]).unknown.mean() < 0.05
        assert 0.01 < learner.predict(digits.frames[HELD_OUT]).unknown.mean() < 0.12
        assert learner.predict(grey).unknown.mean() > 0.9
    with Bundle(converted.path) as bundle:
        arrays = bundle.novelty(runtime)
    assert arrays is not None
    assert arrays["novelty.numbers"][1:].tolist() == [0.05, 1000]


def test_the_kept_head_acts_on_the_cut_alone(converted: Converted, digit_split: Split) -> None:
    """Its weights at the columns of the cut, zeros for every other tap."""
    with Bundle(converted.path) as bundle:
        head = bundle.head("onnx")
    assert head is not None
    np.testing.assert_array_equal(head.weight[:, digit_split.taps[-1].offset :], digit_split.weight)
    assert not head.weight[:, : digit_split.taps[-1].offset].any()
    np.testing.assert_array_equal(head.bias, digit_split.bias)


def test_no_sample_of_the_calibration_data_travels(converted: Converted, digits: Any) -> None:
    """The conformance inputs are made up."""
    with Bundle(converted.path) as bundle:
        inputs = bundle.conformance("onnx").input
    known = {frame.tobytes() for frame in digits.frames}
    assert 2 <= len(inputs) <= 4
    assert not [frame for frame in inputs if frame.tobytes() in known]


def test_the_report_carries_the_figures(converted: Converted) -> None:
    """Sizes, parity, the shipped head's accuracy on the source, how alike both answer; plain values for JSON."""
    report = converted.report
    assert report.size == converted.path.stat().st_size
    assert report.width == 100
    for variant in report.variants:
        assert variant.float_parity.whole.error < 1e-4
        assert variant.parity.whole.cosine > 0.99
        assert variant.float_convolutions == 0
        assert variant.source_accuracy is not None
        assert variant.source_accuracy > 0.95
        assert variant.with_original is not None
        assert variant.with_original.same is not None
        assert variant.with_original.same > 0.95
    both = report.agreement
    assert (both is None) == (len(INSTALLED) == 1)
    assert both is None or (both.samples == 64 and both.one_head and not both.doubtful)
    plain = report.to_dict()
    assert plain["variants"][0]["parity"]["taps"].keys() == {tap.name for tap in report.taps}
    assert plain["path"] == str(converted.path)


def test_progress_rises_to_the_total(converted: Converted) -> None:
    """From 0 to all steps, never back."""
    done = [step for step, _ in converted.steps]
    (total,) = {total for _, total in converted.steps}
    assert done[0] == 0
    assert done == sorted(done)
    assert done[-1] == total


def test_a_float_bundle_with_a_fitted_head_predicts_what_the_source_taught(
    digit_net: nn.Module, digits: Any, tmp_path: Path
) -> None:
    """A fitted head on the last tap alone, class names from the labels, no quantization; twice the same file."""
    options: dict[str, Any] = {
        "source": (digits.frames[TRAINED_ON], digits.labels[TRAINED_ON]),
        "head": "fit",
        "taps": "last",
        "quantize": False,
        "runtimes": ("onnx",),
        **NORMALISED,
    }
    first = convert(digit_net, digits.frames[:16], out=tmp_path / "a.acc", **options)
    convert(digit_net, digits.frames[:16], out=tmp_path / "b.acc", **options)
    assert first.classes == tuple("0123456789")
    assert [tap.width for tap in first.taps] == [64]
    assert not first.variants[0].quantized
    assert (tmp_path / "a.acc").read_bytes() == (tmp_path / "b.acc").read_bytes()
    with Learner.open(tmp_path / "a.acc", store=tmp_path / "device.db", runtime="onnx") as learner:
        found = learner.predict(digits.frames[HELD_OUT]).labels
    assert np.mean(np.array(found) == digits.labels[HELD_OUT].astype(str)) > 0.9


def test_samples_that_are_no_frames_and_a_bundle_without_classes(tmp_path: Path) -> None:
    """Motion: float32 of ``(channels, time)``; the device defines its classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            *(nn.Conv1d(3, 8, 5, 2), nn.ReLU(), nn.Conv1d(8, 12, 5, 2), nn.ReLU()),
            *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 4)),
        )
    x = np.random.default_rng(0).normal(5, 2, size=(32, 3, 40)).astype(np.float32)
    report = convert(
        model, x, out=tmp_path / "motion.acc", head=None, runtimes=("onnx",), mean=5, std=2, axes=("channel", "time")
    )
    assert report.classes == ()
    with Bundle(tmp_path / "motion.acc") as bundle:
        assert bundle.manifest.input.axes == ("channel", "time")
        assert bundle.head("onnx") is None
        assert bundle.source("onnx") is None
        assert bundle.novelty("onnx") is None


def test_an_existing_file_is_refused_before_any_work(digits: Any, tmp_path: Path) -> None:
    """Nothing is overwritten silently."""
    path = tmp_path / "there.acc"
    path.write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"there\.acc is there already"):
        convert(nn.Identity(), digits.frames, out=path)
    assert path.read_bytes() == b"mine"


def test_a_quantized_model_that_lost_too_much_leaves_no_file(digit_net: nn.Module, digits: Any, tmp_path: Path) -> None:
    """The bound is the caller's; the figures are in the message."""
    with pytest.raises(ParityError, match=r"at least 0.99999 to the original, found: centred cosine mean 0.99"):
        convert(
            digit_net,
            digits.frames[:64],
            out=tmp_path / "lost.acc",
            runtimes=("onnx",),
            quantize=True,
            least_cosine=0.99999,
            **NORMALISED,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_missing_converter_is_named_before_any_work(
    digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the extra that installs it."""
    monkeypatch.setattr("acclimate.extras.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"acclimate\[convert-tflite\]"):
        convert(nn.Identity(), digits.frames, out=tmp_path / "a.acc")


def test_arguments_that_do_not_fit_are_refused(digit_net: nn.Module, digits: Any, tmp_path: Path) -> None:
    """Each with what was expected; no file is written."""
    frames, labels = digits.frames[:16], digits.labels[:16]

    def attempt(**options: Any) -> None:
        given: dict[str, Any] = {"runtimes": ("onnx",), "out": tmp_path / "a.acc", **NORMALISED, **options}
        convert(given.pop("model", digit_net), given.pop("calibration", frames), **given)

    with pytest.raises(InputError, match="expected runtimes out of"):
        attempt(runtimes=("onnx", "onnx"))
    with pytest.raises(InputError, match="expected runtimes out of"):
        attempt(runtimes="onnx")
    with pytest.raises(InputError, match="head 'keep', 'fit' or None"):
        attempt(head="both")
    with pytest.raises(InputError, match="labelled source samples to fit a head on"):
        attempt(head="fit")
    with pytest.raises(InputError, match="expected 10 class names"):
        attempt(classes=("a", "b"))
    with pytest.raises(InputError, match="source: expected frames as"):
        attempt(source=(frames[:, :4], labels))
    with pytest.raises(LabelError, match="one label per source sample"):
        attempt(source=(frames, labels[:3]))
    with pytest.raises(CalibrationError, match="at least 8"):
        attempt(calibration=frames[:3])
    with pytest.raises(CutError, match="Check the frame's size, its channels"):
        attempt(model=nn.Sequential(nn.Flatten(), nn.Linear(65, 3)))
    assert list(tmp_path.iterdir()) == []
