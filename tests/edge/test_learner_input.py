"""Bad input to the learner: an error of ours in words, and store, history and predictions as they were before."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acclimate.edge import Learner
from acclimate.errors import (
    AcclimateError,
    BackendError,
    DuplicateSampleError,
    InputError,
    LabelError,
    NotEnoughSamplesError,
)

Dump = Callable[[], list[str]]
Remake = Callable[..., Path]


@contextmanager
def unchanged(learner: Learner, dump: Dump, x: np.ndarray) -> Iterator[None]:
    """Assert that store, classes, history and predictions are the same afterwards, to the bit."""

    def state() -> list[object]:
        predicted = learner.predict(x).probabilities.tobytes()
        return [dump(), learner.classes, learner.samples, learner.versions(), predicted]

    before = state()
    yield
    assert state() == before


def bad_frames(good: np.ndarray) -> dict[str, tuple[Any, str]]:
    """Return frames that do not fit the bundle, with what the error says."""
    return {
        "float64": (good / 255, r"expected frames as \(n, 8, 8, 1\) uint8 .* found type float64\. Scale to 0\.\.255"),
        "int64": (good.astype(int), "found type int64"),
        "text": (good.astype(str), "found type <U"),
        "no channel": (good[..., 0], r"found shape \(4, 8, 8\)\. Resize or reorder the axes"),
        "channel first": (good.transpose(0, 3, 1, 2), r"found shape \(4, 1, 8, 8\)"),
        "too large": (np.repeat(good, 2, axis=1), r"found shape \(4, 16, 8, 1\)"),
        "ragged": ([good[0], good[0, :4]], r"expected frames of one size"),
        "none": (good[:0], r"expected at least one frame as .*, found none"),
        "nothing": (None, r"found shape \(\)"),
    }


@pytest.mark.parametrize("case", bad_frames(np.zeros((4, 8, 8, 1), np.uint8)))
def test_frames_that_do_not_fit(adapted: Learner, dump: Dump, scenes: ModuleType, case: str) -> None:
    """Wrong type, shape or number of frames is refused by every call that takes frames."""
    x, y = scenes.frames(4, 3)
    frames, message = bad_frames(x)[case]
    with unchanged(adapted, dump, x):
        for call in (
            lambda: adapted.predict(frames),
            lambda: adapted.observe(frames, y),
            lambda: adapted.fit(frames, y),
            lambda: adapted.partial_fit(frames, y),
            lambda: adapted.score(frames, y),
        ):
            with pytest.raises(InputError, match=message):
                call()


def bad_labels() -> dict[str, tuple[Any, str]]:
    """Return labels of four frames that do not fit, with what the error says."""
    return {
        "a text": ("moss", r"expected one label per sample \(4\), found 'moss'\. Pass a list of names"),
        "a number": (3, r"expected one label per sample \(4\), found 3\. Pass a list of names"),
        "too few": (["moss"] * 3, r"expected one label per sample \(4\), found 3\. Pass None for samples without one"),
        "empty": (["moss", "moss", "moss", ""], r"expected a class name of 1 to 200 printable characters, found ''"),
        "a float": ([1.0, 2.0, 3.0, 4.0], r"expected a class name .* found 1\.0"),
        "unprintable": (["moss", "new\nline", "moss", "moss"], r"expected a class name .* found 'new\\nline'"),
    }


def test_a_sample_that_another_process_stored_meanwhile(
    adapted: Learner, dump: Dump, scenes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A duplicate that is found only on writing refuses the whole call, with the new class that came along."""
    stored, _ = scenes.frames(60, 2, 1.0)
    x, y = scenes.frames(4, 3)
    unaware = (list(range(5)), dict[bytes, int]())
    monkeypatch.setattr(adapted._session.store, "unstored", lambda digests, refuse: unaware)
    with unchanged(adapted, dump, x), pytest.raises(DuplicateSampleError, match=r"sample 4 again\. Nothing was stored"):
        adapted.observe(np.concatenate([x, stored[:1]]), [*y, "crack"])


