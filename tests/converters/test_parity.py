"""Parity figures: known differences give known figures, and too large ones raise."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from acclimate.converters.parity import compare, require_float, require_quantized
from acclimate.errors import ParityError
from acclimate.manifest import Tap

TAPS = (Tap("early", 0, 3), Tap("cut", 3, 5))


@pytest.fixture
def latents() -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(50, 8)) + 100).astype(np.float32)


def test_equal_latents_are_perfectly_close(latents: np.ndarray) -> None:
    """Cosine 1, error 0."""
    parity = compare(latents, latents, TAPS)
    assert parity.whole.cosine == pytest.approx(1)
    assert parity.whole.error == 0


def test_figures_are_centred(latents: np.ndarray) -> None:
    """Unrelated latents with a large common mean have a plain cosine of 1 and a centred one near 0."""
    other = (np.random.default_rng(1).normal(size=(50, 8)) + 100).astype(np.float32)
    plain = (other * latents).sum(1) / np.linalg.norm(other, axis=1) / np.linalg.norm(latents, axis=1)
    assert plain.min() > 0.999
    assert abs(compare(other, latents, TAPS).whole.cosine) < 0.2


def test_error_is_a_share_of_the_taps_spread(latents: np.ndarray) -> None:
    """One value of one tap off by a known amount."""
    found = latents.copy()
    found[7, 1] += 0.5
    parity = compare(found, latents, TAPS)
    spread = np.sqrt(np.mean((latents[:, :3] - latents[:, :3].mean(0)) ** 2))
    assert parity.taps["early"].error == pytest.approx(0.5 / spread, rel=1e-3)
    assert parity.whole.error == parity.taps["early"].error
    assert parity.taps["cut"].error == 0


def test_bounds_raise_with_the_figures_and_a_remedy(latents: np.ndarray) -> None:
    """A float export may err by a thousandth of the spread, a quantized one keeps its cosine."""
    noise = np.random.default_rng(2).normal(size=latents.shape).astype(np.float32)
    require_float(compare(latents + 1e-4 * noise, latents, TAPS), "onnx")
    with pytest.raises(ParityError, match=r"within 0.001 of their spread, found: centred cosine .* worst tap"):
        require_float(compare(latents + 1e-2 * noise, latents, TAPS), "onnx")
    require_quantized(compare(latents + 0.2 * noise, latents, TAPS), "onnx")
    with pytest.raises(ParityError, match=r"at least 0.9 .* What helps: .* quantize=False"):
        require_quantized(compare(latents + 2 * noise, latents, TAPS), "onnx")
    require_quantized(compare(latents + 2 * noise, latents, TAPS), "onnx", cosine=0.1)


def test_nan_never_passes(latents: np.ndarray) -> None:
    """Neither bound lets it through."""
    found = latents.copy()
    found[0, 0] = np.nan
    parity = compare(found, latents, TAPS)
    with pytest.raises(ParityError):
        require_float(parity, "onnx")
    with pytest.raises(ParityError):
        require_quantized(parity, "onnx")


def test_a_tap_without_spread_is_compared_by_size() -> None:
    """Constant activations do not divide by zero."""
    constant = np.full((10, 8), 3, np.float32)
    assert np.isfinite(compare(constant + 1e-6, constant, TAPS).whole.error)
