"""`acclimate convert` on folders of images, which are read batch by batch, and with options of a tail's training."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate import Bundle
from acclimate.cli.convert_data import ImageFolders, read_data
from acclimate.cli.frames import read_frames
from acclimate.cli.images import read_images
from acclimate.errors import InputError

from .conftest import Acclimate
from .test_convert import MODEL

pytest.importorskip("torch", reason="torch, which converting needs, is not installed")
IMAGES = 300


@pytest.fixture
def project(tmp_path: Path, scenes: ModuleType) -> Path:
    """A folder with a model in Python, and images in one folder per class."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    (tmp_path / "model.py").write_text(MODEL)
    for i, (frame, label) in enumerate(zip(*scenes.frames(IMAGES, 0), strict=True)):
        (tmp_path / "home" / str(label)).mkdir(parents=True, exist_ok=True)
        image.fromarray(frame[..., 0]).save(tmp_path / "home" / str(label) / f"{i:03}.png")
    return tmp_path


def test_many_images_are_read_batch_by_batch(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same frames and labels in the same order as all at once, of which 256, evenly spaced, are calibrated on."""
    read: list[int] = []

    def watched(files: list[Path], root: Path) -> Any:
        read.append(len(files))
        return read_images(files, root)

    monkeypatch.setattr("acclimate.cli.convert_data.read_images", watched)
    x, y, _ = read_frames(project / "home")
    found = read_data(project / "home")
    np.testing.assert_array_equal(found.frames, x[np.linspace(0, IMAGES - 1, 256).astype(int)])
    assert isinstance(found.source, ImageFolders)
    batches = list(found.source)
    np.testing.assert_array_equal(np.concatenate([frames for frames, _ in batches]), x)
    assert [label for _, labels in batches for label in labels] == y
    assert read[0] == 256
    assert max(read[1:]) == 33


def test_few_images_are_arrays(project: Path) -> None:
    """Up to what is calibrated on anyway; images without folders have no labels."""
    few = project / "few"
    (few / "a").mkdir(parents=True)
    (few / "b").mkdir()
    files = sorted((project / "home").rglob("*.png"))
    for i in range(8):
        (few / "ab"[i % 2] / files[i].name).write_bytes(files[i].read_bytes())
    assert isinstance(read_data(few).source, tuple)
    flat = project / "flat"
    flat.mkdir()
    for i in range(IMAGES):
        (flat / f"{i:03}.png").write_bytes(files[0].read_bytes())
    assert read_data(flat).source is None
    (project / "home" / "beside.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"found beside.png beside them"):
        read_data(project / "home")


def test_an_image_of_another_size_is_named(project: Path) -> None:
    """Also where it is in another batch than the first."""
    from PIL import Image

    files = sorted((project / "home").rglob("*.png"))
    Image.new("L", (5, 5)).save(files[-2])
    found = ImageFolders(tuple(files), tuple(file.parent.name for file in files), project / "home")
    with pytest.raises(InputError, match=f"{files[-2].name}: expected images of one size, found"):
        list(found)


def test_a_folder_becomes_a_bundle(acclimate: Acclimate, project: Path) -> None:
    """Statistics are of all images."""
    arguments = ("--data", "home", "--out", "m.acc", "--runtime", "onnx", "--head", "fit", "--no-quantize")
    made = acclimate("convert", "model.py:build", *arguments)
    assert made.code == 0, made.errors
    with Bundle(project / "m.acc") as bundle:
        found = bundle.source("onnx")
        assert found is not None
        assert found["count"].sum() == IMAGES
        assert bundle.manifest.classes == ("bark", "brick", "gravel", "moss")


def test_a_tail_is_trained_as_asked_for(acclimate: Acclimate, project: Path) -> None:
    """`--optimiser` and `--penalty` travel in the bundle, and with EWC the Fisher information."""
    tail = ("--last", "1", "--optimiser", "adam", "--penalty", "ewc")
    arguments = ("--data", "home", "--out", "m.acc", "--runtime", "onnx", "--no-quantize")
    made = acclimate("convert", "model.py:build", *arguments, "--classes", "bark,brick,gravel,moss", *tail)
    assert made.code == 0, made.errors
    with Bundle(project / "m.acc") as bundle:
        found = bundle.tail("onnx")
    assert found is not None
    assert (found.spec.optimiser, found.spec.penalty) == ("adam", "ewc")
    assert found.fisher is not None
    assert any(values.any() for values in found.fisher.values())


def test_a_budget_of_latent_bytes_is_kept_to(acclimate: Acclimate, project: Path) -> None:
    """`--latent-bytes` leaves taps out, and says which; as JSON too."""
    arguments = ("--data", "home", "--runtime", "onnx", "--no-quantize", "--classes", "bark,brick,gravel,moss")
    made = acclimate("convert", "model.py:build", *arguments, "--out", "m.acc", "--latent-bytes", "8")
    assert made.code == 0, made.errors
    assert "8 of at most 8 bytes of latents, judged on 300 samples" in made.output
    assert "left out 0.1: 8 bytes, worth" in made.output
    with Bundle(project / "m.acc") as bundle:
        assert bundle.manifest.width == 8
    plain = acclimate("convert", "model.py:build", *arguments, "--out", "n.acc", "--latent-bytes", "99", "--json")
    assert plain.json()["budget"]["dropped"] == []
    assert plain.json()["width"] == 16


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("model.py:build", "--latent-bytes", "7"), 1, "expected latent_bytes of at least 8"),
        (("keras:MobileNetV2@random", "--latent-bytes", "99"), 1, "expected --latent-bytes only for torch models"),
        (("model.py:build", "--optimiser", "lion"), 2, "expected one of sgd, adam"),
        (("model.py:build", "--penalty", "l1"), 2, "expected one of l2sp, ewc, none"),
        (("model.py:build", "--penalty", "none"), 1, "expected `penalty` beside a tail"),
        (("keras:M@random", "--optimiser", "adam", "--runtime", "onnx"), 1, "expected `train`, `optimiser`"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    acclimate: Acclimate, project: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """In one line, and no file is left."""
    found = acclimate("convert", *arguments, "--data", "home", "--out", "m.acc")
    assert found.code == code
    assert message in " ".join(found.errors.replace("│", " ").split())
    assert not (project / "m.acc").exists()