@pytest.mark.parametrize("case", bad_labels())
def test_labels_that_do_not_fit(adapted: Learner, dump: Dump, scenes: ModuleType, case: str) -> None:
    """Labels of the wrong number or kind are refused, and no new class is left behind."""
    x, _ = scenes.frames(4, 3)
    labels, message = bad_labels()[case]
    with unchanged(adapted, dump, x):
        for call in (
            lambda: adapted.observe(x, labels),
            lambda: adapted.fit(x, labels),
            lambda: adapted.score(x, labels),
            lambda: adapted.label([1, 2, 3, 4], labels),
        ):
            with pytest.raises(LabelError, match=message):
                call()


def test_unknown_labels_where_new_classes_are_refused(
    adapted: Learner, tiny_bundle: Path, tmp_path: Path, dump: Dump, scenes: ModuleType
) -> None:
    """Opened with new_classes="refuse", labels of no known class are named together with the known ones."""
    x, y = scenes.frames(4, 3)
    message = r"expected labels among the classes \['bark', .*'moss'\], found \['crack'\]\. Correct them, or open with"
    with Learner.open(tiny_bundle, tmp_path / "device.db", new_classes="refuse", threads=1) as strict:
        with unchanged(strict, dump, x):
            for call in (
                lambda: strict.observe(x, ["moss", "crack", None, "crack"]),
                lambda: strict.fit(x, ["moss", "crack", "moss", "moss"]),
                lambda: strict.label([1], ["crack"]),
            ):
                with pytest.raises(LabelError, match=message):
                    call()
        assert len(strict.observe(x, [*y[:3], None])) == 4


def test_one_class_only(learner: Learner, dump: Dump, scenes: ModuleType) -> None:
    """Adapting to a single labelled class, or to none, is refused; the shipped head stays."""
    x, _ = scenes.frames(8, 3)
    with unchanged(learner, dump, x), pytest.raises(LabelError, match=r"at least two classes, found none\. Observe"):
        learner.adapt()
    learner.observe(x, ["moss"] * 8)
    with unchanged(learner, dump, x), pytest.raises(LabelError, match=r"two classes, found one, 'moss'\. Observe"):
        learner.adapt()


def test_fewer_samples_than_classes(learner: Learner, dump: Dump, scenes: ModuleType) -> None:
    """Three labelled samples for four classes are too few to adapt; the head in use stays."""
    x, _ = scenes.frames(8, 3)
    learner.observe(x[:4], ["moss", "bark", "moss", None])
    message = r"expected at least as many labelled samples as classes \(4\), found 3\. Observe or label some more"
    with unchanged(learner, dump, x), pytest.raises(NotEnoughSamplesError, match=message):
        learner.adapt()


def test_duplicate_samples(adapted: Learner, dump: Dump, scenes: ModuleType) -> None:
    """A frame that is stored already, or occurs twice in the call, refuses the whole call and names the two."""
    stored, _ = scenes.frames(60, 2, 1.0)
    x, y = scenes.frames(4, 3)
    twice, again = np.concatenate([x, x[1:2]]), np.concatenate([x, stored[6:7]])
    with unchanged(adapted, dump, x):
        with pytest.raises(DuplicateSampleError, match=r"sample 4 again: it equals sample 1 of the call\. Nothing was"):
            adapted.observe(twice, [*y, "crack"])
        with pytest.raises(
            DuplicateSampleError, match=r"sample 4 again: it is stored as id 7\. .* on_duplicate='skip'"
        ):
            adapted.observe(again, [*y, "crack"])


