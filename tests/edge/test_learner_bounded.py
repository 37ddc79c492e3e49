"""A store of bounded size: classes stay balanced, evicted samples are gone, and long observations are resumed."""

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner, embedding
from acclimate.errors import InputError

from .learners import Opening, fresh, in_use

MEGABYTE = 2**20
# More frames than a megabyte has room for.
MANY = 7_000
Dump = Callable[[], list[str]]


def noise(n: int, seed: int = 0) -> np.ndarray:
    """Return frames that are all different."""
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)


def counts(learner: Learner) -> dict[str, int]:
    """Return the number of labelled samples of each class."""
    names, samples = learner._session.store.classes(), learner._session.store.labelled()
    return {names[int(c)]: int(n) for c, n in zip(*np.unique(samples.classes, return_counts=True), strict=True)}


@pytest.fixture
def full(opening: Opening, scenes: ModuleType) -> Learner:
    """Return a learner whose store is full: 2,000 samples of each of two classes, and then more of one of them."""
    learner = opening("device.db", max_bytes=MEGABYTE)
    learner.observe(noise(MANY), ["moss"] * 3_000 + ["bark"] * (MANY - 3_000))
    return learner


def test_the_file_stays_within_its_bound(full: Learner, scenes: ModuleType, tmp_path: Path) -> None:
    """However much is observed and adapted the file stays below the bound, and what is given way is balanced."""
    first = full.samples[0]
    assert 2_000 < first < MANY
    sizes = []
    for seed in range(3):
        ids = full.observe(noise(1_500, seed + 1), ["bark"] * 1_500)
        assert (ids == -1).any()
        assert len(ids) == 1_500
        sizes.append((tmp_path / "device.db").stat().st_size)
    full.observe(*scenes.frames(200, 2, 1.0))
    full.adapt(on_insufficient="apply", max_forgetting=100)
    sizes.append((tmp_path / "device.db").stat().st_size)
    assert max(sizes) <= MEGABYTE
    number = counts(full)
    assert abs(number["moss"] - number["bark"]) <= 0.02 * full.samples[0] + 200
    assert number["brick"] == number["gravel"] == 50


def test_what_gave_way_has_no_id(full: Learner, dump: Dump) -> None:
    """-1 stands for a sample that is not kept, the other ids are stored, and no call takes -1 for a sample."""
    kept = full._session.store.ids()
    ids = full.observe(noise(300, 9), ["bark"] * 300, keys=[f"k{i}" for i in range(300)])
    stored = set(full._session.store.ids().tolist())
    assert set(ids.tolist()) - {-1} <= stored
    assert len(stored) == len(kept)
    place = int(np.flatnonzero(ids > 0)[0])
    assert full.keys([ids[place]]) == [f"k{place}"]
    before = dump()
    for call in (
        lambda: full.forget([-1]),
        lambda: full.label([-1], ["moss"]),
        lambda: full.keys([-1]),
        lambda: full.forget([min(set(kept.tolist()) - stored)]),
    ):
        with pytest.raises(
            InputError, match=r"expected (a list of )?ids that (observe\(\) returned|are stored), found"
        ):
            call()
    assert dump() == before


def test_adapting_goes_on_after_eviction(opening: Opening, scenes: ModuleType) -> None:
    """The rare class keeps its samples while another one overflows: the learner still learns both."""
    learner = opening("device.db", max_bytes=MEGABYTE)
    x, y = scenes.frames(120, 2, 1.0)
    rare = y == "moss"
    learner.observe(x[rare], y[rare])
    learner.observe(noise(MANY), ["noise"] * MANY)
    learner.observe(x[~rare], y[~rare])
    assert counts(learner)["moss"] == rare.sum()
    learner._session.store.erase(learner._session.store.find(label_id=learner.classes.ids["noise"])[400:])
    report = learner.adapt(on_insufficient="apply")
    assert report.applied
    assert learner.score(*scenes.frames(400, 99, 1.0)) > 0.85
    assert learner.score(noise(200, 5), ["noise"] * 200) > 0.8


def test_an_older_version_outlasts_eviction_and_not_forgetting(full: Learner, scenes: ModuleType) -> None:
    """A version stays when its samples give way, and goes when any are forgotten: whose they were is not known."""
    full._session.store.erase(full._session.store.ids()[600:])
    fresh(full, *scenes.frames(40, 2, 1.0))
    trained = in_use(full).head.judged
    full.observe(noise(MANY, 3), ["moss"] * MANY)
    full.observe(noise(MANY, 4), ["bark"] * MANY)
    assert not set(trained.tolist()) <= set(full._session.store.ids().tolist())
    assert full.versions()[-1].current
    last = full.observe(noise(1, 8), ["brick"])
    assert full.forget(last).versions == 1


