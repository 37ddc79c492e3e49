"""How maps become bytes: each channel by its own scale, back within half a step, equal to the latent's code."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.latent import LatentCode
from acclimate.map_code import MapCode


def maps(shape: tuple[int, ...], axis: int, n: int = 6) -> np.ndarray:
    """Draw maps whose channels have very different ranges."""
    draw = np.random.default_rng(len(shape))
    sizes = 10.0 ** draw.uniform(-2, 2, shape[axis - 1])
    along = sizes.reshape([-1 if i == axis - 1 else 1 for i in range(len(shape))])
    return (draw.normal(1, 1, (n, *shape)) * along).astype(np.float32)


@pytest.mark.parametrize(("shape", "axis"), [((4, 3, 2), 1), ((3, 2, 4), 3), ((7, 5), 2), ((5, 7), 1), ((6,), 1)])
def test_values_come_back_within_half_a_step(shape: tuple[int, ...], axis: int) -> None:
    """For channels first, channels last, tokens and vectors; codes lie row by row."""
    given = maps(shape, axis)
    code = MapCode.fit(given, axis)
    codes = code.encode(given)
    assert codes.shape == (6, code.size) == (6, math.prod(shape))
    assert codes.dtype == np.uint8
    found = code.decode(codes)
    assert found.shape == given.shape
    assert found.dtype == np.float32
    step = code.scale.reshape([-1 if i == axis - 1 else 1 for i in range(len(shape))])
    assert (np.abs(found - given) <= 0.5001 * step).all()
    assert code.saturation(given) == 0
    np.testing.assert_array_equal(code.clip(given), given)


@pytest.mark.parametrize(("shape", "axis"), [((4, 3, 2), 1), ((3, 2, 4), 3)])
def test_a_channel_is_coded_as_a_dimension_of_a_latent(shape: tuple[int, ...], axis: int) -> None:
    """With the channel last and every position a row, codes and range are those of `LatentCode`."""
    given = maps(shape, axis)
    code = MapCode.fit(given, axis)
    rows = np.moveaxis(given, axis, -1).reshape(-1, shape[axis - 1])
    same = LatentCode.fit(rows)
    np.testing.assert_array_equal(code.scale, same.scale)
    np.testing.assert_array_equal(code.offset, same.offset)
    found = np.moveaxis(code.encode(given).reshape(given.shape), axis, -1).reshape(rows.shape)
    np.testing.assert_array_equal(found, same.encode(rows))


def test_what_leaves_the_range_is_clipped_and_told() -> None:
    """Twice the headroom above the greatest value is code 255 of its channel, and counts as saturated."""
    given = maps((2, 2, 2), 1)
    code = MapCode.fit(given, 1)
    far = given.copy()
    far[0, 0, 0, 0] = code.offset[0] + 400 * code.scale[0]
    assert code.encode(far)[0, 0] == 255
    assert code.saturation(far) == 1 / far.size
    assert code.clip(far)[0, 0, 0, 0] == pytest.approx(code.offset[0] + 255 * code.scale[0])


@settings(max_examples=50, deadline=None)
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), place=st.integers(0, 3), seed=st.integers(0, 99))
def test_encoding_what_was_decoded_changes_nothing(shape: list[int], place: int, seed: int) -> None:
    """Every code of every channel is a fixed point."""
    axis = 1 + place % len(shape)
    draw = np.random.default_rng(seed)
    c = shape[axis - 1]
    code = MapCode(
        draw.uniform(0.1, 2, c).astype(np.float32), draw.normal(0, 5, c).astype(np.float32), tuple(shape), axis
    )
    codes = draw.integers(0, 256, (3, code.size)).astype(np.uint8)
    np.testing.assert_array_equal(code.encode(code.decode(codes)), codes)
