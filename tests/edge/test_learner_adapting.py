"""The learner adapts: it improves where it can, keeps what it knew, and keeps what it has where it cannot tell."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.bundle import Bundle
from acclimate.edge import Learner, Report
from acclimate.edge.runtime.runtime import installed
from acclimate.latent import LatentCode
from acclimate.manifest import RUNTIMES, Runtime

Bits = Callable[[Learner, np.ndarray], bytes]
Dump = Callable[[], list[str]]
Remake = Callable[..., Path]
Frames = tuple[np.ndarray, np.ndarray]


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Return each runtime that is installed."""
    name: Runtime = request.param
    if installed(name) is None:
        pytest.skip(f"no runtime for {name} is installed")
    return name


@pytest.fixture
def here(scenes: ModuleType) -> Frames:
    """Return many frames of the other place, for scores."""
    x, y = scenes.frames(600, 99, 1.0)
    return x, y


def test_adapting_improves_on_another_place(
    tiny_bundle: Path, runtime: Runtime, scenes: ModuleType, here: Frames
) -> None:
    """In either runtime twenty frames a class lift the accuracy on frames never seen, as the report estimates."""
    with Learner.open(tiny_bundle, runtime=runtime, threads=1) as learner:
        before = learner.score(*here)
        learner.observe(*scenes.frames(80, 2, 1.0))
        report = learner.adapt()
        after = learner.score(*here)
    assert before < 0.7
    assert after > 0.88
    assert report.applied
    assert (report.version, report.samples, report.classes) == (1, 80, scenes.CLASSES)
    assert report.before == pytest.approx(before, abs=0.15)
    assert report.after == pytest.approx(after, abs=0.1)


def test_at_home_the_shipped_head_stays(learner: Learner, scenes: ModuleType, dump: Dump, bits: Bits) -> None:
    """Where the shipped head is right already, nothing is better beyond chance: it is kept, and no version made."""
    x, y = scenes.frames(40, 2)
    learner.observe(x, y)
    before, expected = dump(), bits(learner, x)
    report = learner.adapt()
    assert not report.applied
    assert report.judgement.verdict in ("insufficient", "rejected")
    assert "The head in use stays" in report.reason or "not better" in report.reason
    assert report.version == 0
    assert dump() == before
    assert bits(learner, x) == expected


def test_random_labels_do_not_displace_a_good_head(tiny_bundle: Path, scenes: ModuleType) -> None:
    """Labels that mean nothing pass for better by chance only: at 10 % each, 5 of 12 happen once in 230 runs."""
    applied = 0
    for seed in range(12):
        x, y = scenes.frames(60, seed)
        with Learner.open(tiny_bundle, threads=1) as learner:
            learner.observe(x, np.random.default_rng(seed).permutation(y))
            report = learner.adapt()
            applied += report.applied
            if not report.applied:
                assert learner.score(*scenes.frames(200, 98)) > 0.95
    assert applied <= 4


def test_too_little_evidence_is_decided_by_the_application(learner: Learner, scenes: ModuleType) -> None:
    """Where held-out samples cannot tell, "keep" keeps the head, "apply" applies the candidate."""
    learner.observe(*scenes.frames(8, 2, 0.5))
    kept = learner.adapt(on_insufficient="keep")
    assert kept.judgement.verdict == "insufficient"
    assert (kept.applied, kept.version) == (False, 0)
    assert kept.reason.endswith("The head in use stays.")
    applied = learner.adapt(on_insufficient="apply")
    assert (applied.applied, applied.version) == (True, 1)
    assert applied.reason.endswith("Applied all the same.")


def test_by_default_a_shipped_head_is_kept_and_an_adapted_one_refreshed(learner: Learner, scenes: ModuleType) -> None:
    """It takes evidence to leave the shipped head, and none to refit one's own with more samples."""
    learner.observe(*scenes.frames(8, 2, 0.5))
    assert not learner.adapt().applied
    learner.adapt(on_insufficient="apply")
    learner.observe(*scenes.frames(4, 3, 0.5))
    report = learner.adapt()
    if report.judgement.verdict == "insufficient":
        assert (report.applied, report.version) == (True, 2)
    learner.rollback(0)
    assert learner.adapt().applied == (learner.versions()[-1].number == 3)


def test_a_new_class_is_learnt_and_the_old_ones_kept(learner: Learner, scenes: ModuleType) -> None:
    """A label of no known class becomes one; after adapting it is predicted, and the shipped ones as well as before."""
    rng = np.random.default_rng(0)
    stripes = np.where(np.arange(8) % 2, 200, 60)[None, None, :, None] + rng.normal(0, 16, (60, 8, 8, 1))
    cracks = np.clip(stripes, 0, 255).astype(np.uint8)
    learner.observe(*scenes.frames(40, 2))
    learner.observe(cracks[:20], ["crack"] * 20)
    assert learner.classes == (*scenes.CLASSES, "crack")
    assert "crack" not in learner.predict(cracks).classes
    report = learner.adapt()
    assert report.applied
    assert "knows a new class" in report.reason
    assert report.classes == (*scenes.CLASSES, "crack")
    assert learner.score(cracks[20:], ["crack"] * 40) > 0.95
    assert learner.score(*scenes.frames(400, 98)) > 0.95
    learner.rollback(0)
    assert learner.predict(cracks).classes == scenes.CLASSES


