"""Files that are no store, or a damaged one, and media that cannot be written: our error, and nothing is changed."""

import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.store import connection as connection_module
from acclimate.edge.store.class_table import row_seal
from acclimate.edge.store.sample_rows import sample_seal
from acclimate.edge.store.store import Store
from acclimate.errors import AcclimateError, StoreCorruptError, StoreError

WIDTH = 6


def make(path: Path) -> bytes:
    """Make a store of forty samples and a version, and return its bytes."""
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        codes = np.random.default_rng(0).integers(0, 256, (40, WIDTH)).astype(np.uint8)
        store.add(codes, [i % 2 for i in range(40)], [store.digest(row) for row in codes], [None] * 40, [None] * 40)
        store.add_version("{}", bytes(100))
    return path.read_bytes()


def use(path: Path) -> None:
    """Open a store, read everything, and write."""
    with Store(path, "f" * 64, WIDTH, ("bark", "moss"), timeout=0.2) as store:
        store.labelled()
        store.versions()
        store.count()
        store.classes()
        store.version(store.current)
        store.add(np.zeros((1, WIDTH), np.uint8), [0], [os.urandom(16)], [None], [None])
        store.label([2], [1])


@pytest.mark.parametrize("content", [b"no database", b"\x00" * 5000, b"SQLite format 3\x00", b"PK\x03\x04xxxx" * 200])
def test_what_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    """A text, zeros, a bare header, another kind of file: refused, and not a byte of it changed."""
    path = tmp_path / "device.db"
    path.write_bytes(content)
    with pytest.raises(StoreCorruptError, match=r"device\.db: expected a store of Acclimate, found that .* Restore it"):
        use(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path: Path, tiny_bundle: Path) -> None:
    """A database that is not ours is refused, and neither its journal mode nor any other byte changes."""
    path = tmp_path / "photos.db"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE settings (name, value); INSERT INTO settings VALUES ('variant', 'x');")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreCorruptError, match="found that it is another program's database"):
        use(path)
    with pytest.raises(StoreCorruptError, match="found that it is another program's database"):
        Learner.open(tiny_bundle, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["photos.db"]


def test_a_missing_table_or_setting_is_found(tmp_path: Path) -> None:
    """A store from which another program dropped something is refused with what is missing."""
    path = tmp_path / "device.db"
    for statement, message in (
        ("DELETE FROM settings WHERE name = 'salt'", "its setting 'salt' is missing"),
        ("DROP TABLE versions", "no such table: versions"),
    ):
        path.unlink(missing_ok=True)
        make(path)
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()
        with pytest.raises(StoreError, match=message):
            use(path)


def test_a_latent_of_another_width_is_found(tmp_path: Path) -> None:
    """A sample whose bytes do not fit the backbone is named, and never reaches a head."""
    path = tmp_path / "device.db"
    make(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE latents SET codes = x'00' WHERE slot = 7")
    connection.commit()
    connection.close()
    with pytest.raises(StoreCorruptError, match=f"sample 7 is damaged: it does not have {WIDTH} bytes of latent"):
        use(path)


@pytest.mark.parametrize("seed", range(60))
def test_damage_never_gets_past_our_errors(tmp_path: Path, seed: int) -> None:
    """A truncated file, a flipped bit, a run of noise: it still works, or the error is ours."""
    path, rng = tmp_path / "device.db", np.random.default_rng(seed)
    content = bytearray(make(path))
    at = int(rng.integers(len(content)))
    if seed % 3 == 0:
        del content[at:]
    elif seed % 3 == 1:
        content[at] ^= 1 << int(rng.integers(8))
    else:
        content[at : at + 64] = rng.bytes(len(content[at : at + 64]))
    path.write_bytes(content)
    try:
        use(path)
    except AcclimateError as error:
        assert "device.db" in str(error)  # noqa: PT017  working on is as good an outcome


@pytest.mark.parametrize("change", ["head = zeroblob(100)", "head = x''", "report = 'nonsense'", "report = '{}'"])
def test_a_damaged_version_is_named(tmp_path: Path, tiny_bundle: Path, scenes: ModuleType, change: str) -> None:
    """Weights or a report that are not those that were stored are refused when asked for; the history still lists."""
    path = tmp_path / "device.db"
    with Learner.open(tiny_bundle, path, threads=1) as learner:
        learner.fit(*scenes.frames(40, 2, 1.0))
        assert learner.versions()[-1].current
        learner.rollback(0)
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE versions SET {change}")  # noqa: S608
    connection.commit()
    connection.close()
    with Learner.open(tiny_bundle, path, threads=1) as learner:
        with pytest.raises(StoreCorruptError, match="found that version 1 is damaged: its SHA-256 is another"):
            learner.rollback(1)
        assert [(version.number, version.current) for version in learner.versions()] == [(0, True), (1, False)]


def test_a_damaged_version_leaves_the_others_readable(tmp_path: Path) -> None:
    """A version whose pages are noise is listed as damaged, and those before and after it are what was stored."""
    path = tmp_path / "device.db"
    heads = [np.random.default_rng(i).bytes(50_000) for i in range(3)]
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        for head in heads:
            store.add_version("{}", head)
    content = bytearray(path.read_bytes())
    at = content.index(heads[1][30_000:30_100])
    content[at : at + 100] = bytes(100)
    path.write_bytes(content)
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        assert [version.intact for version in store.versions()] == [True, False, True]
        assert store.version(3).head == heads[2]
        with pytest.raises(StoreCorruptError, match="version 2 is damaged"):
            store.version(2)


def test_every_flipped_bit_of_a_latent_is_told(tmp_path: Path) -> None:
    """A bit that flips in a latent, in its CRC-32 or in its digest is found, and the sample named."""
    path = tmp_path / "device.db"
    make(path)
    for flipped in (0, 13, WIDTH * 8 - 1, WIDTH * 8, WIDTH * 8 + 31):
        copy = tmp_path / f"{flipped}.db"
        shutil.copy(path, copy)
        connection = sqlite3.connect(copy)
        (content,) = connection.execute("SELECT codes FROM latents WHERE slot = 7").fetchone()
        changed = bytearray(content)
        changed[flipped // 8] ^= 1 << flipped % 8
        connection.execute("UPDATE latents SET codes = ? WHERE slot = 7", (bytes(changed),))
        connection.commit()
        connection.close()
        with Store(copy, "f" * 64, WIDTH, ("bark", "moss")) as store:
            with pytest.raises(StoreCorruptError, match="sample 7 is damaged: its CRC-32 is another"):
                store.labelled()
            assert len(store.samples([6, 8]).ids) == 2


def test_latents_that_changed_places_are_told(tmp_path: Path) -> None:
    """A latent that is whole but belongs to another sample is damage too: the CRC-32 starts from the digest."""
    path = tmp_path / "device.db"
    make(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE samples SET slot = CASE slot WHEN 3 THEN 4 ELSE 3 END WHERE slot IN (3, 4)")
    connection.commit()
    connection.close()
    with (
        Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store,
        pytest.raises(StoreCorruptError, match="sample 3 is damaged"),
    ):
        store.labelled()


CHANGES = [
    "class = class + 1",
    "class = 1 - class",
    "class = 55",
    "class = NULL",
    "key = 'another'",
    "tag = NULL",
    "tag = 'bert'",
    "time = time + 1",
    "slot = 12",
    "target = x'000000000000f03f'",
    "seal = seal + 1",
    "seal = NULL",
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_row_of_a_sample_is_named(tmp_path: Path, change: str) -> None:
    """Whatever is another in a row is found where samples are read to train, and no change makes it pass for good."""
    path = tmp_path / "device.db"
    make(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE samples SET tag = 'anna' WHERE id = 9")
    row = connection.execute("SELECT id, slot, class, key, tag, time, digest, target FROM samples WHERE id = 9")
    sealed = sample_seal(*row.fetchone())
    connection.execute("UPDATE samples SET seal = ? WHERE id = 9", (sealed,))
    connection.commit()
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        assert len(store.labelled().ids) == 40
        connection.execute(f"UPDATE samples SET {change} WHERE id = 9")  # noqa: S608
        connection.commit()
        connection.close()
        reads: tuple[Callable[[], object], ...] = (
            store.labelled,
            store.unlabelled,
            lambda: store.measured(1),
            lambda: store.samples([9]),
            lambda: store.maps([9]),
            lambda: store.keys_of([9]),
            lambda: store.label([9], [0]),
            lambda: store.set_targets([9], np.ones((1, 1))),
            lambda: store.find(label_id=1),
            lambda: store.find(tag="anna"),
        )
        for read in reads:
            with pytest.raises(StoreCorruptError, match=r"sample 9 is damaged: .* Forget it by its id\. Or: Restore"):
                read()
        assert len(store.samples([8, 10]).ids) == 2
        assert store.erase([9])
        # Neither the latent of another sample went along, nor did its own stay.
        assert len(store.labelled().ids) == 39
        (slots,) = sqlite3.connect(path).execute("SELECT group_concat(slot) FROM latents WHERE codes = zeroblob(10)")
        assert slots == ("9",)


def test_seals_follow_every_change(tmp_path: Path) -> None:
    """Labelling, targets, merging and removing classes, erasing and a bound leave rows that are what was stored."""
    path = tmp_path / "device.db"
    make(path)
    with Store(path, "f" * 64, WIDTH, ("bark", "moss"), max_bytes=2**20) as store:
        store.add_classes(["crack", "rust"])
        store.label([1, 2, 3, 4], [2, 2, 3, None])
        store.set_targets([5, 6], np.array([[1.5], [2.5]]))
        store.set_targets([6], np.array([[np.nan]]))
        store.merge_classes([3], 1)
        store.remove_class(2, forget=False)
        store.erase([10, 11])
        store.remove_class(0, forget=True)
        store.stage([b"0" * 16], np.zeros((1, WIDTH), np.uint8))
        store.add(np.zeros((1, WIDTH), np.uint8), [1], [b"0" * 16], ["key"], ["tag"])
        found = store.samples(store.ids())
        assert store.labelled().ids.tolist() == found.ids[found.classes >= 0].tolist()
        assert dict(zip(found.ids.tolist(), found.classes.tolist(), strict=True))[3] == 1


def test_a_sealed_row_of_a_class_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A store in which somebody sealed nonsense: an error of ours, and no KeyError in training."""
    path = tmp_path / "device.db"
    make(path)
    connection = sqlite3.connect(path)
    connection.create_function("sample_seal", 8, sample_seal)
    connection.execute("UPDATE samples SET class = 55 WHERE id = 9")
    connection.execute("UPDATE samples SET seal = sample_seal(id, slot, class, key, tag, time, digest, target)")
    connection.commit()
    connection.close()
    with (
        Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store,
        pytest.raises(StoreCorruptError, match="sample 9 is of class 55, which is not there"),
    ):
        store.labelled()


def test_the_seal_of_a_sample_is_what_the_page_says() -> None:
    """CRC-32 over a JSON array of ASCII characters, bytes as hexadecimal digits."""
    written = rb'[7, 3, null, "F\u00e4ule", null, "000000000000f03f", "0102", "00ff"]'
    assert sample_seal(7, 3, None, "Fäule", None, 1.0, b"\x01\x02", b"\x00\xff") == zlib.crc32(written)


def test_removing_a_class_does_not_mend_a_damaged_version(tmp_path: Path) -> None:
    """A damaged version stays damaged where a name is taken out of the reports, and keeps nothing of the name."""
    path = tmp_path / "device.db"
    make(path)
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        for text in ('{"summary": "moss"}', '{"summary": "moss and bark"}', '{"moss'):
            store.add_version(text, bytes(9), samples=np.empty(0, np.int64))
        connection = sqlite3.connect(path)
        connection.execute("UPDATE versions SET head = x'01' WHERE id IN (3)")
        connection.execute("DELETE FROM samples WHERE class = 1")
        connection.commit()
        connection.close()
        store.remove_class(1, forget=True)
        found = {version.id: version for version in store.versions()}
        assert (found[2].intact, found[2].report) == (True, '{"summary": "(removed)"}')
        assert not found[3].intact
        assert "moss" not in "".join(version.report for version in found.values())


@pytest.mark.parametrize("bound", [-5, 5, 2**62])
def test_a_bound_that_nobody_could_set_is_damage(tmp_path: Path, bound: int) -> None:
    """Samples do not give way to a bound that was damaged; another bound puts it right."""
    path = tmp_path / "device.db"
    make(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE settings SET value = ? WHERE name = 'max_bytes'", (bound,))
    connection.commit()
    connection.close()
    with pytest.raises(StoreCorruptError, match=f"its setting 'max_bytes' is {bound}"):
        use(path)
    with Store(path, "f" * 64, WIDTH, ("bark", "moss"), max_bytes=2**20) as store:
        assert store.count() == (40, 40)
    use(path)


def test_the_seal_of_a_class_is_what_the_page_says() -> None:
    """CRC-32 over a JSON array of ASCII characters, so that another program can check it."""
    assert row_seal(0, "bark", "bark", "active", None) == zlib.crc32(b'[0, "bark", "bark", "active", null]')
    assert row_seal(7, "Fäule\U0001f344", None, "removed", 2) == zlib.crc32(
        rb'[7, "F\u00e4ule\ud83c\udf44", null, "removed", 2]'
    )


NAME = b"quite another name"


@pytest.mark.parametrize("bit", range(0, 8 * len(NAME), 5))
def test_every_flipped_bit_of_a_class_name_is_told(tmp_path: Path, bit: int) -> None:
    """A bit that flips in the file, in the name of a class, is found on opening; no other name is ever served."""
    path = tmp_path / "device.db"
    make(path)
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        store.add_classes([NAME.decode()])
    content = bytearray(path.read_bytes())
    places = [i for i in range(len(content)) if content.startswith(NAME, i)]
    # In the table, and in the index of the names.
    assert len(places) == 2
    for at in places:
        content[at + bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    with pytest.raises(StoreCorruptError, match=r"(class 2 is damaged: its CRC-32 is another|is not UTF-8)\. Restore"):
        use(path)


@pytest.mark.parametrize(
    "change",
    [
        "name = 'other' WHERE id = 1",
        "name = 'bark ' WHERE id = 0",
        "name = NULL WHERE id = 2",
        "shipped = 'rust' WHERE id = 2",
        "shipped = NULL WHERE id = 1",
        "state = 'frozen' WHERE id = 2",
        "state = 'removed' WHERE id = 2",
        "merged_into = 2 WHERE id = 3",
        "merged_into = NULL WHERE id = 3",
        "seal = seal + 1 WHERE id = 3",
        "seal = NULL WHERE id = 0",
    ],
)
def test_a_damaged_class_is_named(tmp_path: Path, change: str) -> None:
    """Whatever is another in the row of a class, of a removed one too, is found by an open store and on opening."""
    path = tmp_path / "device.db"
    make(path)
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        store.add_classes(["crack", "rust"])
        store.merge_classes([3], 1)
        connection = sqlite3.connect(path)
        connection.execute(f"UPDATE classes SET {change}")  # noqa: S608
        connection.commit()
        connection.close()
        message = rf"class {change[-1]} is damaged: its CRC-32 is another"
        for look in (store.classes, store.present, store.shipped_classes, store.frozen_classes):
            with pytest.raises(StoreCorruptError, match=message):
                look()
        with pytest.raises(StoreCorruptError, match=message):
            store.add_classes(["new"])
    with pytest.raises(StoreCorruptError, match=message):
        use(path)


def test_a_learner_does_not_predict_under_a_damaged_name(tmp_path: Path, tiny_bundle: Path, scenes: ModuleType) -> None:
    """One that is open refuses at the next change, and one that is opened does at once: no wrong name is predicted."""
    path = tmp_path / "device.db"
    with Learner.open(tiny_bundle, path, threads=1) as learner:
        connection = sqlite3.connect(path)
        connection.execute("UPDATE classes SET name = 'mass' WHERE name = 'moss'")
        connection.commit()
        connection.close()
        x, y = scenes.frames(4, 2)
        with pytest.raises(StoreCorruptError, match="is damaged: its CRC-32"):
            # Unlike a prediction, which may be 10 ms behind others, this asks the store each time.
            learner.score(x, y)
    with pytest.raises(StoreCorruptError, match="is damaged: its CRC-32"):
        Learner.open(tiny_bundle, path, threads=1)


def test_a_class_that_is_gone_is_not_predicted(tmp_path: Path, tiny_bundle: Path, scenes: ModuleType) -> None:
    """A head with a class that the store does not know serves with the others."""
    path = tmp_path / "device.db"
    x, y = scenes.frames(60, 2, 1.0)
    with Learner.open(tiny_bundle, path, threads=1) as learner:
        learner.observe(x[:50], y[:50])
        learner.observe(x[50:], ["crack"] * 10)
        assert learner.adapt().applied
    connection = sqlite3.connect(path)
    connection.execute("UPDATE samples SET class = NULL")
    connection.execute("DELETE FROM classes WHERE name = 'crack'")
    connection.commit()
    connection.close()
    with Learner.open(tiny_bundle, path, threads=1) as learner:
        assert learner.predict(x).classes == scenes.CLASSES


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which every file counts as one that this process may not write to."""
    return lambda: monkeypatch.setattr(connection_module, "is_read_only", lambda path: path.exists())


def test_a_read_only_store_is_read_and_not_written(tmp_path: Path, read_only: Callable[[], None]) -> None:
    """On media that cannot be written everything can be read, writing is our error, and no file appears beside it."""
    path = tmp_path / "device.db"
    before = make(path)
    read_only()
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        assert store.read_only
        assert store.count() == (40, 40)
        assert len(store.labelled().ids) == 40
        assert store.current == 1
        writes = (lambda: store.label([1], [1]), lambda: store.add_classes(["x"]), lambda: store.add_version("", b""))
        for write in writes:
            with pytest.raises(StoreError, match=r"device\.db is read-only: expected a file and folder that"):
                write()
        store.conformed = "not kept"
        assert store.conformed == ""
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["device.db"]


def test_a_learner_predicts_from_a_read_only_store(
    tmp_path: Path, tiny_bundle: Path, scenes: ModuleType, read_only: Callable[[], None]
) -> None:
    """An adapted head on read-only media predicts as before; observing and rolling back are refused."""
    path = tmp_path / "device.db"
    x, y = scenes.frames(80, 2, 1.0)
    with Learner.open(tiny_bundle, path) as learner:
        learner.fit(x, y)
        expected = learner.predict(x).probabilities
    read_only()
    with Learner.open(tiny_bundle, path) as learner:
        assert learner.predict(x).probabilities.tobytes() == expected.tobytes()
        with pytest.raises(StoreError, match="is read-only"):
            learner.observe(*scenes.frames(4, 3))
        with pytest.raises(StoreError, match="is read-only"):
            learner.rollback()
        assert learner.predict(x).probabilities.tobytes() == expected.tobytes()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_permissions_make_a_store_read_only(tmp_path: Path, what: str) -> None:
    """Without the right to write to the file, or to the folder that takes the log, the store is opened for reading."""
    folder = tmp_path / "media"
    folder.mkdir()
    path = folder / "device.db"
    make(path)
    target = path if what == "file" else folder
    target.chmod(0o444 if what == "file" else 0o555)
    try:
        if os.access(target, os.W_OK):
            pytest.skip("this user may write to everything")
        with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
            assert store.read_only
            assert store.count() == (40, 40)
    finally:
        target.chmod(0o755)


def test_what_a_power_cut_left_in_the_log_is_read(tmp_path: Path, read_only: Callable[[], None]) -> None:
    """A copy taken while the store was open holds its newest samples in the log; reading alone does not miss them."""
    path, copy = tmp_path / "device.db", tmp_path / "copy" / "device.db"
    make(path)
    copy.parent.mkdir()
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        store.add(np.zeros((1, WIDTH), np.uint8), [0], [b"x"], [None], [None])
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    read_only()
    with Store(copy, "f" * 64, WIDTH, ("bark", "moss")) as store:
        assert store.count() == (41, 41)


def test_a_folder_that_is_not_there_is_our_error(tmp_path: Path) -> None:
    """A path that SQLite cannot open gets our error with SQLite's reason and what to do."""
    for path in (tmp_path / "none" / "device.db", tmp_path):
        with pytest.raises(StoreError, match=r"expected a file that .* unable to open database file\. Make its folder"):
            use(path)
