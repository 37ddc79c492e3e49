"""The device API for regression, end to end on the tiny bundle with targets instead of classes."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.bundle import Bundle
from acclimate.edge import Learner, Regressor
from acclimate.edge.adaptation import attempt
from acclimate.edge.regression import run
from acclimate.edge.regression.task import RegressionInUse, RegressionSession
from acclimate.edge.runtime.runtime import load_backbone
from acclimate.errors import InputError, LabelError, NotEnoughSamplesError, StoreCorruptError, UpdateReplayError

from .regression_world import TARGETS, regression_bundle, truth
from .stores import traces

Frames = np.ndarray


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, scenes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a regression bundle."""
    x = scenes.frames(150, 1)[0]
    return regression_bundle(tiny_bundle, tmp_path_factory.mktemp("bundle") / "depth.acc", x, truth(tiny_bundle, x))


@pytest.fixture
def place(tiny_bundle: Path, scenes: ModuleType) -> tuple[Frames, np.ndarray]:
    """Return frames of a place where one target has another zero."""
    x = scenes.frames(90, 2)[0]
    return x, truth(tiny_bundle, x, 2) + np.array([0.0, 5.0])


@pytest.fixture
def regressor(bundle: Path, tmp_path: Path) -> Iterator[Regressor]:
    """Open the bundle with a new store."""
    with Regressor.open(bundle, tmp_path / "device.db", threads=1, timeout=0.2) as opened:
        yield opened


def test_it_adapts_to_a_place(regressor: Regressor, place: tuple[Frames, np.ndarray]) -> None:
    """Values by target before; after adapting, a better score on frames not seen, an interval, a report in figures."""
    x, y = place
    before = regressor.predict(x[60:])
    assert (before.targets, before.values.shape, before.interval) == (TARGETS, (30, 2), None)
    score = regressor.score(x[60:], y[60:])
    regressor.observe(x[:60], y[:60])
    assert regressor.samples == (60, 60)
    report = regressor.adapt()
    assert report.applied
    assert report.version == 1
    assert [change.name for change in report.targets] == list(TARGETS)
    assert report.targets[1].rmse_after < 0.5 * report.targets[1].rmse_before
    assert "applied (ridge" in str(report)
    assert report.to_dict()["targets"][1]["rmse_after"] == report.targets[1].rmse_after
    assert regressor.score(x[60:], y[60:]) > max(score, 0.8)
    after = regressor.predict(x[60:])
    assert after.interval is not None
    assert after.interval.shape == (30, 2)
    regressor.rollback()
    np.testing.assert_array_equal(regressor.predict(x[60:]).values, before.values)


