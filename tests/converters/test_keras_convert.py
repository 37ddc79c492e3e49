"""The whole path from a Keras model to a bundle, TensorFlow in processes of its own."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.bundle import Bundle
from acclimate.converters.keras_source.convert import convert_keras
from acclimate.edge.runtime.runtime import load_backbone
from acclimate.errors import (
    AcclimateError,
    CalibrationError,
    ConversionError,
    CutError,
    InputError,
    MissingExtraError,
    OutputExistsError,
)
from acclimate.manifest import RUNTIMES, Runtime

INSTALLED = all(find_spec(name) is not None for name in ("tensorflow", "tf2onnx", "onnx", "onnxruntime"))
QUANTIZER = all(find_spec(name) is not None for name in ("ai_edge_quantizer", "ai_edge_litert"))
BOTH: tuple[Runtime, ...] = RUNTIMES if QUANTIZER else ("onnx",)
needs_keras = pytest.mark.skipif(not INSTALLED, reason="acclimate[keras] is not installed")
SCRIPT = Path(__file__).with_name("keras_models.py")


def blocks(n: int, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return the frames of `keras_models.frames`."""
    coarse = np.random.default_rng(0).integers(0, 256, (n, -(-height // 4), -(-width // 4), channels))
    return np.repeat(np.repeat(coarse, 4, 1), 4, 2)[:, :height, :width].astype(np.uint8)


def script(*arguments: str) -> None:
    """Run `keras_models.py`."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with models, their outputs and what is said of those that are refused."""
    folder = tmp_path_factory.mktemp("keras")
    script(str(folder))
    return folder


def logits(path: Path, runtime: Runtime, samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return what a bundle's own head makes of samples."""
    with Bundle(path) as bundle:
        manifest, head = bundle.manifest, bundle.head(runtime)
        embedder = load_backbone(bundle.backbone(runtime), runtime, manifest.input, manifest.width)
        assert head is not None
    latents = np.concatenate([embedder.embed(samples[i : i + 7]) for i in range(0, len(samples), 7)])
    return np.asarray(latents @ head.weight.T + head.bias)


def softmax(z: NDArray[np.float32]) -> NDArray[np.float32]:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


@pytest.mark.slow
@needs_keras
class TestWhole:
    """Conversions; each takes seconds of TensorFlow's."""

    def test_a_nested_functional_model_in_8_bits(self, models: Path, tmp_path: Path) -> None:
        """Head, stages inside of the model inside, source statistics; 8 bits keep the classes; torch is not needed."""
        frames = blocks(64, 32, 32, 3)
        expected = np.load(models / "nested.npy")
        steps: list[tuple[int, int]] = []
        report = convert_keras(
            models / "nested.keras",
            frames,
            out=tmp_path / "nested.acc",
            source=(frames, expected.argmax(1)),
            runtimes=BOTH,
            quantize=True,
            progress=lambda done, total: steps.append((done, total)),
        )
        assert [tap.name for tap in report.taps] == ["body/gated", "head:input"]
        assert report.classes == tuple("01234")
        assert steps[-1][0] == steps[-1][1]
        assert steps == sorted(steps)
        for variant in report.variants:
            assert variant.float_parity.whole.error < 1e-4
            assert variant.quantized
            found = softmax(logits(tmp_path / "nested.acc", variant.runtime, frames))
            assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.95
        with Bundle(tmp_path / "nested.acc") as bundle:
            bundle.verify()
            assert bundle.source(BOTH[0]) is not None
            assert {"keras", "tf2onnx", "acclimate"} <= set(bundle.manifest.provenance)
            assert "the model scales them" in bundle.manifest.provenance["scaling"]

    def test_one_output_becomes_two_classes_behind_a_resize(self, models: Path, tmp_path: Path) -> None:
        """Gray frames of another size: resized, repeated and normalised as Keras was given them; sigmoid is softmax."""
        frames, expected = np.load(models / "gray.npy"), np.load(models / "binary.npy")
        report = convert_keras(
            models / "binary.keras",
            frames,
            out=tmp_path / "binary.acc",
            classes=["no", "yes"],
            runtimes=BOTH,
            quantize=False,
            resize=(16, 16),
            mean=0.4,
            std=[0.2, 0.2, 0.2],
        )
        assert [tap.name for tap in report.taps] == ["first", "second", "yes:input"]
        for runtime in BOTH:
            found = softmax(logits(tmp_path / "binary.acc", runtime, frames))
            np.testing.assert_allclose(found[:, 1:], expected, atol=1e-4)

    def test_values_of_samples_that_are_no_frames(self, models: Path, tmp_path: Path) -> None:
        """Regression from float32 samples, named taps."""
        rows, expected = np.load(models / "rows.npy"), np.load(models / "motion.npy")
        report = convert_keras(
            models / "motion.keras",
            rows,
            out=tmp_path / "motion.acc",
            task="regression",
            targets=["a", "b"],
            taps=["halved"],
            runtimes=BOTH,
            quantize=False,
            mean=5,
            std=2,
            axes=("time", "axis"),
        )
        assert [(tap.name, tap.width) for tap in report.taps] == [("halved", 8), ("values:input", 16)]
        for runtime in BOTH:
            np.testing.assert_allclose(logits(tmp_path / "motion.acc", runtime, rows), expected, atol=1e-4)

    def test_maxima_beside_means(self, models: Path, tmp_path: Path) -> None:
        """Of tapped maps, in both formats; the last map's mean is the head's input. By name there are maxima alone."""
        frames = blocks(64, 32, 32, 3)
        options: dict[str, Any] = {"runtimes": BOTH, "quantize": False, "head": None}
        report = convert_keras(models / "nested.keras", frames, out=tmp_path / "a.acc", pooling="mean-max", **options)
        names = ["body/gated", "body/gated:max", "head:input"]
        assert [tap.name for tap in report.taps] == names
        found = []
        with Bundle(tmp_path / "a.acc") as bundle:
            for runtime in BOTH:
                embedder = load_backbone(bundle.backbone(runtime), runtime, bundle.manifest.input, report.width)
                found.append(embedder.embed(frames))
        np.testing.assert_allclose(found[0], found[-1], atol=1e-4)
        mean, most, _ = np.split(found[0], [tap.offset for tap in report.taps[1:]], axis=1)
        assert mean.shape == most.shape
        # A channel that is 0 everywhere is its own mean.
        assert (most >= mean - 1e-5).all()
        assert (most > mean + 1e-3).mean() > 0.5
        one = convert_keras(
            models / "nested.keras",
            frames,
            out=tmp_path / "b.acc",
            taps=["body/gated:max"],
            **{**options, "runtimes": ("onnx",)},
        )
        assert [tap.name for tap in one.taps] == ["body/gated:max", "head:input"]

    def test_an_application(self, models: Path, tmp_path: Path) -> None:
        """MobileNetV2 of keras.applications: five stages, any batch, the same logits."""
        frames, expected = blocks(32, 96, 96, 3), np.load(models / "mobilenet.npy")
        report = convert_keras(
            models / "mobilenet.keras",
            frames,
            out=tmp_path / "mobilenet.acc",
            runtimes=BOTH,
            quantize=False,
            mean=0.5,
            std=0.5,
        )
        names = ["block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu"]
        assert [tap.name for tap in report.taps] == [*names, "predictions:input"]
        for variant in report.variants:
            # As a share of the spread, which is less than the values.
            assert variant.float_parity.whole.error < 5e-4
            found = softmax(logits(tmp_path / "mobilenet.acc", variant.runtime, frames))
            np.testing.assert_allclose(found, expected, atol=1e-4)

    def test_an_application_by_name_scales_as_it_was_trained(self, tmp_path: Path) -> None:
        """Untrained weights from a seed; its own preprocess_input is in the graph and in the provenance."""
        convert_keras(
            "keras:MobileNet@random",
            blocks(8, 32, 32, 3),
            out=tmp_path / "named.acc",
            classes=["a", "b", "c"],
            runtimes=("onnx",),
            quantize=False,
            taps="last",
        )
        with Bundle(tmp_path / "named.acc") as bundle:
            assert bundle.manifest.provenance["scaling"] == "as keras.applications.MobileNet does"
            assert [(tap.name, tap.width) for tap in bundle.manifest.taps] == [("conv_preds:input", 1024)]

    def test_a_model_in_this_process_and_a_convolution_as_head(self, tmp_path: Path) -> None:
        """Somebody's script holds the model: it is saved and converted elsewhere."""
        script(str(tmp_path), "live")
        with Bundle(tmp_path / "live.acc") as bundle:
            assert [(tap.name, tap.width) for tap in bundle.manifest.taps] == [("last:input", 8)]
            head = bundle.head("onnx")
        assert head is not None
        assert head.weight.shape == (5, 8)

    @pytest.mark.parametrize(
        ("name", "shape", "options", "error", "said"),
        [
            ("nested", (20, 20, 3), {}, CalibrationError, r"Pass resize=\(32, 32\)"),
            ("nested", (32, 32, 4), {}, InputError, r"of 3 channels, .* found 4 in"),
            ("nested", (32, 32, 3), {"taps": ["body/gatet"]}, CutError, r"body/gatet.*Close to it.*body/gated"),
            ("binary", (16, 16, 3), {"taps": ["hidden:max"]}, CutError, "several positions for 'hidden:max'"),
            ("binary", (16, 16, 3), {"taps": ["hidden"], "pooling": "mean-max"}, InputError, "name taps that are maps"),
            ("nested", (32, 32, 3), {"task": "regression"}, CutError, "without an activation, found softmax"),
            ("nested", (32, 32, 3), {"classes": ["a"]}, InputError, "5 class names"),
            ("nan", (24, 3), {}, CutError, "NaN or infinity in"),
        ],
    )
    def test_what_only_keras_can_tell_is_refused(
        self,
        models: Path,
        tmp_path: Path,
        name: str,
        shape: tuple[int, ...],
        options: dict[str, Any],
        error: type[AcclimateError],
        said: str,
    ) -> None:
        """One message through the process boundary, and no file left behind."""
        samples: NDArray[Any] = blocks(8, *shape) if len(shape) == 3 else np.load(models / "rows.npy")
        out = tmp_path / "none.acc"
        with pytest.raises(error, match=said):
            convert_keras(models / f"{name}.keras", samples, out=out, runtimes=("onnx",), quantize=False, **options)
        assert not list(tmp_path.iterdir())

    def test_models_without_a_head_are_refused(self, models: Path) -> None:
        """Each with a reason that names the layer; `keras_models.refused` builds them."""
        said = json.loads((models / "told.json").read_text())["refused"]
        wanted = {
            "two inputs": "one input, found 2",
            "two outputs": "one output, found 2",
            "no dense": "found MaxPooling2D ('ending')",
            "curved": "the activation 'tanh' ('curved')",
            "positions": "'position' to take one vector",
            "shared": "'twice' to run once",
            "softmax of positions": "softmax in front of pooling ('early')",
            "wide": "a convolution of 3x3 ('wide')",
            "other output": "found UnitNormalization ('unit')",
            "own code": "'net' of class Net",
        }
        assert set(said) == set(wanted)
        assert all(part in said[name] for name, part in wanted.items())

    def test_applications_tell_how_they_scale(self, models: Path) -> None:
        """-1 to 1, as it comes, and blue first with the mean of ImageNet taken off."""
        found = json.loads((models / "told.json").read_text())["scaling"]
        np.testing.assert_allclose(found["MobileNetV2"], [*(np.eye(3) / 127.5), [-1, -1, -1]], atol=1e-6)
        np.testing.assert_allclose(found["EfficientNetB0"], [*np.eye(3), [0, 0, 0]], atol=1e-6)
        np.testing.assert_allclose(found["ResNet50"], [*np.eye(3)[::-1], [-103.939, -116.779, -123.68]], atol=1e-4)

    @pytest.mark.parametrize(("name", "said"), [("lambda", "Lambda layer 'doubling'"), ("own", "of class 'Net'")])
    def test_code_in_a_file_that_keras_wrote_is_refused(
        self, models: Path, tmp_path: Path, name: str, said: str
    ) -> None:
        """What `model.save` writes for a Lambda layer and for a class of one's own."""
        with pytest.raises(CutError, match=said):
            convert_keras(models / f"{name}.keras", blocks(8, 8, 8, 3), out=tmp_path / "none.acc", runtimes=("onnx",))


@needs_keras
@pytest.mark.parametrize(
    ("model", "options", "error", "said"),
    [
        ("keras:MobileNetV2", {}, InputError, "keras:MobileNetV2@random for none, found neither"),
        ("keras:MobileNetV2@DEFAULT", {}, InputError, "found 'DEFAULT'"),
        ("keras:MobileNetV2", {"weights": "none.h5"}, InputError, "no file at none.h5"),
        ("keras:../x@random", {}, InputError, "a name of keras.applications"),
        ("model.h5", {}, InputError, r"model\.save"),
        ("model.keras", {}, InputError, "found nothing at model.keras"),
        ("model.keras", {"weights": "w.h5"}, InputError, "weights only for keras:NAME"),
        (object(), {}, CutError, "expected a Keras model, found object"),
        ("model.keras", {"quantize": "yes"}, InputError, "quantize 'auto'"),
        ("model.keras", {"pooling": "max"}, InputError, "pooling as one of"),
        ("model.keras", {"pooling": "mean-max", "taps": "last"}, InputError, "taps='last'"),
    ],
)
def test_what_needs_no_tensorflow_to_tell_is_refused_at_once(
    tmp_path: Path, model: Any, options: dict[str, Any], error: type[AcclimateError], said: str
) -> None:
    """Sources that name nothing, weights that are not there, options that mean nothing."""
    with pytest.raises(error, match=said):
        convert_keras(model, blocks(8, 8, 8, 3), out=tmp_path / "none.acc", runtimes=("onnx",), **options)
    assert not list(tmp_path.iterdir())


@needs_keras
def test_a_file_that_is_there_is_kept_and_a_truncated_model_refused(tmp_path: Path) -> None:
    """Both before TensorFlow starts."""
    there = tmp_path / "there.acc"
    there.write_bytes(b"kept")
    with pytest.raises(OutputExistsError, match=r"there\.acc"):
        convert_keras("keras:MobileNet@random", blocks(8, 8, 8, 3), out=there, runtimes=("onnx",))
    assert there.read_bytes() == b"kept"
    (tmp_path / "half.keras").write_bytes(b"PK\x03\x04half")
    with pytest.raises(ConversionError, match="truncated"):
        convert_keras(tmp_path / "half.keras", blocks(8, 8, 8, 3), out=tmp_path / "none.acc", runtimes=("onnx",))


@pytest.mark.skipif(INSTALLED, reason="TensorFlow is installed")
def test_without_tensorflow_the_extra_is_named(tmp_path: Path) -> None:
    """The message says what to install."""
    with pytest.raises(MissingExtraError, match=r"acclimate\[keras\]"):
        convert_keras("keras:MobileNet@random", blocks(8, 8, 8, 3), out=tmp_path / "none.acc", runtimes=("onnx",))