@pytest.mark.parametrize("n", [40, 160])
def test_shipped_classes_without_local_samples_are_kept(learner: Learner, scenes: ModuleType, n: int) -> None:
    """After adapting to two of four classes elsewhere, the other two are recognised as they were trained."""
    x, y = scenes.frames(n, 2, 1.0)
    rows = np.isin(y, ["bark", "moss"])
    learner.observe(x[rows], y[rows])
    report = learner.adapt(on_insufficient="apply")
    assert report.applied
    assert report.classes == scenes.CLASSES
    home, home_y = scenes.frames(400, 98)
    missing = ~np.isin(home_y, ["bark", "moss"])
    assert learner.score(home[missing], home_y[missing]) > 0.95


def test_partial_fit_keeps_the_setting(learner: Learner, scenes: ModuleType) -> None:
    """A partial fit refits with the setting in use: one trial, over all samples."""
    x, y = scenes.frames(120, 2, 1.0)
    learner.observe(x[:80], y[:80])
    first = learner.adapt()
    assert learner.partial_fit(x[80:], y[80:]) is learner
    assert learner.samples == (120, 120)
    latest = learner.versions()[-1]
    assert latest.number == 2
    assert latest.current
    assert f"({first.chosen.setting.head}" in latest.summary
    assert "on 120 samples" in latest.summary


def test_partial_fit_never_forgets_a_class_by_its_setting(learner: Learner, scenes: ModuleType, here: Frames) -> None:
    """Where the setting in use would lose a shipped class whose labels were taken away, another is searched."""
    x, y = scenes.frames(160, 2, 1.0)
    ids = learner.observe(x, y)
    assert learner.adapt(max_forgetting=100).chosen.setting.source_weight == 0
    gone = np.flatnonzero(y == "moss")
    learner.label(ids[gone], [None] * len(gone))
    more, more_y = scenes.frames(40, 3, 1.0)
    rows = more_y != "moss"
    learner.partial_fit(more[rows], more_y[rows])
    assert "moss" in learner.predict(more).classes
    home, home_y = scenes.frames(200, 98)
    assert learner.score(home[home_y == "moss"], home_y[home_y == "moss"]) > 0.9


def test_progress_is_told(learner: Learner, scenes: ModuleType) -> None:
    """Observing counts frames, adapting counts steps; both end at all."""
    heard: list[tuple[int, int]] = []

    def hear(done: int, total: int) -> None:
        heard.append((done, total))

    learner.observe(*scenes.frames(21, 2, 1.0), progress=hear)
    assert [total for _, total in heard] == [21] * len(heard)
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})
    assert heard[-1] == (21, 21)
    heard.clear()
    learner.adapt(progress=hear)
    assert heard == [(i, len(heard)) for i in range(1, len(heard) + 1)]
    assert len(heard) % 5 == 0


def test_reports_are_plain_values(learner: Learner, scenes: ModuleType, remake: Remake) -> None:
    """A report becomes JSON without NaN, and one line that names verdict, head and reason."""
    learner.observe(*scenes.frames(80, 2, 1.0))
    reports: list[Report] = [learner.adapt()]
    with Learner.open(remake(head=None), threads=1) as first:
        first.observe(*scenes.frames(20, 2, 1.0))
        reports.append(first.adapt())
    for report in reports:
        plain: dict[str, Any] = report.to_dict()
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
        assert plain["chosen"]["setting"]["head"] == report.chosen.setting.head
        assert str(report).startswith("applied (")
        assert str(report).endswith(report.reason)
    assert reports[1].to_dict()["before"] is None


def test_what_leaves_the_range_of_a_byte_is_predicted_as_it_was_learnt(
    tiny_bundle: Path, remake: Remake, runtime: Runtime, scenes: ModuleType
) -> None:
    """Latents that saturate when stored are clipped alike in predict: the head sees nothing it was not fitted on."""
    with Bundle(tiny_bundle) as bundle:
        code = bundle.code(runtime)
    narrow = LatentCode(code.scale / np.float32(20), code.offset + code.scale * np.float32(100))
    path = remake(code=narrow, source=None, head=None)
    x, y = scenes.frames(80, 3, 1.0)
    with Learner.open(path, runtime=runtime, threads=1) as learner:
        learner.fit(x, y)
        stored, state = learner._session.store.labelled().codes, learner._session.in_use()
        assert state is not None
        learnt = state.head.probabilities(narrow.decode(stored))
        raw = learner._session.embedder.embed(x)
        assert narrow.saturation(raw) > 0.5
        assert np.abs(state.head.probabilities(raw) - learnt).max() > 0.2
        assert np.abs(learner.predict(x).probabilities - learnt).max() < 0.05