def test_an_adaptation_starts_from_one_state(
    regressor: Regressor,
    bundle: Path,
    place: tuple[Frames, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Samples that another process adds after the head in use was read are not in what it is compared on."""
    x, y = place
    regressor.fit(x[:60], y[:60])
    with Regressor.open(bundle, tmp_path / "device.db", threads=1, timeout=0.2) as other:

        def meddled(session: RegressionSession, version: int) -> RegressionInUse | None:
            found = attempt.served(session, version)
            other.observe(x[60:], y[60:])
            return found

        with monkeypatch.context() as patch:
            patch.setattr(run, "served", meddled)
            now = run.situation(regressor._session, 1)
    assert (now.version, len(now.samples.ids), len(now.y)) == (1, 60, 60)
    assert run.situation(regressor._session, 1).y.shape == (90, 2)


def test_the_score_is_that_of_scikit_learn(
    regressor: Regressor, place: tuple[Frames, np.ndarray], sklearn: ModuleType
) -> None:
    """R^2, the mean over the targets; a target that never changes counts 0 or 1, as there."""
    from sklearn.metrics import r2_score

    x, y = place
    found = regressor.predict(x).values
    assert regressor.score(x, y) == pytest.approx(r2_score(y, found))
    y[:, 0] = 3
    assert regressor.score(x, y) == pytest.approx(r2_score(y, found))


def test_labels_that_mean_nothing_are_refused(regressor: Regressor, place: tuple[Frames, np.ndarray]) -> None:
    """Not even `apply` puts them to use; the reason says what is wrong."""
    x, y = place
    regressor.observe(x, np.random.default_rng(0).permutation(y))
    report = regressor.adapt(on_insufficient="apply")
    assert not report.applied
    assert report.version == 0
    assert "do not follow from the samples" in report.reason


def test_labels_may_come_later(regressor: Regressor, bundle: Path, place: tuple[Frames, np.ndarray]) -> None:
    """None, or a row of NaN, is a sample without; labelling afterwards gives the head that labels at once give."""
    x, y = place
    ids = regressor.observe(x[:40], [None] * 20 + [list(row) for row in y[20:40]])
    assert regressor.samples == (40, 20)
    regressor.label(ids[:20], y[:20])
    regressor.label(ids[:2], [None, [np.nan] * 2])
    assert regressor.samples == (40, 38)
    regressor.label(ids[:2], y[:2])
    regressor.adapt(on_insufficient="apply")
    with Regressor.open(bundle, threads=1) as other:
        other.observe(x[:40], y[:40])
        other.adapt(on_insufficient="apply")
        assert other.predict(x).values.tobytes() == regressor.predict(x).values.tobytes()


def test_forgetting_leaves_what_never_saw_the_samples(
    regressor: Regressor, bundle: Path, place: tuple[Frames, np.ndarray], tmp_path: Path
) -> None:
    """The head is that of a fresh regressor on the rest, bit for bit, and no byte of latent or target is left."""
    x, y = place
    ids = regressor.observe(x, y, tags=["kept"] * 60 + ["gone"] * 30)
    regressor.adapt()
    codes = regressor._session.store.samples(ids[60:]).codes
    texts = [row.astype("<f8").tobytes() for row in y[60:]]
    assert traces(tmp_path, codes, *texts), "the search finds what is there"
    done = regressor.forget(tag="gone")
    assert (done.samples, done.versions, done.erased) == (30, 1, True)
    with Regressor.open(bundle, threads=1) as other:
        other.observe(x[:60], y[:60], tags=["kept"] * 60)
        other.adapt(on_insufficient="apply")
        assert other.predict(x).values.tobytes() == regressor.predict(x).values.tobytes()
    assert traces(tmp_path, codes, *texts) == []


def test_relabelling_leaves_no_trace_of_the_old_label(
    regressor: Regressor, place: tuple[Frames, np.ndarray], tmp_path: Path
) -> None:
    """A label that was corrected or taken away, and then the sample forgotten: its first value is nowhere."""
    x, y = place
    ids = regressor.observe(x[:4], y[:4])
    old = [row.astype("<f8").tobytes() for row in y[:4]]
    regressor.label(ids[:2], [None, y[5]])
    regressor.forget(ids[:2])
    assert traces(tmp_path, np.zeros((0, 52), np.uint8), *old[:2]) == []
    assert len(traces(tmp_path, np.zeros((0, 52), np.uint8), *old[2:])) >= 2


def test_it_resumes_and_spells_as_scikit_learn_does(
    bundle: Path, place: tuple[Frames, np.ndarray], tmp_path: Path
) -> None:
    """`fit`, then another process's `partial_fit` with the setting that was found; frames are stored once."""
    x, y = place
    with Regressor.open(bundle, tmp_path / "a.db", threads=1) as first:
        assert first.fit(x[:50], y[:50]) is first
        values = first.predict(x).values
    with Regressor.open(bundle, tmp_path / "a.db", threads=1) as second:
        np.testing.assert_array_equal(second.predict(x).values, values)
        second.partial_fit(x[:70], y[:70])
        assert second.samples == (70, 70)
        first_setting, second_setting = (
            second._session.kept(second._session.store.version(number))["setting"] for number in (1, 2)
        )
        assert first_setting == second_setting
        assert [version.number for version in second.versions()] == [0, 1, 2]


@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_the_export_gives_the_live_values(
    bundle: Path, place: tuple[Frames, np.ndarray], tmp_path: Path, runtime: str
) -> None:
    """The complete model in one file, loaded as any other, gives what the regressor gives, and names its output."""
    pytest.importorskip({"onnx": "onnxruntime", "tflite": "ai_edge_litert"}[runtime])
    x, y = place
    with Regressor.open(bundle, threads=1, runtime=runtime) as live:  # type: ignore[arg-type]  # both are runtimes
        live.fit(x[:60], y[:60])
        live.export(tmp_path / f"m.{runtime}")
        with pytest.raises(InputError, match="file name ending"):
            live.export(tmp_path / "m.bin")
        values = live.predict(x).values
    with Bundle(bundle) as opened:
        spec = opened.manifest.input
    content = (tmp_path / f"m.{runtime}").read_bytes()
    assert b"values" in content
    assert b"probabilities" not in content
    if runtime == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(content)
        assert [output.name for output in session.get_outputs()] == ["values"]
        assert session.get_modelmeta().custom_metadata_map["acclimate.targets"] == '["angle", "depth"]'
        (found,) = session.run(None, {session.get_inputs()[0].name: x})
    else:
        found = load_backbone(content, "tflite", spec, 2, 1).embed(x)
    np.testing.assert_allclose(found, values, atol=1e-3 * np.abs(values).max())


def test_an_update_carries_the_head(
    regressor: Regressor, bundle: Path, place: tuple[Frames, np.ndarray], tmp_path: Path
) -> None:
    """Another device predicts as this one, to the rounding of float16; an older update is refused."""
    x, y = place
    regressor.fit(x[:60], y[:60])
    regressor.save_update(tmp_path / "new.accu", number=5)
    regressor.save_update(tmp_path / "old.accu", number=4)
    with Regressor.open(bundle, threads=1) as other:
        other.apply_update(tmp_path / "new.accu")
        spread = regressor.predict(x).values.std(axis=0)
        assert (np.abs(other.predict(x).values - regressor.predict(x).values) < 0.01 * spread).all()
        with pytest.raises(UpdateReplayError):
            other.apply_update(tmp_path / "old.accu")
        assert other.rollback() == 0


def test_forgetting_takes_an_update_of_ones_own(
    regressor: Regressor, place: tuple[Frames, np.ndarray], tmp_path: Path
) -> None:
    """A head that was saved here and applied again goes with the samples that it was trained on."""
    x, y = place
    ids = regressor.observe(x[:60], y[:60])
    assert regressor.adapt(on_insufficient="apply").applied
    regressor.save_update(tmp_path / "own.accu")
    assert regressor.apply_update(tmp_path / "own.accu") == 2
    assert regressor.forget(ids[:1]).versions == 2


def test_a_bundle_is_opened_by_the_class_of_its_task(bundle: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """The message names the other one, and no store is made."""
    with pytest.raises(InputError, match=r"expected a bundle for classification.*Regressor\.open"):
        Learner.open(bundle, tmp_path / "a.db", threads=1)
    with pytest.raises(InputError, match=r"expected a bundle for regression.*Learner\.open"):
        Regressor.open(tiny_bundle, tmp_path / "a.db", threads=1)
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([[1.0, 2.0]] * 3, "found"),
        ([1.0] * 4, "found"),
        ([["a", "b"]] * 4, "no number"),
        ([[1.0, np.nan]] * 4, "some of them"),
        ([[1.0, np.inf]] * 4, "beyond"),
        ([[True, False]] * 4, "no number"),
        ([[1, 2, 3]] * 4, "found"),
        (5, "iterable"),
    ],
)
def test_labels_that_are_no_numbers_are_refused(
    regressor: Regressor, place: tuple[Frames, np.ndarray], values: object, found: str
) -> None:
    """Too few, too many, texts, halves of rows, infinity: the message says what is wanted, and nothing is stored."""
    with pytest.raises(LabelError, match=found):
        regressor.observe(place[0][:4], values)  # type: ignore[arg-type]
    assert regressor.samples == (0, 0)


@pytest.mark.parametrize(
    ("options", "found"),
    [({"timeout": float("nan")}, "timeout in seconds .*, found nan"), ({"threads": 2.5}, "threads .*, found 2.5")],
)
def test_options_that_are_none(bundle: Path, tmp_path: Path, options: dict[str, Any], found: str) -> None:
    """Threads and seconds that are no such numbers are refused before a store is made."""
    with pytest.raises(InputError, match=found):
        Regressor.open(bundle, tmp_path / "new.db", **options)
    assert not (tmp_path / "new.db").exists()


def test_what_is_missing_is_said(regressor: Regressor, place: tuple[Frames, np.ndarray]) -> None:
    """Too few samples, unknown ids, a score without labels."""
    x, y = place
    ids = regressor.observe(x[:2], y[:2])
    with pytest.raises(NotEnoughSamplesError):
        regressor.adapt()
    with pytest.raises(InputError, match="found 99"):
        regressor.label([99], y[:1])
    with pytest.raises(LabelError, match=f"one label for each sample, found .* for id {ids[0]}"):
        regressor.label([ids[0], ids[1], ids[0]], [y[0], y[1], y[1]])
    with pytest.raises(LabelError, match=r"and None for id"):
        regressor.label([ids[0], ids[0]], [y[0], None])
    regressor.label([ids[0], ids[0]], [y[0], y[0]])
    with pytest.raises(InputError, match="for ids of labelled samples"):
        regressor.adapt(sample_weight={99: 2.0})
    with pytest.raises(InputError, match="all with values"):
        regressor.score(x[:2], [None, y[1]])
    assert regressor.keys(ids) == [None, None]


def test_what_to_label_next_is_far_from_what_is_labelled(
    regressor: Regressor, place: tuple[Frames, np.ndarray]
) -> None:
    """k-centre on the unlabelled samples; never one that has a label."""
    x, y = place
    ids = regressor.observe(x[:30], [*y[:10], *[None] * 20])
    chosen = regressor.suggest(5)
    assert len(set(chosen.tolist()) & set(ids[10:].tolist())) == 5


def test_a_store_is_bounded(bundle: Path, place: tuple[Frames, np.ndarray], tmp_path: Path) -> None:
    """Labels stay with the samples that stay."""
    x, y = place
    with Regressor.open(bundle, tmp_path / "a.db", threads=1, max_bytes=2**20) as small:
        small.observe(x, y)
        assert small.samples == (90, 90)
        _, kept = small._session.store.measured(2)
        np.testing.assert_array_equal(kept, y)


def test_a_damaged_label_is_told(regressor: Regressor, place: tuple[Frames, np.ndarray]) -> None:
    """A row with other bytes than numbers of the targets is not trained on."""
    x, y = place
    regressor.observe(x[:5], y[:5])
    store = regressor._session.store
    with store.transaction():
        store._db.run("UPDATE samples SET target = x'00' WHERE id = 3")
    with pytest.raises(StoreCorruptError, match="sample 3 is damaged: the CRC-32 of its row"):
        regressor.adapt()


def test_without_a_shipped_head_the_device_learns_its_own(
    tiny_bundle: Path, scenes: ModuleType, place: tuple[Frames, np.ndarray], tmp_path: Path
) -> None:
    """No head, no statistics: predicting says so, and sixty samples make one."""
    x, y = place
    bare = regression_bundle(tiny_bundle, tmp_path / "bare.acc", x[:5], y[:5], head=None, source=None)
    with Regressor.open(bare, threads=1) as device:
        with pytest.raises(InputError, match="found none"):
            device.predict(x)
        device.observe(x[:60], y[:60])
        assert device.adapt().applied
        assert device.score(x[60:], y[60:]) > 0.5
