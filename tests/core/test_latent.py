"""The latent code: half a step of error inside its range, counted saturation outside of it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from acclimate.latent import LatentCode

Float32 = NDArray[np.float32]
quick = settings(deadline=None, derandomize=True, max_examples=150)
# Latents are averages of activations: of any scale, but not at the ends of what float32 can hold.
values = st.one_of(
    st.floats(-1e6, 1e6, width=32),
    st.floats(-1, 1, width=32),
    st.sampled_from([0.0, 1.0, -1.0, float(np.float32(1e-6))]),
)
latents = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12).flatmap(
    lambda shape: hnp.arrays(np.float32, shape, elements=values)
)


def rounding(code: LatentCode, z: Float32) -> NDArray[np.float64]:
    """Return what computing in float32 may add to the error: a few units in the last place of the operands."""
    size = np.maximum(np.abs(z).astype(float), np.abs(code.offset).astype(float) + 255 * code.scale.astype(float))
    result: NDArray[np.float64] = 4 * np.finfo(np.float32).eps * size
    return result


@quick
@given(latents)
def test_values_inside_come_back_within_half_a_step(z: Float32) -> None:
    """What the code was fitted on is in its range, so each value is at most half a step off."""
    code = LatentCode.fit(z)
    found = code.decode(code.encode(z))
    assert found.dtype == np.float32
    assert (np.abs(found.astype(float) - z) <= code.scale / 2 + rounding(code, z)).all()
    assert code.saturation(z) == 0


@quick
@given(latents)
def test_fit_gives_a_code_that_a_bundle_takes(z: Float32) -> None:
    """Scales are finite and above 0, even for dimensions that never move; what is never negative starts at 0."""
    code = LatentCode.fit(z)
    assert code.scale.dtype == code.offset.dtype == np.float32
    assert code.scale.shape == code.offset.shape == (z.shape[1],)
    assert (code.scale > 0).all()
    assert np.isfinite(code.scale).all()
    assert np.isfinite(code.offset).all()
    assert (code.offset[z.min(axis=0) >= 0] >= 0).all()


@quick
@given(latents, st.floats(0, 3))
def test_headroom_is_kept_free(z: Float32, headroom: float) -> None:
    """A value that lies outside of what was seen by less than the headroom is not saturated."""
    code = LatentCode.fit(z, headroom)
    low, high = z.min(axis=0).astype(float), z.max(axis=0).astype(float)
    above = (high + 0.99 * headroom * (high - low)).astype(np.float32)[np.newaxis]
    step = code.scale + rounding(code, above)
    assert (np.abs(code.decode(code.encode(above)).astype(float) - above) <= step).all()


@quick
@given(latents, st.data())
def test_encoding_is_monotone_and_stays_in_range(z: Float32, data: st.DataObject) -> None:
    """A greater value never gets a smaller code, inside or outside of the range."""
    code = LatentCode.fit(z)
    others = data.draw(hnp.arrays(np.float32, (6, z.shape[1]), elements=st.floats(-1e7, 1e7, width=32)))
    ordered = np.sort(np.concatenate([others, z]), axis=0)
    codes = code.encode(ordered)
    assert codes.dtype == np.uint8
    assert (np.diff(codes.astype(int), axis=0) >= 0).all()


@quick
@given(latents, st.data())
def test_codes_come_back_exactly(z: Float32, data: st.DataObject) -> None:
    """Decoding and encoding again gives the same codes wherever float32 can tell them apart."""
    code = LatentCode.fit(z)
    codes = data.draw(hnp.arrays(np.uint8, (4, z.shape[1])))
    told = (rounding(code, code.decode(codes)) < code.scale / 4).all(axis=0)
    np.testing.assert_array_equal(code.encode(code.decode(codes))[:, told], codes[:, told])


def test_saturation_is_counted() -> None:
    """The share of values outside of [-0.5, 255.5] steps, on either side; they take the nearest end."""
    code = LatentCode(np.array([0.5, 1], np.float32), np.array([10, 0], np.float32))
    z = np.array([[10, -0.4], [138, 255.4]], np.float32)
    assert code.saturation(z) == 0.25
    assert code.saturation(np.array([[9.7, 0], [10, 1], [10, -9]], np.float32)) == pytest.approx(1 / 3)
    assert code.encode(z).tolist() == [[0, 0], [255, 255]]
    assert code.decode(code.encode(z)).tolist() == [[10, 0], [137.5, 255]]
    assert code.saturation(np.empty((0, 2), np.float32)) == 0


def test_rounding_is_to_the_nearest_even() -> None:
    """The page says rint, so a reader in another language gets the same codes."""
    code = LatentCode(np.ones(1, np.float32), np.zeros(1, np.float32))
    halves = np.array([[0.5], [1.5], [2.5], [254.5]], np.float32)
    assert code.encode(halves).ravel().tolist() == [0, 2, 2, 254]


@pytest.mark.parametrize(
    ("column", "scale", "offset"),
    [
        ([0, 1], 1.5 / 255, 0.0),  # never negative: headroom above only
        ([-1, 1], 4.0 / 255, -2.0),  # headroom on both sides
        ([1, 2], 2.0 / 255, 0.5),
        ([-2, -1], 2.0 / 255, -2.5),
    ],
)
def test_fit_by_hand(column: list[float], scale: float, offset: float) -> None:
    """Half of the spread on each side, none below zero for what is never negative."""
    code = LatentCode.fit(np.array(column, np.float32)[:, np.newaxis])
    np.testing.assert_allclose([code.scale[0], code.offset[0]], [scale, offset], rtol=1e-6)


def test_a_dimension_that_never_moved_can_move_on_the_device() -> None:
    """It gets a range as wide as the spread of a typical one, with the value it had inside."""
    z: NDArray[Any] = np.array([[0, 5, 3], [2, 5, 5]], np.float32)
    code = LatentCode.fit(z)
    assert code.scale[1] == pytest.approx(2 / 255)
    assert code.saturation(z) == 0
    assert code.decode(code.encode(z))[0, 1] == pytest.approx(5, abs=float(code.scale[1]) / 2)


def test_clipping_is_what_storing_does_but_for_rounding() -> None:
    """Inside and outside of the range, a clipped latent is within half a step of what comes back from its code."""
    code = LatentCode(np.array([0.1, 2.0], np.float32), np.array([-1.0, 0.0], np.float32))
    z = np.random.default_rng(0).normal(0, 200, (500, 2)).astype(np.float32)
    assert 0.2 < code.saturation(z) < 1
    assert (np.abs(code.clip(z) - code.decode(code.encode(z))) <= code.scale / 2 * (1 + 1e-5)).all()
    inside = code.decode(np.arange(256, dtype=np.uint8)[:, None].repeat(2, axis=1))
    np.testing.assert_allclose(code.clip(inside), inside, rtol=1e-6)
