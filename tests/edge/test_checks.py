"""What comes from the application: frames and labels are taken as they are meant, or refused in words."""

import unicodedata
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from acclimate.edge.checks import (
    MAX_NAME,
    MAX_THREADS,
    check_frames,
    check_ids,
    check_labels,
    check_name,
    check_once,
    check_texts,
    check_threads,
    check_timeout,
)
from acclimate.errors import AcclimateError, InputError, LabelError
from acclimate.manifest import InputSpec

IMAGE = InputSpec((4, 3, 1), "uint8", (0, 255), ("height", "width", "channel"))
SENSOR = InputSpec((5,), "float32", (-1, 1), ("time",))
TEXT = InputSpec((4,), "int32", (0, 1_234_567), ("token",))


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(4), st.just(3), st.just(1))))
def test_good_images_pass_unchanged(frames: np.ndarray) -> None:
    """Frames of the declared shape and type come back equal and contiguous, however they lie in memory."""
    for laid_out in (frames, np.asfortranarray(frames), np.repeat(frames, 2, axis=0)[::2]):
        checked = check_frames(laid_out, IMAGE)
        assert np.array_equal(checked, frames)
        assert checked.flags.c_contiguous
    assert np.array_equal(check_frames(frames[0], IMAGE), frames[:1])


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(5)), elements=st.floats(-1, 1, width=32)))
def test_good_signals_pass_unchanged(frames: np.ndarray) -> None:
    """Values within the declared range, its ends included, come back equal."""
    assert np.array_equal(check_frames(frames, SENSOR), frames)


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(name) for name in ("u1", "f4", "f8", "i4", "i8", "?", "c8", "U2", "O")]),
        hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3)
        | st.sampled_from([(4, 3, 1), (2, 4, 3, 1), (0, 4, 3, 1), (5,), (2, 5), (0, 5), (4,), (2, 4)]),
    ),
    st.sampled_from([IMAGE, SENSOR, TEXT]),
)
def test_any_array_fits_or_is_refused(array: np.ndarray, spec: InputSpec) -> None:
    """Whatever the array, what passes fits the declaration in every respect, and the rest gets our error."""
    try:
        checked = check_frames(array, spec)
    except InputError as error:
        assert "expected" in str(error)  # noqa: PT017  what passes is looked at as well
        assert "found" in str(error)  # noqa: PT017
    else:
        assert checked.dtype == spec.dtype
        assert checked.shape[1:] == spec.shape
        assert len(checked) > 0
        assert np.isfinite(checked).all()
        assert checked.min() >= spec.range[0]
        assert checked.max() <= spec.range[1]


FRAME, SIGNAL = np.zeros((2, 4, 3, 1), np.uint8), np.zeros((2, 5), np.float32)

IDS = np.array([[0, 1, 2, 1_234_567], [3, 0, 0, 0]], np.int32)


def signal(value: float) -> np.ndarray:
    """Return two signals of which the second ends with a value."""
    return np.where(np.arange(10).reshape(2, 5) == 9, np.float32(value), SIGNAL)


