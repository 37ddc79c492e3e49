"""Samples that come to a store, which may be bounded: which of them stay, and which stored ones give way."""

from collections.abc import Sequence

import numpy as np

from ...latent import Codes
from ...record import record
from . import bounds, census, class_table, erase, reservoir, samples, staging
from .connection import Connection
from .samples import Ids, NewSample


@record(eq=False)
class Admission:
    """What became of samples that were to be stored.

    Args:
        ids: ``(n,) int64``; -1 for a sample that a bounded store did not keep.
        evicted: ``(m,) int64`` ids of stored samples that gave way.
    """

    ids: Ids
    evicted: Ids


def admit(db: Connection, width: int, new: Sequence[NewSample], codes: Codes) -> Admission:
    """Store samples with their ``(n, width) uint8`` codes, inside a transaction. See `Store.admit`."""
    class_table.require(db, [sample.label for sample in new])
    if not bounds.bound_of(db):
        return Admission(np.array(samples.insert(db, new, codes), np.int64), np.empty(0, np.int64))
    chosen = make_room(db, width, new)
    kept = list(chosen.kept)
    staging.discard(db, [new[i].digest for i in sorted({*range(len(new))} - {*kept})])
    ids = np.full(len(new), -1, np.int64)
    ids[kept] = samples.insert(db, [new[i] for i in kept], codes[kept])
    return Admission(ids, np.array(chosen.evicted, np.int64))


def stage(db: Connection, width: int, digests: Sequence[bytes], codes: Codes) -> None:
    """Put as many codes aside as a bounded store has room for, inside a transaction. See `Store.stage`."""
    n, most = len(digests), bounds.bound_of(db)
    if most:
        n = max(bounds.room(db, width, [NewSample(None, digest, None, None) for digest in digests], most), 0)
    staging.stage(db, digests[:n], codes[:n])


def make_room(db: Connection, width: int, new: Sequence[NewSample]) -> reservoir.Plan:
    """Choose which new samples stay, and erase the stored ones that give way, inside a transaction; versions stay."""
    seen = erase.read_seen(db)
    arrivals = [reservoir.UNLABELLED if sample.label is None else sample.label for sample in new]
    room = bounds.room(db, width, new, bounds.bound_of(db))
    stored = census.ids_by_class(db) if room < len(new) else {}
    chosen = reservoir.plan(stored, seen, arrivals, room, db.count_setting("draws"))
    erase.drop_samples(db, chosen.evicted, evicting=True)
    if chosen.seen != seen:
        erase.write_seen(db, chosen.seen)
        db.set("draws", chosen.draws)
    return chosen


def limit(db: Connection, width: int, max_bytes: int) -> None:
    """Bound the file, inside a transaction; what is beyond the bound goes, and the file is to be shrunk after it."""
    db.set("max_bytes", max_bytes)
    if max_bytes and bounds.used(db, width) > max_bytes:
        bounds.drop_old_versions(db, width, max_bytes)
        make_room(db, width, [])
        db.run("DELETE FROM latents WHERE slot IN (SELECT slot FROM free)")
        db.run("DELETE FROM free")
        erase.request(db, compact=True)
