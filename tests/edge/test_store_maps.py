"""Maps in the store: behind the latent in the same slot, sealed with it, read only when asked for, erased with it."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from acclimate.edge.store.store import MIN_BYTES, Store
from acclimate.errors import InputError, StoreCorruptError, StoreMismatchError

from .stores import CLASSES, traces

LATENT, MAP = 32, 96
Open = Callable[..., Store]


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Open]:
    """A function that opens the store of this test with maps; all are closed afterwards."""
    stores: list[Store] = []

    def opened(**options: object) -> Store:
        folder = tmp_path / "device"
        folder.mkdir(exist_ok=True)
        stores.append(Store(folder / "device.db", "f" * 64, LATENT, CLASSES, **{"map_size": MAP, **options}))  # type: ignore[arg-type]
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


def put(store: Store, n: int = 10, seed: int = 0) -> np.ndarray:
    """Add samples, every third without a label; returns what was stored, ``(n, LATENT + MAP)``."""
    codes = np.random.default_rng(seed).integers(0, 256, (n, LATENT + MAP)).astype(np.uint8)
    digests = [store.digest(row) for row in codes]
    store.add(codes, [None if i % 3 == 2 else i % 2 for i in range(n)], digests, [None] * n, [None] * n)
    return codes


def test_latents_and_maps_come_back(opening: Open) -> None:
    """Whoever asks for latents gets these columns alone; maps come in the order asked for, after reopening too."""
    store = opening()
    codes = put(store)
    store.close()
    store = opening()
    assert store.width == LATENT + MAP
    labelled, rest = store.labelled(), store.unlabelled()
    assert labelled.codes.shape == (7, LATENT)
    np.testing.assert_array_equal(labelled.codes, codes[labelled.ids - 1, :LATENT])
    np.testing.assert_array_equal(rest.codes, codes[rest.ids - 1, :LATENT])
    wanted = [7, 2, 10]
    np.testing.assert_array_equal(store.samples(wanted).codes, codes[np.array(wanted) - 1, :LATENT])
    maps = store.maps(wanted)
    assert maps.dtype == np.uint8
    np.testing.assert_array_equal(maps, codes[np.array(wanted) - 1, LATENT:])
    assert store.maps([]).shape == (0, MAP)
    with pytest.raises(InputError, match="expected ids that observe"):
        store.maps([11])


def test_reading_latents_holds_no_maps(opening: Open) -> None:
    """What is returned is as large as the latents, and no window on more."""
    store = opening()
    put(store)
    codes = store.labelled().codes
    assert codes.base is None
    assert codes.nbytes == 7 * LATENT


@pytest.mark.parametrize("place", [LATENT - 1, LATENT, LATENT + MAP - 1])
def test_damage_in_either_part_is_told(opening: Open, tmp_path: Path, place: int) -> None:
    """One seal is over both, so that neither is read from a damaged row."""
    store = opening()
    put(store)
    store.close()
    connection = sqlite3.connect(tmp_path / "device" / "device.db")
    (content,) = connection.execute("SELECT codes FROM latents WHERE slot = 1").fetchone()
    damaged = bytearray(content)
    damaged[place] ^= 1
    connection.execute("UPDATE latents SET codes = ? WHERE slot = 1", (bytes(damaged),))
    connection.commit()
    connection.close()
    store = opening()
    for read in (store.maps, store.samples):
        with pytest.raises(StoreCorruptError, match="sample 1 is damaged"):
            read([1])
    assert len(store.maps([2])) == 1


def test_a_store_with_maps_is_not_one_without(opening: Open) -> None:
    """Slots of another size belong to another bundle."""
    put(opening())
    for other in (0, MAP + 1):
        with pytest.raises(StoreMismatchError, match="expected latents of backbone"):
            opening(map_size=other)


def test_maps_are_erased_and_evicted_with_their_samples(opening: Open, tmp_path: Path) -> None:
    """No byte of either is left in any file."""
    store = opening()
    codes = put(store, 40)
    assert store.erase(list(range(1, 41)))
    assert traces(tmp_path / "device", codes) == []
    assert store.count() == (0, 0)


def test_a_bound_counts_maps(opening: Open) -> None:
    """A bounded store keeps as many samples as fit with their maps, which is fewer."""
    kept = {}
    for size in (MAP, 20 * MAP):
        store = Store(None, "f" * 64, LATENT, CLASSES, max_bytes=MIN_BYTES, map_size=size)
        codes = np.random.default_rng(0).integers(0, 256, (3_000, LATENT + size)).astype(np.uint8)
        digests = [store.digest(row) for row in codes]
        ids = store.add(codes, [0] * 3_000, digests, [None] * 3_000, [None] * 3_000)
        stays = np.flatnonzero(ids > 0)
        kept[size] = len(stays)
        np.testing.assert_array_equal(store.maps(ids[stays]), codes[stays, LATENT:])
        store.close()
    assert 100 < kept[20 * MAP] < kept[MAP]


def test_maps_are_staged_too(opening: Open) -> None:
    """What was embedded before a kill is whole."""
    store = opening()
    codes = np.random.default_rng(3).integers(0, 256, (4, LATENT + MAP)).astype(np.uint8)
    digests = [store.digest(row) for row in codes]
    store.stage(digests, codes)
    found = store.staged(digests)
    np.testing.assert_array_equal([found[digest] for digest in digests], codes)
    ids = store.add(codes, [0] * 4, digests, [None] * 4, [None] * 4)
    np.testing.assert_array_equal(store.maps(ids), codes[:, LATENT:])
