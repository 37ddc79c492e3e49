"""`Learner.align` and `Learner.shift`: versions, rollback, forgetting, labels, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.errors import InputError, NotEnoughSamplesError

from .learners import Opening, in_use, knowledge

N = 240
Bits = Callable[[Learner, np.ndarray], bytes]
Frames = tuple[np.ndarray, np.ndarray]


def darker(scenes: ModuleType, n: int, seed: int) -> Frames:
    """Return frames of a place with less light and contrast, and their classes."""
    x, y = scenes.frames(n, seed)
    return np.clip((x.astype(np.float64) - 128) * 0.8 + 113, 0, 255).astype(np.uint8), y


@pytest.fixture
def moved(learner: Learner, scenes: ModuleType) -> Learner:
    """Return a learner that has seen a place that differs, without labels."""
    learner.observe(darker(scenes, N, 2)[0])
    return learner


def test_a_place_that_differs(moved: Learner, scenes: ModuleType) -> None:
    """The shift is seen, the aligned head does better on other frames, and is a version that tells what it is."""
    x, y = darker(scenes, 800, 3)
    before, unknown = moved.score(x, y), moved.predict(x).unknown.mean()
    assert moved.shift().shifted
    report = moved.align()
    assert report.applied
    assert (report.version, report.samples, report.method) == (1, N, "auto")
    assert moved.score(x, y) > before + 0.3
    assert moved.predict(x).unknown.mean() < unknown / 2
    assert "aligned (auto) without labels" in moved.versions()[1].summary
    assert set(report.balance) == set(scenes.CLASSES)
    assert sum(here for _, here in report.balance.values()) == pytest.approx(1)
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["evidence"]["agreement"] == report.evidence.agreement if report.evidence else False


def test_at_home_nothing_happens(learner: Learner, scenes: ModuleType, bits: Bits) -> None:
    """Without a shift no method changes a bit, and the report says why."""
    x, _ = scenes.frames(N, 2)
    learner.observe(x)
    before = bits(learner, x)
    assert not learner.shift().shifted
    for method in ("auto", "coral", "prototypes", "label-shift"):
        report = learner.align(method=method)
        assert not report.applied
        assert "nothing to align" in report.reason
    assert bits(learner, x) == before
    assert [version.number for version in learner.versions()] == [0]


def test_rollback_and_another_opening(
    moved: Learner, scenes: ModuleType, bits: Bits, tiny_bundle: Path, tmp_path: Path
) -> None:
    """Rolling back gives the shipped head to the bit; another process that opens the store has the aligned one."""
    x, _ = darker(scenes, 40, 3)
    before = bits(moved, x)
    moved.align()
    after = bits(moved, x)
    assert after != before
    with Learner.open(tiny_bundle, tmp_path / "device.db", threads=1) as other:
        assert bits(other, x) == after
    assert moved.rollback() == 0
    assert bits(moved, x) == before
    assert moved.rollback(1) == 1
    assert bits(moved, x) == after


def test_forgetting_a_sample_takes_the_alignment_along(moved: Learner, scenes: ModuleType, bits: Bits) -> None:
    """An aligned head is a function of latents without labels too: forgetting one of them erases the version."""
    x, _ = darker(scenes, 40, 3)
    shipped = bits(moved, x)
    moved.align()
    gone = moved.forget([7])
    assert (gone.samples, gone.versions) == (1, 1)
    assert bits(moved, x) == shipped
    assert [version.number for version in moved.versions()] == [0]


def test_aligning_after_forgetting_is_never_having_seen(opening: Opening, scenes: ModuleType) -> None:
    """The head aligned with what is left is, to the bit, that of a learner which never saw the others."""
    x, _ = darker(scenes, N, 2)
    one, other = opening("device.db"), opening()
    one.observe(x)
    one.align()
    one.forget(list(range(1, 41)))
    other.observe(x[40:])
    assert one.align().applied
    assert other.align().applied
    probe, _ = darker(scenes, 40, 3)
    known, wanted = knowledge(one, probe), knowledge(other, probe)
    for name in ("weights", "novelty", "probabilities"):
        assert known[name] == wanted[name]


def test_samples_that_took_no_part_leave_it(moved: Learner, scenes: ModuleType) -> None:
    """Aligned with some samples, forgetting another keeps the version."""
    assert moved.align(ids=range(1, 121)).applied
    assert moved.forget([N]).versions == 0
    assert in_use(moved).version == 1


def test_labels_decide_where_they_can(moved: Learner, scenes: ModuleType) -> None:
    """Labels that speak against the aligned head refuse it, though everything without labels speaks for it."""
    x, _ = darker(scenes, N, 2)
    ids = moved._session.store.ids()
    wrong = moved.predict(x).labels
    moved.label(ids, [str(label) for label in wrong])
    report = moved.align()
    assert not report.applied
    assert report.judgement is not None
    assert report.judgement.verdict == "rejected"
    assert report.evidence is not None
    assert report.evidence.against is None
    _, y = darker(scenes, N, 2)
    moved.label(ids, list(y))
    report = moved.align()
    assert report.applied
    assert report.judgement is not None
    assert report.judgement.verdict == "accepted"


def test_adapting_later_starts_from_the_aligned_head(moved: Learner, scenes: ModuleType) -> None:
    """Labels that come later are compared with the aligned head, and aligning is refused once they were learnt."""
    moved.align()
    x, y = darker(scenes, 60, 5)
    moved.observe(x, y)
    aligned = moved.score(x, y)
    report = moved.adapt(on_insufficient="apply")
    assert report.before == pytest.approx(aligned, abs=0.02)
    if report.applied:
        with pytest.raises(InputError, match="fitted to labels"):
            moved.align()
        moved.rollback(1)
    assert moved.align().version in (1, 2, 3)


def test_classes_that_changed(moved: Learner, scenes: ModuleType) -> None:
    """Merged and removed classes stay so in the aligned head; samples of an added one take no part."""
    moved.classes.merge(["bark", "moss"], "soft")
    x, _ = scenes.frames(30, 8)
    moved.observe(255 - x, ["crack"] * 30)
    report = moved.align()
    assert report.samples == N
    assert set(report.balance) == {"soft", "brick", "gravel"}
    if report.applied:
        assert set(moved.predict(x).classes) == {"soft", "brick", "gravel"}
        moved.classes.remove("brick")
        assert set(moved.predict(x).classes) == {"soft", "gravel"}


def test_a_class_that_is_forgotten_leaves_no_name(moved: Learner) -> None:
    """Removed with its name, a class is nowhere in the report of the aligned version, which stays."""
    assert moved.align().applied
    store = moved._session.store
    assert "gravel" in store.version(1).report
    moved.classes.remove("gravel", forget=True)
    assert in_use(moved).version == 1
    assert "gravel" not in store.version(1).report


def test_export_and_update(moved: Learner, tmp_path: Path) -> None:
    """An aligned head goes out as any other."""
    moved.align()
    moved.save_update(tmp_path / "aligned.accu")
    moved.export(tmp_path / f"aligned.{'onnx' if moved.runtime.startswith('onnx') else 'tflite'}")


def test_samples_of_another_time(moved: Learner, scenes: ModuleType) -> None:
    """Against stored samples, the same place is no shift and another one is."""
    half = N // 2
    same = moved.shift(list(range(1, half + 1)), reference=list(range(half + 1, N + 1)))
    assert not same.shifted
    assert same.reference == "samples"
    moved.observe(scenes.frames(80, 9, 0.0)[0])
    assert moved.shift(reference=list(range(1, N + 1))).shifted
    with pytest.raises(InputError, match="in both"):
        moved.shift([1], reference=[1, 2])


def test_too_little_to_tell(learner: Learner, scenes: ModuleType) -> None:
    """No samples, few, and many that are nearly one: each is refused, and nothing is changed."""
    with pytest.raises(NotEnoughSamplesError, match="found 0 in 0"):
        learner.align()
    x, _ = darker(scenes, 10, 2)
    learner.observe(x)
    with pytest.raises(NotEnoughSamplesError, match="found 10 in 10"):
        learner.shift()
    still = np.repeat(x[:1], 40, axis=0)
    still[:, 0, 0, 0] = np.arange(40)
    learner.observe(still)
    with pytest.raises(NotEnoughSamplesError, match="found 40 in 1:"):
        learner.align(ids=range(11, 51))
    assert learner.versions()[-1].number == 0


def test_what_cannot_be_aligned(remake: Callable[..., Path], moved: Learner, scenes: ModuleType) -> None:
    """A bundle without head or statistics, another method, an unknown id, a level out of range."""
    x, _ = darker(scenes, 40, 2)
    for change, match in (({"source": None}, "source statistics"), ({"head": None}, "a head")):
        with Learner.open(remake(f"no-{match[-4:]}.acc", **change), threads=1) as bare:
            bare.observe(x)
            with pytest.raises(InputError, match=match):
                bare.align()
    with pytest.raises(InputError, match="expected method"):
        moved.align(method="best")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(InputError, match="10000"):
        moved.align(ids=[10_000])
    for level in (0.0, 1.0, float("nan"), True, "5"):
        with pytest.raises(InputError, match="expected a level"):
            moved.shift(level=level)  # type: ignore[arg-type]  # what is tested


def test_a_tail_in_use_is_refused(tail_learner: Learner) -> None:
    """A trained tail stays: the source's statistics say nothing of its latents."""
    tail_learner.observe(
        np.random.default_rng(0)
        .integers(0, 256, (30, *tail_learner._session.bundle.manifest.input.shape))
        .astype(np.uint8)
    )
    with pytest.raises(InputError, match="a trained tail"):
        tail_learner.align()