def test_misspelt_options(adapted: Learner, tiny_bundle: Path, dump: Dump, scenes: ModuleType) -> None:
    """A misspelt option is refused with the choices that there are."""
    x, y = scenes.frames(4, 3)
    wrong: Any = "sometimes"
    with unchanged(adapted, dump, x):
        with pytest.raises(InputError, match=r"expected on_insufficient to be 'keep'.*, found 'sometimes'"):
            adapted.adapt(on_insufficient=wrong)
        with pytest.raises(InputError, match="on_duplicate to be 'refuse', 'skip' or 'relabel', found 'some"):
            adapted.observe(x, y, on_duplicate=wrong)
        with pytest.raises(InputError, match="expected new_classes to be 'add' or 'refuse', found 'sometimes'"):
            Learner.open(tiny_bundle, new_classes=wrong)
        with pytest.raises(BackendError, match=r"expected runtime 'auto' or one of .*, found 'sometimes'"):
            Learner.open(tiny_bundle, runtime=wrong)
        with pytest.raises(InputError, match="expected threads as a whole number from 1 to 1024, found 0"):
            Learner.open(tiny_bundle, threads=0)
        with pytest.raises(InputError, match="expected timeout in seconds from 0 to 86400, found nan"):
            Learner.open(tiny_bundle, timeout=float("nan"))
        with pytest.raises(InputError, match=r"expected one of keys .* found \['a'\]"):
            adapted.observe(x, y, keys=["a"])
        with pytest.raises(InputError, match=r"expected one of tags .* found \[1, 2, 3, 4\]"):
            adapted.observe(x, y, tags=[1, 2, 3, 4])  # type: ignore[list-item]


def test_ids_that_are_not_stored(adapted: Learner, dump: Dump, scenes: ModuleType) -> None:
    """An id that observe never returned is refused, and the other labels of the call are not applied."""
    x, _ = scenes.frames(4, 3)
    with unchanged(adapted, dump, x):
        with pytest.raises(InputError, match=r"expected ids that observe\(\) returned, found 1000"):
            adapted.label([1, 1000], ["crack", "crack"])
        with pytest.raises(InputError, match=r"expected a list of ids that observe\(\) returned, found \['1'\]"):
            adapted.label(["1"], ["moss"])  # type: ignore[list-item]


def test_a_sample_with_two_labels(adapted: Learner, dump: Dump, scenes: ModuleType) -> None:
    """Which of two labels would win is not left to their order: the call is refused, and nothing of it applied."""
    x, _ = scenes.frames(4, 3)
    with unchanged(adapted, dump, x), pytest.raises(LabelError, match="found 'crack' and 'lichen' for id 1"):
        adapted.label([2, 1, 1], ["crack", "crack", "lichen"])
    adapted.label([1, 1], ["crack", " crack"])


def test_versions_that_do_not_exist(adapted: Learner, dump: Dump, scenes: ModuleType) -> None:
    """Rolling back to a version that is not there, or beyond the first, is refused."""
    x, _ = scenes.frames(4, 3)
    with unchanged(adapted, dump, x), pytest.raises(InputError, match=r"one of the versions \[0, 1\], found 7\. See"):
        adapted.rollback(7)
    adapted.rollback()
    with unchanged(adapted, dump, x), pytest.raises(InputError, match="found that the shipped head is in use"):
        adapted.rollback()


@pytest.fixture(scope="module")
def shared(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learner]:
    """Return one learner for many examples."""
    path = shutil.copy(tiny_bundle, tmp_path_factory.mktemp("shared") / "tiny.acc")
    with Learner.open(path, threads=1) as opened:
        yield opened


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(junk=JUNK, more=JUNK)
def test_junk_gets_our_errors_only(shared: Learner, scenes: ModuleType, junk: Any, more: Any) -> None:
    """Whatever is passed for frames, labels, keys or ids, the call works or raises our error, and nothing is stored."""
    x, _ = scenes.frames(2, 3)
    before = shared.samples
    for call in (
        lambda: shared.predict(junk),
        lambda: shared.observe(junk, more),
        lambda: shared.observe(x[:1], [junk, more]),
        lambda: shared.observe(x[:1], keys=[junk, more]),
        lambda: shared.label(junk, more),
        lambda: shared.rollback([junk]),  # type: ignore[arg-type]
    ):
        try:
            call()
        except AcclimateError:
            continue
    assert shared.samples == before
