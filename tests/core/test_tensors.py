"""Arrays in a bundle: they come back bit for bit, and anything else than what was asked for is refused."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from acclimate.errors import BundleFormatError
from acclimate.tensors import Spec, pack, unpack

SPEC: Spec = {"weight": ("f4", (2, 3)), "bias": ("f4", (-1,))}
ARRAYS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(4, np.float32)}


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """Return safetensors bytes with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: list[int], *offsets: int) -> dict[str, Any]:
    """Return what a header says of one array."""
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


named_arrays = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=5),
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.uint8, np.int64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(named_arrays)
def test_arrays_come_back(arrays: dict[str, NDArray[Any]]) -> None:
    """Any names, types and shapes, empty ones and scalars too, in the order asked for."""
    spec = {name: (array.dtype.str[1:], array.shape) for name, array in reversed(arrays.items())}
    found = unpack(pack(arrays), "a member", spec)
    assert list(found) == list(spec)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes()
    assert pack(found) == pack(arrays)


def test_memory_order_does_not_matter() -> None:
    """A transposed view is stored as what it means."""
    array = np.arange(6, dtype=np.float32).reshape(3, 2).T
    np.testing.assert_array_equal(unpack(pack({"a": array}), "m", {"a": ("f4", (2, 3))})["a"], array)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"weight": ARRAYS["weight"]}, r"expected the arrays \['bias', 'weight'\], found \['weight'\]"),
        ({**ARRAYS, "more": ARRAYS["bias"]}, r"expected the arrays .* found \['bias', 'more', 'weight'\]"),
        ({**ARRAYS, "weight": np.ones((3, 2), "f4")}, r"expected 'weight' as \(2, 3\) f4, found \(3, 2\) float32"),
        ({**ARRAYS, "weight": np.ones((2, 3, 1), "f4")}, r".*found \(2, 3, 1\) float32"),
        ({**ARRAYS, "weight": np.ones((2, 3), "f8")}, r".*found \(2, 3\) float64"),
        ({**ARRAYS, "bias": np.ones(4, "i4")}, r"expected 'bias' as \(-1,\) f4, found \(4,\) int32"),
        ({**ARRAYS, "bias": np.array([1, np.nan], "f4")}, "expected finite numbers in 'bias', found others"),
        ({**ARRAYS, "bias": np.array([np.inf], "f4")}, "expected finite numbers in 'bias', found others"),
    ],
)
def test_other_arrays_are_refused(arrays: dict[str, NDArray[Any]], match: str) -> None:
    """Names, number of axes, lengths, type, NaN and infinity."""
    with pytest.raises(BundleFormatError, match=rf"^head: {match}.*Get the file again"):
        unpack(pack(arrays), "head", SPEC)


BIAS = {"bias": entry("F32", [0], 24, 24)}
HUGE = 2**62


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        raw({}),
        raw({}, length=2**63),
        raw({}, length=2**64 - 1),
        raw({}, length=100),
        raw(b"{" * 10_000),
        raw(b'{"weight":' + b"[" * 100_000),
        raw([]),
        raw(b"\xff\xfe"),
        raw({"weight": entry("F32", [2, 3], 0, 24), **BIAS}, bytes(23)),
        raw({"weight": entry("F32", [2, 3], 0, 24), **BIAS}, bytes(25)),
        raw({"weight": entry("F32", [2, 3], 4, 28), **BIAS}, bytes(28)),
        raw({"weight": entry("F32", [2, 3], 0, 20), **BIAS}, bytes(24)),
        raw({"weight": entry("F32", [2, 3], 24, 0), **BIAS}, bytes(24)),
        raw({"weight": entry("F32", [2, 3], 0, 2**64), **BIAS}, bytes(24)),
        raw({"weight": entry("F32", [2, -3], 0, 24), **BIAS}, bytes(24)),
        raw({"weight": entry("F32", [HUGE, HUGE], 0, 24), **BIAS}, bytes(24)),
        raw({"weight": entry("F32", [HUGE, 4, 0], 0, 0), "bias": entry("F32", [0], 0, 0)}),
        raw({"weight": entry("F32", [0, HUGE], 0, 0), "bias": entry("F32", [0], 0, 0)}),
        raw({"weight": entry("F32", [0] * 200, 0, 0), "bias": entry("F32", [0], 0, 0)}),
        raw({"weight": entry("BF16", [2, 3], 0, 12), "bias": entry("F32", [0], 12, 12)}, bytes(12)),
        raw({"weight": entry("F8_E4M3", [2, 3], 0, 6), "bias": entry("F32", [0], 6, 6)}, bytes(6)),
        raw({"weight": entry("object", [2, 3], 0, 24), **BIAS}, bytes(24)),
        raw({"weight": entry("F32", [2, 3], 0, 24), "bias": entry("F32", [6], 0, 24)}, bytes(24)),
        raw(b'{"weight":1,"weight":2}'),
        raw({"__metadata__": {"a": 1}}),
    ],
    ids=range(28),
)
def test_headers_that_lie_are_refused(content: bytes) -> None:
    """Cut short, too long, nested, overlapping, with gaps, negative, or so large that no machine could hold it."""
    with pytest.raises(BundleFormatError, match=r"^head: expected .*, found .*Get the file again"):
        unpack(content, "head", SPEC)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.data())
def test_any_damage_is_refused_or_gives_what_fits(data: st.DataObject) -> None:
    """Whatever the bytes, the result is an error of ours or arrays of the asked-for types and shapes, all finite."""
    content = pack(ARRAYS)
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    content = content[:start] + data.draw(st.binary(max_size=30)) + content[stop:]
    try:
        found = unpack(content, "head", SPEC)
    except BundleFormatError:
        return
    assert found["weight"].shape == (2, 3)
    assert found["weight"].dtype == found["bias"].dtype == np.float32
    assert all(np.isfinite(array.astype(float)).all() for array in found.values())
