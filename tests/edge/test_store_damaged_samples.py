"""A sample that is not what was stored is named, and never reaches a head."""

import shutil
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from acclimate.edge.store.sample_rows import sample_seal
from acclimate.edge.store.store import Store
from acclimate.errors import StoreCorruptError

from .damage import make, use
from .stores import WIDTH


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
