"""The commands for the life of samples, classes and heads, as a user types them."""

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate import Bundle
from acclimate.edge import Learner

from .conftest import Acclimate

pytest.importorskip("onnxruntime", reason="the commands need a runtime")
# Ids from here on have no label.
UNLABELLED = 61
Labels = NDArray[np.str_]


@pytest.fixture(scope="module")
def made(tiny_bundle: Path, scenes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny bundle and a store that has adapted to another place: 60 labelled samples, 8 without."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copy(tiny_bundle, folder / "tiny.acc")
    frames, labels = scenes.frames(68, 1, 1.0)
    tags = ["porch" if i < 6 else f"room-{i % 7}" for i in range(60)]
    with Learner.open(folder / "tiny.acc", folder / "tiny.db", runtime="onnx", threads=1) as learner:
        learner.observe(frames[:60], labels[:60], tags=tags, keys=[f"photo-{i + 1}" for i in range(60)])
        learner.observe(frames[60:], keys=[f"photo-{i}" for i in range(UNLABELLED, 69)])
        assert learner.adapt().applied
    return folder


@pytest.fixture
def labels(scenes: ModuleType) -> Labels:
    """The labels of the samples 1 to 60."""
    found: Labels = scenes.frames(68, 1, 1.0)[1][:60]
    return found


@pytest.fixture
def stored(made: Path, tmp_path: Path) -> Path:
    """A copy of it in the folder where commands run."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def acclimate(here: Acclimate) -> Acclimate:
    """Run the command in this process, which saves a second each; `test_device.py` starts real ones."""
    return here


def open_stored(folder: Path) -> Learner:
    """Open the copy, to see what a command has done."""
    return Learner.open(folder / "tiny.acc", folder / "tiny.db", threads=1)


def test_suggest_and_label(acclimate: Acclimate, stored: Path) -> None:
    """What is suggested has no label, is told with its key, and is not suggested again once it has one."""
    found = acclimate("suggest", "tiny.acc", "-n", "3", "--strategy", "k-centre", "--json").json()
    assert len(found) == 3
    assert all(row["id"] >= UNLABELLED and row["key"] == f"photo-{row['id']}" for row in found)
    first, second = found[0]["id"], found[1]["id"]
    assert acclimate("label", "tiny.acc", "moss", first, first).output == "labelled 1 sample moss\n"
    labelled = acclimate("label", "tiny.acc", "fern", second, "--json").json()
    assert labelled == {"ids": [second], "label": "fern", "new_classes": ["fern"]}
    rows = acclimate("suggest", "tiny.acc", "-n", "20").output.splitlines()
    left = {int(row.split("\t")[0]): row.split("\t")[1] for row in rows}
    assert left == {i: f"photo-{i}" for i in range(UNLABELLED, 69) if i not in (first, second)}


def test_suspects(acclimate: Acclimate, stored: Path, labels: Labels) -> None:
    """A sample that is labelled wrong on purpose is the surest suspect, with the class that it is."""
    was, sample = str(labels[3]), 4
    with open_stored(stored) as learner:
        learner.label([sample], ["gravel" if was != "gravel" else "moss"])
    found = acclimate("suspects", "tiny.acc", "--json").json()
    assert (found[0]["id"], found[0]["key"], found[0]["suggested"]) == (sample, f"photo-{sample}", was)
    assert 0.5 < found[0]["confidence"] <= 1
    said = acclimate("suspects", "tiny.acc").output.splitlines()
    assert said[0].split() == ["id", "key", "label", "looks", "like", "confidence"]
    assert said[1].split()[:2] == [str(sample), f"photo-{sample}"]


def test_forget(acclimate: Acclimate, stored: Path) -> None:
    """By id, tag and class: told how many and which versions went; then what is left is fitted, and is in use."""
    assert acclimate("forget", "tiny.acc", "67", "68").output == "forgot 2 samples and 0 versions trained on them\n"
    gone = acclimate("forget", "tiny.acc", "--tag", "porch", "--json").json()
    assert gone == {"samples": 6, "versions": 1, "erased": True}
    assert b"porch" not in (stored / "tiny.db").read_bytes()
    again = acclimate("forget", "tiny.acc", "--tag", "porch")
    assert (again.code, again.output) == (1, "")
    assert "expected a tag that stored samples have, found none with 'porch'" in again.errors
    assert acclimate("forget", "tiny.acc", "--label", "moss").output.startswith("forgot 1")
    with open_stored(stored) as learner:
        assert len(learner._session.store.find(label_id=3)) == 0
        assert learner.versions()[-1].current
        assert learner.versions()[-1].number > 1


def test_forget_says_that_a_reader_is_in_the_way(acclimate: Acclimate, stored: Path) -> None:
    """While another program reads the store, erasing is pending, and the next command finishes it."""
    reader = sqlite3.connect(stored / "tiny.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM samples").fetchone()
    said = acclimate("forget", "tiny.acc", "1")
    reader.close()
    assert said.code == 0
    assert "another process still reads the store" in said.output
    acclimate("classes", "list", "tiny.acc")
    with open_stored(stored) as learner:
        assert not learner._session.store.erase_pending


def test_estimate(acclimate: Acclimate, stored: Path) -> None:
    """Seconds, memory and disk, for what is stored or for a number of samples, which costs more."""
    stored_now = acclimate("estimate", "tiny.acc", "--json").json()
    assert stored_now["samples"] == 60
    many = acclimate("estimate", "tiny.acc", "--samples", "50000", "--json").json()
    assert all(many[name] > stored_now[name] > 0 for name in ("samples", "memory", "disk"))
    assert acclimate("estimate", "tiny.acc").output.startswith("60 labelled samples: adapting takes about ")


def test_export(acclimate: Acclimate, stored: Path, scenes: ModuleType) -> None:
    """The file gives the learner's probabilities; without a store it is the shipped head's, in either format."""
    onnxruntime = pytest.importorskip("onnxruntime")
    frames = scenes.frames(20, 3, 1.0)[0]
    found = acclimate("export", "tiny.acc", "--out", "adapted.onnx", "--json").json()
    assert found == {"file": "adapted.onnx", "bytes": (stored / "adapted.onnx").stat().st_size, "version": 1}
    with open_stored(stored) as learner:
        expected = learner.predict(frames).probabilities
    (probabilities,) = onnxruntime.InferenceSession(stored / "adapted.onnx").run(["probabilities"], {"input": frames})
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)
    (stored / "tiny.db").unlink()
    assert acclimate("export", "tiny.acc", "--out", "shipped.onnx").output.startswith("wrote shipped.onnx: version 0, ")
    (shipped,) = onnxruntime.InferenceSession(stored / "shipped.onnx").run(["probabilities"], {"input": frames})
    assert np.abs(shipped - probabilities).max() > 0.1
    assert not (stored / "tiny.db").exists()


def test_classes(acclimate: Acclimate, stored: Path, labels: Labels) -> None:
    """Added, renamed, merged, split, frozen and removed: names follow, ids stay, samples move."""
    listed = acclimate("classes", "list", "tiny.acc", "--json").json()
    assert listed == [{"id": i, "name": name} for i, name in enumerate(("bark", "brick", "gravel", "moss"))]
    assert acclimate("classes", "add", "tiny.acc", "[red]").output == "classes: bark, brick, gravel, moss, [red]\n"
    renamed = acclimate("classes", "rename", "tiny.acc", "[red]", "rust", "--json").json()
    assert renamed == {"classes": ["bark", "brick", "gravel", "moss", "rust"]}
    merged = acclimate("classes", "merge", "tiny.acc", "bark", "moss", "--into", "plant")
    assert merged.output == "classes: plant, brick, gravel, rust\n"
    plants = [i for i, label in enumerate(labels, 1) if label in ("bark", "moss")]
    with open_stored(stored) as learner:
        assert learner._session.store.find(label_id=0).tolist() == plants
    split = acclimate("classes", "split", "tiny.acc", "plant", *plants[:4], "--into", "fern")
    assert split.output == "classes: plant, brick, gravel, rust, fern\n"
    assert acclimate("classes", "freeze", "tiny.acc", "brick").output == "brick stays as it was shipped\n"
    with open_stored(stored) as learner:
        assert learner._session.store.frozen_classes() == {1}
    thawed = acclimate("classes", "freeze", "tiny.acc", "brick", "--thaw", "--json").json()
    assert thawed == {"class": "brick", "frozen": False}
    with open_stored(stored) as learner:
        assert not learner._session.store.frozen_classes()
    removed = acclimate("classes", "remove", "tiny.acc", "fern", "--forget")
    assert removed.output == "classes: plant, brick, gravel, rust; forgot 4 samples\n"
    assert "4\trust\n" in acclimate("classes", "list", "tiny.acc").output


def test_an_update_goes_to_another_device(acclimate: Acclimate, stored: Path, scenes: ModuleType) -> None:
    """Signed on one device, applied on another that trusts the key and has no store yet; an older one is refused."""
    pytest.importorskip("cryptography", reason="signing needs the extra 'sign'")
    from acclimate.key_files import write_keys
    from acclimate.keys import PrivateKey
    from acclimate.signing import sign_bundle

    key = PrivateKey.generate()
    write_keys(stored / "fleet.pem", key, None)
    sign_bundle(stored / "tiny.acc", key, stored / "signed.acc")
    source, there = ("--store", "tiny.db"), ("--store", "there.db", "--trust", "fleet.pem.pub")
    saved = acclimate("update", "save", "signed.acc", "-o", "a.accu", "--key", "fleet.pem", *source, "--json").json()
    assert saved["bytes"] == (stored / "a.accu").stat().st_size
    assert saved["signed"] is True
    said = acclimate("update", "save", "signed.acc", "-o", "b.accu", *source)
    assert said.output.endswith("not signed\n")
    refused = acclimate("update", "apply", "signed.acc", "b.accu", *there)
    assert (refused.code, refused.output) == (1, "")
    assert acclimate("update", "apply", "signed.acc", "a.accu", *there).output == "version 1 is in use\n"
    assert (
        "expected an update with a number above" in acclimate("update", "apply", "signed.acc", "a.accu", *there).errors
    )
    untrusted = acclimate("predict", "tiny.acc", "frames.npy", "--trust", "fleet.pem.pub")
    assert "tiny.acc: expected a signature by a trusted key" in untrusted.errors
    frames, here = scenes.frames(40, 3, 1.0)[0], stored / "there.db"
    with open_stored(stored) as one, Learner.open(stored / "tiny.acc", here, threads=1) as other:
        assert (one.predict(frames).labels == other.predict(frames).labels).mean() > 0.95


def test_predict_marks_unknown_frames(acclimate: Acclimate, stored: Path, scenes: ModuleType) -> None:
    """Frames that look like no class are marked, in text and JSON alike, and counted."""
    stripes = np.tile(np.array([0, 255], np.uint8), (6, 8, 4))[..., None]
    np.save(stored / "mixed.npy", np.concatenate([scenes.frames(20, 3, 1.0)[0], stripes]))
    found = acclimate("predict", "tiny.acc", "mixed.npy", "--json").json()["predictions"]
    unknown = [row["unknown"] for row in found]
    assert all(unknown[20:])
    assert sum(unknown[:20]) < 10
    said = acclimate("predict", "tiny.acc", "mixed.npy").output.splitlines()
    assert [row.endswith("\tunknown") for row in said[:26]] == unknown
    assert said[26] == f"{sum(unknown)} of 26 frames unlike every class"


def test_adapt_tells_classes_and_probe(
    acclimate: Acclimate, tiny_bundle: Path, tmp_path: Path, scenes: ModuleType
) -> None:
    """For people the report has the classes that change and what is lost of the source; a strict bound is kept."""
    x, y = scenes.frames(118, 1, 1.0)
    np.savez(tmp_path / "local.npz", x=x, y=y)
    acclimate("observe", tiny_bundle, "local.npz", "--store", "a.db")
    said = acclimate("adapt", tiny_bundle, "--store", "a.db")
    assert said.code == 0
    report = acclimate("adapt", tiny_bundle, "--store", "a.db", "--json").json()
    assert report["probe"]["after"] < report["probe"]["before"]
    figures = f"{report['probe']['before']:.1%} before, {report['probe']['after']:.1%} after"
    assert f"on the probe of the source: {figures}" in said.output
    moss = next(line.split() for line in said.output.splitlines() if line.split()[0] == "moss")
    assert int(moss[1]) == (y == "moss").sum()
    assert float(moss[3].rstrip("%")) > float(moss[2].rstrip("%")) + 50
    strict = acclimate("adapt", tiny_bundle, "--store", "a.db", "--max-forgetting", "0", "--json").json()
    assert strict["probe"]["after"] >= strict["probe"]["before"]
    assert strict["chosen"] != report["chosen"]


@pytest.mark.parametrize(
    ("changing", "told"),
    [(3, "of 3 of 12 classes: those that change"), (10, "of 8 of 12 classes: the 8 that change most"), (0, None)],
)
def test_adapt_tells_which_classes_it_shows(
    changing: int, told: str | None, capsys: pytest.CaptureFixture[str], scenes: ModuleType, tiny_bundle: Path
) -> None:
    """Of many classes, that the table holds those that change, or the most changed of them."""
    from acclimate.cli.adapt import _tell
    from acclimate.edge import Learner

    with Learner.open(tiny_bundle, threads=1) as learner:
        learner.observe(*scenes.frames(60, 2, 1.0))
        report = learner.adapt()
    change = report.judgement.classes[0]
    classes = [replace(change, name=f"class {i}", gained=i < changing, lost=0, before=0.5) for i in range(12)]
    _tell(replace(report, judgement=replace(report.judgement, classes=tuple(classes))))
    said = capsys.readouterr().out
    assert ("held-out samples of" in said) == (told is not None)
    assert told is None or told in said


def test_observe_names_ids_and_keeps_a_bound(acclimate: Acclimate, stored: Path, scenes: ModuleType) -> None:
    """The ids are told for `label` and `forget`; a bound is said to be too small before anything is embedded."""
    np.save(stored / "more.npy", scenes.frames(4, 7, 1.0)[0])
    assert acclimate("observe", "tiny.acc", "more.npy").output.startswith("observed 4 frames as 69 to 72; ")
    refused = acclimate("observe", "tiny.acc", "more.npy", "--store", "small.db", "--max-bytes", "1000")
    assert (refused.code, refused.output) == (1, "")
    assert "expected --max-bytes as a whole number from 1048576" in refused.errors
    np.save(stored / "others.npy", scenes.frames(4, 8, 1.0)[0])
    for given, kept in (("3000000", 3_000_000), ("0", None)):
        frames = "more.npy" if kept else "others.npy"
        assert acclimate("observe", "tiny.acc", frames, "--store", "new.db", "--max-bytes", given).code == 0
        with Learner.open(stored / "tiny.acc", stored / "new.db", threads=1) as learner:
            assert learner._session.store.max_bytes == kept


def test_a_damaged_version_is_told(acclimate: Acclimate, stored: Path) -> None:
    """Its place in the list says that it is damaged; what is exported is named by the head that is in the file."""
    connection = sqlite3.connect(stored / "tiny.db")
    connection.execute("UPDATE versions SET head = zeroblob(100)")
    connection.commit()
    connection.close()
    rows = acclimate("versions", "tiny.acc").output.splitlines()
    assert rows[0].split() == ["*", "0", "as", "shipped"]
    assert rows[1].split()[:2] == ["1", "damaged:"]
    assert acclimate("export", "tiny.acc", "-o", "x.onnx").output.startswith("wrote x.onnx: version 0, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("label", "BUNDLE", "moss", "999"), "found 999"),
        (("forget", "BUNDLE", "999"), "expected ids that are stored, found [999]. Nothing was forgotten."),
        (("suggest", "BUNDLE", "--store", "none.db"), "expected a store at none.db, found none"),
        (("estimate", "BUNDLE", "--store", "tiny.acc"), "expected a store of Acclimate"),
        (("export", "BUNDLE", "-o", "there.onnx"), "there.onnx is there already"),
        (("export", "BUNDLE", "-o", "x.tflite"), "expected a file name ending in .onnx, found 'x.tflite'"),
        (("classes", "add", "BUNDLE", "moss"), "expected a name that no class has yet, found 'moss'"),
        (("classes", "remove", "BUNDLE", "sand"), "expected one of the classes"),
        (("update", "apply", "BUNDLE", "there.onnx"), "the update is not valid"),
        (("adapt", "BUNDLE", "--max-memory-mb", "1"), "expected to need at most 1 MB"),
    ],
)
def test_errors_are_one_line(acclimate: Acclimate, stored: Path, arguments: tuple[str, ...], message: str) -> None:
    """A refusal is one line on standard error with exit code 1: no traceback, and nothing on standard output."""
    (stored / "there.onnx").write_text("something else")
    found = acclimate(*("tiny.acc" if part == "BUNDLE" else part for part in arguments))
    assert (found.code, found.output) == (1, "")
    assert found.errors.startswith("error: ")
    assert message in found.errors
    assert found.errors.count("\n") == 1
    with Bundle(stored / "tiny.acc") as bundle, open_stored(stored) as learner:
        assert learner.classes == bundle.manifest.classes
        assert learner.samples == (68, 60)
    assert (stored / "there.onnx").read_text() == "something else"


@pytest.mark.parametrize(
    "arguments",
    [
        ("forget", "x.acc"),
        ("forget", "x.acc", "1", "--tag", "a"),
        ("suggest", "x.acc", "--strategy", "luck"),
        ("export", "x.acc", "-o", "x.h5"),
        ("adapt", "x.acc", "--max-forgetting", "101"),
        ("classes", "merge", "x.acc", "a", "b"),
    ],
)
def test_wrong_usage_has_exit_code_2(acclimate: Acclimate, arguments: tuple[str, ...]) -> None:
    """What cannot be meant is a usage error, told before any file is opened."""
    assert acclimate(*arguments).code == 2
