"""Preprocessing inside the graph: what torch and numpy compute from raw input, to rounding."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch.nn import functional

from acclimate.converters.preprocess import FramePreprocess, SamplePreprocess, resize_matrix
from acclimate.errors import InputError

pytestmark = pytest.mark.needs_torch


@pytest.mark.parametrize(("source", "target"), [((30, 47), (12, 47)), ((30, 47), (30, 20)), ((17, 9), (31, 24))])
def test_resize_equals_torch(source: tuple[int, int], target: tuple[int, int]) -> None:
    """Antialiased bilinear, down and up, one axis or both, to 1e-4 of the range."""
    frames = np.random.default_rng(0).integers(0, 256, (3, *source, 3), dtype=np.uint8)
    found = FramePreprocess((*source, 3), target, 3, [0.0], [1.0])(torch.from_numpy(frames))
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    expected = functional.interpolate(x, size=target, mode="bilinear", antialias=True, align_corners=False)
    assert float((found - expected).abs().max()) < 1e-4


def test_resize_equals_torchvision() -> None:
    """The transform that most training scripts use, before it rounds."""
    transforms = pytest.importorskip("torchvision.transforms.v2.functional", reason="torchvision is not installed")
    x = torch.rand(2, 3, 40, 30, generator=torch.Generator().manual_seed(0)) * 255
    expected = transforms.resize(x, [16, 16], antialias=True)
    found = resize_matrix(40, 16) @ x @ resize_matrix(30, 16).T
    assert float((found - expected).abs().max()) < 255e-4


def test_rows_of_a_resize_sum_to_one() -> None:
    """A constant image stays what it is."""
    torch.testing.assert_close(resize_matrix(300, 224).sum(1), torch.ones(224))


def test_normalisation_is_per_channel() -> None:
    """(x / 255 - mean) / std, channels first."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    found = FramePreprocess((5, 4, 3), None, 3, mean.tolist(), std.tolist())(torch.from_numpy(frames))
    expected = ((frames / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_grayscale_frames_are_repeated() -> None:
    """One channel feeds a model of three; the normalisation stays the model's own."""
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 5, 4, 1), dtype=np.uint8))
    found = FramePreprocess((5, 4, 1), None, 3, [0.1, 0.2, 0.3], [1.0, 2.0, 3.0])(frames)
    expected = FramePreprocess((5, 4, 3), None, 3, [0.1, 0.2, 0.3], [1.0, 2.0, 3.0])(frames.expand(2, 5, 4, 3))
    torch.testing.assert_close(found, expected)


def test_a_model_that_calls_view_gets_plain_strides() -> None:
    """Frames come channels last; `view` fails on such strides even after a single-channel convolution."""
    frames = torch.zeros(2, 5, 4, 1, dtype=torch.uint8)
    x = FramePreprocess((5, 4, 1), None, 1, [0.0], [1.0])(frames)
    assert torch.nn.Conv2d(1, 3, 3)(x).view(2, -1).shape == (2, 18)


def test_samples_are_normalised_as_numpy_broadcasts() -> None:
    """Mean and deviation per channel of ``(channels, time)``."""
    x = np.random.default_rng(0).normal(size=(4, 3, 7)).astype(np.float32)
    mean, std = np.array([[1.0], [2.0], [3.0]]), 4.0
    found = SamplePreprocess((3, 7), mean, std)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, (x - mean) / std, atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    """Channels, deviations and shapes that cannot be."""
    with pytest.raises(InputError, match="of 1 channels, as the model takes, or of 1, found 3 in"):
        FramePreprocess((8, 8, 3), None, 1, [0.0], [1.0])
    with pytest.raises(InputError, match="std above 0"):
        FramePreprocess((8, 8, 3), None, 3, [0.0], [1.0, 0.0, 1.0])
    with pytest.raises(InputError, match="mean as 1 or 3 finite numbers"):
        FramePreprocess((8, 8, 3), None, 3, [0.0, 0.1], [1.0])
    with pytest.raises(InputError, match="expected mean to broadcast to one sample"):
        SamplePreprocess((3, 7), np.zeros(3), 1.0)
    with pytest.raises(InputError, match="std above 0 everywhere"):
        SamplePreprocess((3,), 0.0, np.array([1.0, 0.0, 1.0]))
    with pytest.raises(InputError, match="a finite mean"):
        SamplePreprocess((3,), np.nan, 1.0)