def test_the_bound_outlasts_reopening_and_can_change(full: Learner, opening: Opening, tmp_path: Path) -> None:
    """Opened without a bound, the store keeps the one that it has; a larger one makes room, and infinity lifts it."""
    first = full.samples[0]
    full.close()
    again = opening("device.db")
    again.observe(noise(2_000, 20), ["bark"] * 2_000)
    assert again.samples[0] <= first
    again.close()
    larger = opening("device.db", max_bytes=2 * MEGABYTE)
    assert (larger.observe(noise(1_000, 21), ["bark"] * 1_000) > 0).any()
    assert larger.samples[0] > first
    larger.close()
    opening("device.db", max_bytes=MEGABYTE).close()
    assert (tmp_path / "device.db").stat().st_size <= MEGABYTE
    opening("device.db", max_bytes=math.inf).close()
    free = opening("device.db")
    assert (free.observe(noise(4_000, 22), ["bark"] * 4_000) > 0).all()


@pytest.mark.parametrize("bound", [0, -5, 1, True, 1000.5, "1 MB", float("nan"), -math.inf, 2**63])
def test_bounds_that_are_none(opening: Opening, tmp_path: Path, bound: object) -> None:
    """A bound that leaves no room, or is no whole number of bytes, is refused, and leaves no store behind."""
    with pytest.raises(InputError, match=rf"a whole number from {MEGABYTE} to below .* for a store, .* found"):
        opening("device.db", max_bytes=bound)
    assert not list(tmp_path.iterdir())


def test_relabelled_samples_may_give_way(full: Learner) -> None:
    """Fitting frames of which some are stored and must give way for the new ones works, and says which are gone."""
    stored = set(full._session.store.ids().tolist())
    x = np.concatenate([noise(MANY)[:3_000], noise(2_000, 30)])
    ids = full.observe(x, ["moss"] * 5_000, on_duplicate="relabel")
    left = set(full._session.store.ids().tolist())
    assert stored - left
    assert set(ids.tolist()) - {-1} <= left


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return where the number of frames of each batch that is embedded is written; every batch is staged."""
    found: list[int] = []
    monkeypatch.setattr(embedding, "STAGE_SECONDS", -1.0)
    return found


def counted(learner: Learner, found: list[int], monkeypatch: pytest.MonkeyPatch) -> Learner:
    """Count what a learner embeds."""
    real = learner._session.codes

    def codes(frames: np.ndarray) -> Any:
        found.append(len(frames))
        return real(frames)

    monkeypatch.setattr(learner._session, "codes", codes)
    return learner


class _StopError(Exception):
    pass


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("bound", [None, MEGABYTE])
def test_nothing_is_embedded_twice(
    opening: Opening,
    scenes: ModuleType,
    embedded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    bound: int | None,
    reopened: bool,
) -> None:
    """An observation that was cut off twice goes on where it was, and stores what one in a single go stores."""
    x, y = scenes.frames(200, 2, 1.0)
    learner = counted(opening("device.db", max_bytes=bound), embedded, monkeypatch)

    def until(stop: int) -> Callable[[int, int], None]:
        def progress(done: int, total: int) -> None:
            assert total == 200
            if done >= stop:
                raise _StopError

        return progress

    for stop in (60, 130):
        with pytest.raises(_StopError):
            learner.observe(x, y, progress=until(stop))
        assert learner.samples == (0, 0)
        if reopened:
            learner.close()
            learner = counted(opening("device.db"), embedded, monkeypatch)
    told: list[int] = []
    ids = learner.observe(x, y, progress=lambda done, total: told.append(done))
    assert sum(embedded) == 200
    assert told[-1] == 200
    assert told[0] > 130
    assert ids.tolist() == list(range(1, 201))
    other = opening()
    other.observe(x, y)
    mine, theirs = learner._session.store.labelled(), other._session.store.labelled()
    assert mine.codes.tobytes() == theirs.codes.tobytes()
    assert mine.classes.tolist() == theirs.classes.tolist()
    assert not learner._session.store.staging


def test_resuming_with_other_frames(
    opening: Opening, scenes: ModuleType, embedded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other labels, order and company of the frames are no hindrance: codes belong to frames."""
    x, y = scenes.frames(120, 2, 1.0)
    learner = counted(opening("device.db"), embedded, monkeypatch)

    def stop(done: int, total: int) -> None:
        if done >= 64:
            raise _StopError

    with pytest.raises(_StopError):
        learner.observe(x, y, progress=stop)
    done = sum(embedded)
    order = np.random.default_rng(0).permutation(120)
    learner.observe(np.concatenate([noise(10), x[order]]), [None] * 130)
    assert 64 <= done < 120
    assert sum(embedded) == 130
    assert learner.samples == (130, 0)
    stored = learner._session.store.unlabelled().codes[10:]
    other = opening()
    other.observe(x[order])
    assert stored.tobytes() == other._session.store.unlabelled().codes.tobytes()
