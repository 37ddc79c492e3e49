"""A class that is not what was stored is named, and no wrong name is ever predicted."""

import sqlite3
import zlib
from pathlib import Path
from types import ModuleType

import pytest

from acclimate.edge import Learner
from acclimate.edge.store.class_table import row_seal
from acclimate.edge.store.store import Store
from acclimate.errors import StoreCorruptError

from .damage import make, use
from .stores import WIDTH


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
