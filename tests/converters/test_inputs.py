"""What converters are given: calibration data and class names, right ones and wrong ones."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import nn

from acclimate.converters.classes import class_ids, name_classes
from acclimate.converters.raw_input import check_samples, describe_input, synthetic_samples
from acclimate.errors import CalibrationError, InputError, LabelError

pytestmark = pytest.mark.needs_torch
NET = nn.Sequential(nn.Conv2d(3, 4, 3))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_frames_describe_themselves() -> None:
    """Size from the data, channels from the model, resize from the caller."""
    raw = describe_input(noise(8, 20, 30, 1), NET, resize=(16, 16), mean=0.5, std=0.5)
    assert raw.spec.shape == (20, 30, 1)
    assert (raw.spec.dtype, raw.spec.range) == ("uint8", (0.0, 255.0))
    assert raw.spec.axes == ("height", "width", "channel")
    assert raw.preprocess(torch.from_numpy(noise(2, 20, 30, 1))).shape == (2, 3, 16, 16)


def test_samples_describe_themselves() -> None:
    """float32 of any shape, with names for the axes."""
    x = np.random.default_rng(0).normal(size=(8, 3, 50)).astype(np.float32)
    raw = describe_input(x, nn.Conv1d(3, 4, 3), axes=("channel", "time"))
    assert (raw.spec.shape, raw.spec.dtype, raw.spec.axes) == ((3, 50), "float32", ("channel", "time"))


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([1, 2, 3], "found <class 'list'>"),
        (noise(8, 9, 9, 3).astype(np.float64), "found .8, 9, 9, 3. float64"),
        (noise(8, 9, 9), r"frames\[..., None\]"),
        (noise(7, 9, 9, 3), "at least 8 calibration samples, found 7"),
        (np.zeros((8, 9, 9, 3), np.uint8), "all are the same"),
        (np.full((8, 9), np.nan, np.float32), "found NaN or infinity"),
    ],
)
def test_calibration_data_that_is_none_is_refused(calibration: Any, message: str) -> None:
    """Type, shape, number, and content."""
    with pytest.raises(CalibrationError, match=message):
        describe_input(calibration, NET)


def test_options_that_do_not_fit_are_refused() -> None:
    """Resizing samples that are no frames, and a wrong number of axes."""
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    with pytest.raises(InputError, match="resize=None for float32 samples"):
        describe_input(x, NET, resize=(4, 4))
    for levels in ({"mean": 127.5}, {"mean": (0.5, 0.5, 0.5), "std": (50, 50, 50)}):
        with pytest.raises(InputError, match=r"for pixel values in 0 to 1, found .* Divide both by 255"):
            describe_input(noise(8, 9, 9, 3), NET, **levels)
    with pytest.raises(InputError, match="1 names of axes"):
        describe_input(x, NET, axes=("a", "b"))
    with pytest.raises(InputError, match="source: expected frames as"):
        check_samples(noise(8, 5, 5, 3), describe_input(noise(8, 9, 9, 3), NET).spec, "source")


def test_synthetic_samples_are_fixed_differ_and_span_the_range() -> None:
    """They stand in for anybody's data in the conformance test."""
    raw = describe_input(noise(8, 21, 30, 3), NET)
    frames = synthetic_samples(raw)
    assert frames.shape == (2, 21, 30, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, synthetic_samples(raw))
    assert not np.array_equal(frames, synthetic_samples(raw, seed=1))
    assert frames.min() < 30
    assert frames.max() > 225
    x = np.random.default_rng(0).normal(size=(8, 400)).astype(np.float32)
    samples = synthetic_samples(describe_input(x, NET, mean=5.0, std=2.0))
    assert samples.dtype == np.float32
    assert samples.mean() == pytest.approx(5, abs=0.3)
    assert samples.std() == pytest.approx(2, abs=0.3)


def test_class_names() -> None:
    """Given ones stay, a kept head numbers its outputs, labels name themselves in order."""
    assert name_classes(["b", "a"], None, 2) == ("b", "a")
    assert name_classes(None, ["x", "y"], 3) == ("0", "1", "2")
    assert name_classes(None, [10, 9, 9], None) == ("9", "10")
    assert name_classes(None, ["b", "10", "a", "9"], None) == ("9", "10", "a", "b")
    assert name_classes(None, None, None) == ()
    with pytest.raises(InputError, match=r"at least two outputs to keep, .* found 1.*task='regression'"):
        name_classes(None, None, 1)
    with pytest.raises(InputError, match=r"expected 3 class names, one per output .* found 2"):
        name_classes(["a", "b"], None, 3)
    with pytest.raises(InputError, match="found one twice"):
        name_classes(["a", "a"], None, None)
    with pytest.raises(LabelError, match="a class name"):
        name_classes([""], None, None)


def test_labels_become_places() -> None:
    """By name; whole numbers that are no names are places already."""
    np.testing.assert_array_equal(class_ids(["b", "a", "b"], ("a", "b"), 3), [1, 0, 1])
    with pytest.raises(LabelError, match=r"which of the model's 2 outputs stands for which class.*classes=\[\.\.\.\]"):
        class_ids(["b", "a", "b"], name_classes(None, ["b", "a", "b"], 2), 3)
    np.testing.assert_array_equal(class_ids([9, 3], ("3", "9"), 2), [1, 0])
    np.testing.assert_array_equal(class_ids(np.array([1, 0]), ("a", "b"), 2), [1, 0])
    with pytest.raises(LabelError, match=r"found \['c'\]"):
        class_ids(["a", "c"], ("a", "b"), 2)
    with pytest.raises(LabelError, match="found"):
        class_ids([0, 2], ("a", "b"), 2)
    with pytest.raises(LabelError, match=r"one label per source sample \(3\), found 2"):
        class_ids(["a", "b"], ("a", "b"), 3)