@pytest.mark.parametrize(
    ("frames", "spec", "message"),
    [
        (FRAME / 2, IMAGE, r"as \(n, 4, 3, 1\) uint8 \(height, width, channel\), found type float64\. Scale to 0"),
        (SIGNAL.astype(float), SENSOR, r"as \(n, 5\) float32 \(time\), found type float64\. Use \.astype"),
        (SIGNAL.astype(">f4"), SENSOR, r"found type >f4\. Use \.astype\('float32'\)"),
        (FRAME.transpose(0, 2, 1, 3), IMAGE, r"found shape \(2, 3, 4, 1\)\. Resize or reorder the axes"),
        (FRAME.transpose(0, 3, 1, 2), IMAGE, r"found shape \(2, 1, 4, 3\)\. Put the channels last"),
        (np.uint8(1), IMAGE, r"found shape \(\)"),
        (None, IMAGE, r"found shape \(\)"),
        ([FRAME[0], FRAME[0, :, :2]], IMAGE, r"expected frames of one size .* Resize them alike"),
        (FRAME[:0], IMAGE, r"expected at least one frame as \(n, 4, 3, 1\) uint8 .*, found none"),
        (signal(np.nan), SENSOR, r"expected finite values, found NaN or infinity in frame 1\. Leave such frames out"),
        (signal(-np.inf), SENSOR, r"found NaN or infinity in frame 1"),
        (signal(1.5), SENSOR, r"expected values from -1 to 1, found 0 to 1\.5\. Pass what the sensor gives"),
        (signal(-2), SENSOR, r"expected values from -1 to 1, found -2 to 0"),
        (IDS.astype(np.int64), TEXT, r"as \(n, 4\) int32 \(token\), found type int64\. Pass ids, .*astype\('int32'\)"),
        (IDS.astype(np.float32), TEXT, r"found type float32\. Pass ids"),
        (IDS - 1, TEXT, r"expected ids from 0 to 1234567, found -1 to 1234566\. Make them with the tokenizer"),
        (IDS + 1, TEXT, r"expected ids from 0 to 1234567, found 1 to 1234568\. Make them with the tokenizer"),
        (FRAME + 200, replace(IMAGE, range=(0, 100)), r"expected values from 0 to 100, found 200 to 200"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(frames: Any, spec: InputSpec, message: str) -> None:
    """Each way in which frames can be wrong says what was expected, what was found and what to do."""
    with pytest.raises(InputError, match=message):
        check_frames(frames, spec)


def test_ids_pass_unchanged() -> None:
    """Ids within the range, its ends included, come back equal, in their type."""
    checked = check_frames(IDS, TEXT)
    assert checked.dtype == np.int32
    assert np.array_equal(checked, IDS)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)


@given(ANYTHING, st.integers(0, 4))
def test_any_labels_are_names_or_refused(labels: Any, n: int) -> None:
    """Whatever is passed as labels, what passes is one usable name or None per sample, and the rest gets our error."""
    try:
        names = check_labels(labels, n)
    except LabelError:
        return
    assert len(names) == n
    for name in names:
        assert name is None or (0 < len(name) <= MAX_NAME and name.isprintable() and name.strip())


@given(st.lists(st.text("abc é漢", min_size=1).filter(str.strip), min_size=1))
def test_names_pass_unchanged(names: list[str]) -> None:
    """Printable names in lists, tuples and arrays come back, without blanks around them and in one spelling."""
    expected = [unicodedata.normalize("NFC", name.strip()) for name in names]
    for given_names in (names, tuple(names), np.array(names)):
        assert check_labels(given_names, len(names)) == expected


def test_slips_of_the_keyboard_make_no_new_class() -> None:
    """Outer blanks go, and letters composed in two ways are one; labels without an order are refused."""
    assert check_labels(["moss ", " moss", "cafe\u0301"], 3) == ["moss", "moss", "caf\u00e9"]
    for unordered in ({"a", "b"}, frozenset("ab"), {"a": 1, "b": 2}):
        with pytest.raises(LabelError, match=r"expected one label per sample \(2\), found .* Pass a list"):
            check_labels(unordered, 2)  # type: ignore[arg-type]


@given(st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers_stand_for_their_decimal_name(number: int) -> None:
    """An integer, Python's or numpy's, is the class named by its digits."""
    assert check_name(number) == check_name(np.int64(number)) == check_name(str(number)) == str(number)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("ab", r"expected one label per sample \(2\), found 'ab'\. Pass a list of names"),
        (b"ab", r"expected one label per sample \(2\), found b'ab'"),
        (5, r"expected one label per sample \(2\), found 5"),
        (np.array("a"), r"expected one label per sample \(2\), found array"),
        (["a"], r"expected one label per sample \(2\), found 1\. Pass None for samples without one"),
        (["a", "b", "c"], r"expected one label per sample \(2\), found 3"),
        (["a", ""], r"expected a class name of 1 to 200 printable characters, found ''"),
        (["a", "  "], r"expected a class name of 1 to 200 printable characters, found '  '"),
        (["a", "b\n"], r"expected a class name .* found 'b\\n'"),
        (["a", b"b"], r"expected a class name as text, found bytes: b'b'\. Decode them first: .* or label\.decode\(\)"),
        (np.array([b"a", b"b"]), r"as text, found bytes: .*b'a'.* numpy\.char\.decode\(labels\.astype\(bytes\)\)"),
        (["a", "x" * 201], r"expected a class name of 1 to 200"),
        (["a", 1.0], r"expected a class name .* found 1\.0"),
        (["a", float("nan")], r"expected a class name .* found nan"),
        (["a", True], r"expected a class name .* found True"),
        (["a", ["b"]], r"expected a class name .* found \['b'\]"),
        (["a", 10**5000], r"expected a whole number of at most 64 bits, found a larger one\. Name it by a text"),
        (["a", "\ud800"], r"expected a class name .* printable"),
    ],
)
def test_bad_labels_are_refused_in_words(labels: Any, message: str) -> None:
    """Each way in which labels can be wrong says what was expected and what was found."""
    with pytest.raises(LabelError, match=message):
        check_labels(labels, 2)


@pytest.mark.parametrize("values", ["ab", 5, ["a"], ["a", 1], ["a", b"b"], ["a", "\ud800"], {1: 2}])
def test_bad_keys_and_tags_are_refused(values: Any) -> None:
    """Keys and tags are texts that UTF-8 can hold, or None, one a sample."""
    with pytest.raises(InputError, match=r"one of keys \(text or None\) per sample \(2\), found .* Pass a list"):
        check_texts(values, 2, "keys")


def test_keys_and_tags_are_optional() -> None:
    """None at all means none for every sample; single ones may be None, and any text that is valid passes."""
    assert check_texts(None, 3, "keys") == [None] * 3
    assert check_texts(("a", None, "a\n漢"), 3, "keys") == ["a", None, "a\n漢"]


@given(ANYTHING)
def test_any_ids_are_whole_numbers_or_refused(ids: Any) -> None:
    """Whatever is passed as sample ids, what passes is a list of positive 64-bit integers."""
    try:
        found = check_ids(ids)
    except AcclimateError:
        return
    assert all(type(i) is int and 0 < i < 2**63 for i in found)


@pytest.mark.parametrize("ids", [3, "3", ["3"], [1.5], [0], [-1], [2**70], [None]])
def test_what_is_no_id_is_refused(ids: Any) -> None:
    """Numbers that no sample can have are refused before the store is asked."""
    with pytest.raises(InputError, match=r"expected a list of ids that observe\(\) returned, found .* Look them up"):
        check_ids(ids)


def test_a_sample_has_one_label() -> None:
    """The same label twice is no contradiction; two labels, or one and none, are, and both are named."""
    check_once([1, 2, 1], ["moss", "crack", "moss"])
    check_once([1, 1], [None, None])
    with pytest.raises(LabelError, match=r"one label for each sample, found 'moss' and 'crack' for id 7\. Name"):
        check_once([7, 2, 7], ["moss", "crack", "crack"])
    with pytest.raises(LabelError, match=r"found 'moss' and None for id 7"):
        check_once([7, 7], ["moss", None])


@pytest.mark.parametrize("threads", [-1, 0, MAX_THREADS + 1, 2.5, 2.0, True, "2", float("nan"), [1], 10**400])
def test_what_is_no_number_of_threads_is_refused(threads: Any) -> None:
    """Only whole numbers within the bounds pass."""
    with pytest.raises(InputError, match=r"expected threads as a whole number from 1 to 1024, found .* use every core"):
        check_threads(threads)


@pytest.mark.parametrize("timeout", [-1, -0.1, float("nan"), float("inf"), 86_401, True, "5", None, [5], 10**400])
def test_what_is_no_time_to_wait_is_refused(timeout: Any) -> None:
    """Only numbers of seconds that a database can wait for pass."""
    with pytest.raises(InputError, match=r"expected timeout in seconds from 0 to 86400, found .* Pass 0 not to wait"):
        check_timeout(timeout)


def test_numbers_of_threads_and_seconds_pass() -> None:
    """Python's numbers and numpy's alike, at both ends."""
    assert (check_threads(None), check_threads(1), check_threads(np.int32(8))) == (None, 1, 8)
    assert type(check_threads(np.int32(8))) is int
    assert (check_timeout(0), check_timeout(np.float32(0.5)), check_timeout(86_400)) == (0.0, 0.5, 86_400.0)
