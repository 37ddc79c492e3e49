"""Updates between devices: the same answers, only newer ones, only for the backbone, only from whom is trusted."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.bundle import Bundle
from acclimate.edge import Learner
from acclimate.errors import (
    InputError,
    OutputExistsError,
    SignatureError,
    StoreBusyError,
    UpdateFormatError,
    UpdateMismatchError,
    UpdateReplayError,
)
from acclimate.keys import PrivateKey
from acclimate.latent import LatentCode
from acclimate.manifest import Runtime
from acclimate.update import Base, read_update, write_update

from .learners import Opening, fresh, in_use
from .stores import content

Bits = Callable[[Learner, np.ndarray], bytes]
N = 72
KEY, OTHER = PrivateKey(bytes(range(32))), PrivateKey(bytes(range(1, 33)))


@pytest.fixture
def update(tmp_path: Path) -> Path:
    """Return where an update may be written."""
    return tmp_path / "u.accu"


def by_name(learner: Learner, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the probabilities of each class."""
    found = learner.predict(x)
    return dict(zip(found.classes, found.probabilities.T, strict=True))


def adapted(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    fresh(learner, x, y)


def extended(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    learner.observe(255 - x[:8], ["crack"] * 8)
    fresh(learner, x, y)


def renamed(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    fresh(learner, x, y)
    learner.classes.rename("moss", "lichen")


def merged(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    fresh(learner, x, y)
    learner.classes.merge(["bark", "moss"], "soft")


def removed(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    fresh(learner, x, y)
    learner.classes.remove("brick")


def as_shipped(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    pass


@pytest.mark.parametrize("life", [adapted, extended, renamed, merged, removed, as_shipped])
def test_devices_answer_alike(
    opening: Opening, scenes: ModuleType, update: Path, life: Callable[[Learner, np.ndarray, np.ndarray], None]
) -> None:
    """A second device answers as the first within what float16 costs, by name, whatever became of the classes."""
    x, y = scenes.frames(N, 2, 1.0)
    first, second = opening("first.db"), opening("second.db")
    life(first, x, y)
    second.observe(x[:5], ["dent", None, *y[2:5]])
    number = first.save_update(update)
    assert number > 1.7e9
    assert update.stat().st_size <= 5 * 53 * 2 + 2048
    assert second.apply_update(update) == 1
    frames = np.concatenate([scenes.frames(200, 99, 1.0)[0], scenes.frames(200, 98)[0]])
    before, after = by_name(first, frames), by_name(second, frames)
    assert before.keys() == after.keys()
    for name, expected in before.items():
        np.testing.assert_allclose(after[name], expected, atol=4e-3)
    assert second.samples == (5, 4)
    assert second.versions()[-1].summary == f"update {number}"
    assert not second.predict(frames).unknown.any()


def test_only_newer_ones_are_taken(opening: Opening, scenes: ModuleType, update: Path, bits: Bits) -> None:
    """The same or an older update is refused, also after rolling back and reopening; a newer one is taken."""
    x, y = scenes.frames(N, 2, 1.0)
    first, second = fresh(opening("first.db"), x, y), opening("second.db")
    shipped = bits(second, x)
    first.save_update(update, number=7)
    assert second.apply_update(update) == 1
    applied = bits(second, x)
    assert second.rollback() == 0
    assert bits(second, x) == shipped
    second.close()
    second = opening("second.db")
    for number in (7, 6):
        assert first.save_update(update, number=number, overwrite=True) == number
        before = content(update.with_name("second.db"))
        with pytest.raises(UpdateReplayError, match=rf"number above 7, the newest .* found number {number}"):
            second.apply_update(update)
        assert content(update.with_name("second.db")) == before
    first.save_update(update, number=8, overwrite=True)
    assert second.apply_update(update) == 2
    assert bits(second, x) == applied
    assert second.rollback(0) == 0
    assert bits(second, x) == shipped
    # One that was taken here is behind what is saved here, whatever the clock says.
    first.save_update(update, number=2**40, overwrite=True)
    second.apply_update(update)
    assert second.save_update(update, overwrite=True) == 2**40 + 1


def test_another_backbone_is_refused(
    opening: Opening, remake: Callable[..., Path], tiny_bundle: Path, runtime: Runtime, update: Path, bits: Bits
) -> None:
    """An update fits the variant that it was made with, of this bundle and runtime, and no other."""
    opening().save_update(update)
    with Bundle(tiny_bundle) as bundle:
        code = bundle.code(runtime)
    foreign = opening("second.db", remake(code=LatentCode(code.scale * np.float32(2), code.offset)))
    x = np.zeros((1, 8, 8, 1), np.uint8)
    before = content(update.with_name("second.db")), bits(foreign, x)
    with pytest.raises(UpdateMismatchError, match="expected an update for"):
        foreign.apply_update(update)
    assert (content(update.with_name("second.db")), bits(foreign, x)) == before


def test_damage_is_refused(opening: Opening, update: Path) -> None:
    """One byte that is another, a cut file and something else altogether change nothing."""
    learner = opening("second.db")
    learner.save_update(update)
    good, before = update.read_bytes(), content(update.with_name("second.db"))
    for bad in (good[:-1], good[:40] + bytes([good[40] ^ 1]) + good[41:], b"", b"PK\x03\x04" * 50):
        update.write_bytes(bad)
        with pytest.raises(UpdateFormatError):
            learner.apply_update(update)
    assert content(update.with_name("second.db")) == before


@pytest.fixture
def signed_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Return the bundle, signed."""
    pytest.importorskip("cryptography", reason="cryptography, which signs, is not installed")
    from acclimate.signing import sign_bundle

    path = tmp_path / "signed.acc"
    path.write_bytes(tiny_bundle.read_bytes())
    sign_bundle(path, KEY, overwrite=True)
    return path


def test_trusted_keys(opening: Opening, signed_bundle: Path, scenes: ModuleType, update: Path, tmp_path: Path) -> None:
    """With trusted keys an update must be signed by one of them: unsigned, altered and by another key is refused."""
    x, y = scenes.frames(N, 2, 1.0)
    first = fresh(opening("first.db", signed_bundle), x, y)
    second = opening("second.db", signed_bundle, trusted_keys=[OTHER.public, KEY.public])
    strict = opening("third.db", signed_bundle, trusted_keys=KEY.public)
    before = content(tmp_path / "third.db")
    first.save_update(update, number=1)
    for learner in (second, strict):
        with pytest.raises(SignatureError):
            learner.apply_update(update)
    first.save_update(update, key=OTHER, number=2, overwrite=True)
    with pytest.raises(SignatureError):
        strict.apply_update(update)
    assert content(tmp_path / "third.db") == before
    assert second.apply_update(update) == 1
    assert "signed by" in second.versions()[-1].summary
    first.save_update(update, key=KEY.to_pem(), number=3, overwrite=True)
    assert strict.apply_update(update) == 1


def test_an_unsigned_bundle_is_not_opened(opening: Opening, tiny_bundle: Path, signed_bundle: Path) -> None:
    """With trusted keys the bundle must be signed by one of them, and no store is made for one that is not."""
    with pytest.raises(SignatureError):
        opening("device.db", trusted_keys=[KEY.public])
    with pytest.raises(SignatureError):
        opening("device.db", signed_bundle, trusted_keys=[OTHER.public])
    assert not signed_bundle.with_name("device.db").exists()
    opening("device.db", signed_bundle, trusted_keys=[KEY.public.raw.hex()])


def test_forgetting_leaves_an_update(opening: Opening, scenes: ModuleType, update: Path, bits: Bits) -> None:
    """One from elsewhere is trained on nothing stored here: it stays, in use or not, when samples are forgotten."""
    x, y = scenes.frames(N, 2, 1.0)
    fresh(opening("first.db"), x, y).save_update(update)
    second = fresh(opening("second.db"), *scenes.frames(40, 3, 1.0))
    assert second.apply_update(update) == 2
    applied = bits(second, x)
    done = second.forget(label="moss")
    assert (done.versions, bits(second, x)) == (1, applied)
    assert [(version.number, version.current) for version in second.versions()] == [(0, False), (2, True)]
    second.adapt(on_insufficient="apply", max_forgetting=100)
    assert second.rollback(2) == 2
    assert bits(second, x) == applied


def rewritten(update: Path, learner: Learner, number: int) -> Path:
    """Write the same head anew as another device would: with another number, note and order of its rows."""
    base = Base.of(learner._session.bundle, learner._session.runtime)
    found = read_update(update, base)
    rows = np.arange(len(found.classes))[::-1]
    again = replace(
        found,
        number=number,
        note="rolled out",
        classes=tuple(found.classes[i] for i in rows),
        weight=found.weight[rows],
        bias=found.bias[rows],
    )
    write_update(update, again, base, overwrite=True)
    return update


@pytest.mark.parametrize("by", ["the same file", "another number", "another device"])
@pytest.mark.parametrize("life", [adapted, extended, renamed, merged, removed])
def test_forgetting_takes_an_update_of_ones_own(
    opening: Opening,
    scenes: ModuleType,
    update: Path,
    life: Callable[[Learner, np.ndarray, np.ndarray], None],
    by: str,
) -> None:
    """A head that was saved here and comes back goes with the samples that it was trained on, however it comes."""
    x, y = scenes.frames(N, 2, 1.0)
    learner, other = opening("first.db"), opening("second.db")
    life(learner, x, y)
    first = in_use(learner).version
    number = learner.save_update(update)
    if by == "another number":
        rewritten(update, learner, number + 10)
    elif by == "another device":
        other.apply_update(update)
        other.save_update(update, overwrite=True)
    assert learner.apply_update(update) == first + 1
    more = learner.observe(scenes.frames(4, 7, 1.0)[0])
    assert learner.forget(more).versions == 0
    assert learner.forget([learner._session.store.ids()[-1]]).versions == first + 1
    assert [version.number for version in learner.versions() if version.number == first + 1] == []
    if by == "another device":
        # There it came from elsewhere.
        assert len(other.versions()) == 2
        other.observe(x[:5], y[:5])
        assert other.forget([1]).versions == 0


def test_what_was_forgotten_does_not_come_back(opening: Opening, scenes: ModuleType, update: Path, bits: Bits) -> None:
    """An update saved before its samples were forgotten is refused here, and only here; one saved after is taken."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening("first.db"), x, y)
    learner.save_update(update)
    learner.forget([5])
    answers, before = bits(learner, x), content(update.with_name("first.db"))
    with pytest.raises(UpdateMismatchError, match=r"trained on nothing that was forgotten here, found .* Delete it"):
        learner.apply_update(update)
    assert (bits(learner, x), content(update.with_name("first.db"))) == (answers, before)
    learner.close()
    learner = opening("first.db")
    with pytest.raises(UpdateMismatchError, match="nothing that was forgotten here"):
        learner.apply_update(rewritten(update, learner, 2**40))
    assert opening("second.db").apply_update(update) == 1
    number = learner.save_update(update, overwrite=True)
    assert number < 2**40
    assert learner.apply_update(update) == 3
    assert learner.forget([6]).versions == 2


def test_the_shipped_head_as_an_update_is_trained_on_nothing(
    opening: Opening, scenes: ModuleType, update: Path
) -> None:
    """It is not remembered: applied again, it stays when samples go."""
    learner = opening("first.db")
    learner.save_update(update)
    fresh(learner, *scenes.frames(N, 2, 1.0))
    assert learner.apply_update(update) == 2
    assert learner.forget([1]).versions == 1
    assert in_use(learner).version == 2


def test_an_update_that_cannot_be_remembered_is_not_written(opening: Opening, scenes: ModuleType, update: Path) -> None:
    """Where another process keeps the store from being written, there is no file that forgetting would not know."""
    learner = fresh(opening("first.db", timeout=0.1), *scenes.frames(N, 2, 1.0))
    connection = sqlite3.connect(update.with_name("first.db"), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError):
        learner.save_update(update)
    connection.close()
    assert [file.name for file in update.parent.iterdir() if not file.name.startswith("first.db")] == []
    learner.save_update(update)


def test_learning_goes_on_after_an_update(opening: Opening, scenes: ModuleType, update: Path) -> None:
    """A device adapts on from an update; refitting needs a setting, which updates have none of: then one is sought."""
    x, y = scenes.frames(N, 2, 1.0)
    fresh(opening("first.db"), x, y).save_update(update)
    second = opening("second.db")
    second.apply_update(update)
    second.partial_fit(*scenes.frames(120, 3, 1.0))
    assert second.score(*scenes.frames(400, 99, 1.0)) > 0.88
    assert in_use(second).version == len(second.versions()) - 1


def test_new_classes_come_with_an_update(opening: Opening, scenes: ModuleType, update: Path) -> None:
    """An update brings its classes; a shipped one that was removed, renamed or merged here stays so."""
    x, y = scenes.frames(N, 2, 1.0)
    extended(first := opening("first.db"), x, y)
    first.save_update(update)
    second = opening("second.db")
    second.classes.remove("moss")
    second.classes.rename("bark", "Rinde")
    second.classes.merge(["brick"], into="gravel")
    second.apply_update(update)
    assert dict(second.classes.ids) == {"Rinde": 0, "gravel": 2, "crack": 4}
    assert second.score(255 - x[:8], ["crack"] * 8) == 1
    known = y != "moss"
    now = {"bark": "Rinde", "brick": "gravel"}
    assert second.score(x[known], [now.get(name, name) for name in y[known]]) > 0.8


def test_new_classes_of_an_update_are_refused_where_new_ones_are(
    opening: Opening, scenes: ModuleType, update: Path
) -> None:
    """Under `new_classes="refuse"` an update with a class of its own changes nothing; one without is taken."""
    x, y = scenes.frames(N, 2, 1.0)
    extended(first := opening("first.db"), x, y)
    first.save_update(update)
    second = opening("second.db", new_classes="refuse")
    second.classes.rename("bark", "Rinde")
    with pytest.raises(UpdateMismatchError, match=r"since new ones are refused, found \['crack'\] in update"):
        second.apply_update(update)
    assert (list(second.classes.ids.values()), len(second.versions())) == ([0, 1, 2, 3], 1)
    fresh(third := opening("third.db"), x, y)
    third.save_update(update, overwrite=True)
    assert second.apply_update(update) == 1
    assert "Rinde" in second.predict(x).labels


def test_a_name_that_two_devices_use_otherwise(opening: Opening, scenes: ModuleType, update: Path) -> None:
    """Where the new name of a renamed class is in the update too, the old one is another class."""
    x, y = scenes.frames(N, 2, 1.0)
    extended(first := opening("first.db"), x, y)
    first.save_update(update)
    second = opening("second.db")
    second.classes.rename("moss", "crack")
    second.apply_update(update)
    assert second.classes.ids["crack"] != second.classes.ids["moss"]
    assert len(second.classes) == 5
    assert second.score(255 - x[:8], ["crack"] * 8) == 1


def test_an_update_of_removed_classes_only(opening: Opening, update: Path) -> None:
    """An update of which every class was removed here would leave nothing to predict, and is refused."""
    opening("first.db").save_update(update)
    second = opening("second.db", new_classes="refuse")
    second.classes.add("crack")
    for name in ("bark", "brick", "gravel", "moss"):
        second.classes.remove(name)
    with pytest.raises(UpdateMismatchError, match=r"a class that is here, found .* which were removed"):
        second.apply_update(update)


@pytest.mark.parametrize(
    "options",
    [{"number": 0}, {"number": -1}, {"number": 2**63}, {"number": True}, {"number": 1.5}, {"key": b"no key"}],
    ids=str,
)
def test_options_that_do_not_fit(opening: Opening, update: Path, options: dict[str, Any]) -> None:
    """Numbers that order nothing, and keys that are none, are refused, and nothing is written."""
    if "key" in options:
        pytest.importorskip("cryptography")
    with pytest.raises(InputError, match="expected"):
        opening("first.db").save_update(update, **options)
    assert not update.exists()


def test_files_are_not_replaced_unasked(opening: Opening, update: Path) -> None:
    """A file that is there stays as it is; one that is not there cannot be applied."""
    update.write_text("mine")
    with pytest.raises(OutputExistsError):
        opening("first.db").save_update(update)
    assert update.read_text() == "mine"
    with pytest.raises(FileNotFoundError):
        opening("first.db").apply_update(update.with_name("nowhere.accu"))
