"""The local store: samples as 8-bit latents, classes and versions, in one SQLite file."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, StoreError
from ...latent import Codes
from ..regression import targets
from . import admission, bounds, census, class_changes, class_table, erase, founding, samples, saved, staging, versions
from .admission import Admission
from .bounds import MIN_BYTES, check_bound
from .connection import Connection
from .kept import Kept, count, flag
from .samples import Ids, NewSample, StoredSamples
from .saved import Saved
from .versions import StoredVersion

__all__ = ["MIN_BYTES", "Admission", "Ids", "Saved", "Store", "StoredSamples", "StoredVersion", "check_bound"]


class Store:
    """An opened store.

    Args:
        path: The file, made if it is not there; None keeps everything in memory.
        variant: Hash of the backbone that the latents come from.
        width: Number of dimensions of a latent.
        classes: Names of the shipped classes, which get the ids 0, 1, ...
        timeout: Seconds to wait while another process writes.
        max_bytes: As for `limit`, with infinity for no bound; None leaves the bound as it is.
        map_size: Number of codes of a sample's map, which are stored behind those of its latent; 0 without maps.

    Raises:
        StoreMismatchError: If it holds latents of another backbone.
        StoreVersionError: If a newer version of Acclimate wrote it.
        StoreCorruptError: If it is not a store, or damaged.
        StoreBusyError: If another process writes for longer than `timeout`.
    """

    # The version in use, 0 for the shipped head; whether it was erased and no other has taken its place; and the number
    # of the newest update that was applied, 0 for none.
    current = Kept(lambda db: db.count_setting("current"), versions.use)
    refit_pending, newest_update = flag("refit"), count("newest_update")

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        variant: str,
        width: int,
        classes: Sequence[str],
        timeout: float = 5.0,
        max_bytes: float | None = None,
        map_size: int = 0,
    ) -> None:
        self._db, self._latent, self._width = Connection(path, timeout), width, width + map_size
        self.name, self.read_only = self._db.name, self._db.read_only
        try:
            founding.prepare(self._db, variant, self._width, classes)
            self._salt = founding.salt(self._db)
            if not self.read_only:
                staging.expire(self._db)
                erase.finish(self._db, 0)
                if max_bytes is not None and max_bytes != (self._db.setting("max_bytes") or math.inf):
                    self.limit(max_bytes)
        except BaseException:
            self._db.close()
            raise

    @property
    def connection(self) -> Connection:
        """The open database, for the parts of the store."""
        return self._db

    @property
    def width(self) -> int:
        """Number of codes, a byte each, of a stored sample: its latent's, and behind them its map's."""
        return self._width

    def admit(
        self,
        codes: Codes,
        classes: Sequence[int | None],
        digests: Sequence[bytes],
        keys: Sequence[str | None],
        tags: Sequence[str | None],
    ) -> Admission:
        """Store samples in one transaction: all of them or none, but for those that a bounded store has no room for.

        Args:
            codes: ``(n, width) uint8``.
            classes: A class id or None per sample.
            digests: `digest` of every raw input.
            keys: The application's own names for the samples.
            tags: Groups to forget by, for example a person.

        Returns:
            The ids, and which stored samples gave way. Those are erased as by `erase`; versions stay.

        Raises:
            DuplicateSampleError: If a digest is stored already, or twice in the call.
            InputError: If there is no such class.
        """
        new = [NewSample(*row) for row in zip(classes, digests, keys, tags, strict=True)]
        with self.transaction():
            return admission.admit(self._db, self._width, new, codes)

    def add(
        self,
        codes: Codes,
        classes: Sequence[int | None],
        digests: Sequence[bytes],
        keys: Sequence[str | None],
        tags: Sequence[str | None],
    ) -> Ids:
        """Store samples as `admit` does, and return their ``(n,) int64`` ids; -1 for one that was not kept."""
        return self.admit(codes, classes, digests, keys, tags).ids

    def digest(self, frame: NDArray[np.generic]) -> bytes:
        """Return 16 bytes that tell equal inputs; keyed by the store, so that they identify nothing outside of it."""
        return samples.digest(self._salt, frame)

    def unstored(self, digests: Sequence[bytes], *, refuse: bool) -> tuple[list[int], dict[bytes, int]]:
        """Tell inputs that are not stored yet from those that are.

        Args:
            digests: `digest` of every raw input.
            refuse: Whether an input that is stored already, or occurs twice, is an error.

        Returns:
            The places of the new inputs, each once, and the sample ids of the others by digest.

        Raises:
            DuplicateSampleError: If `refuse` is true and there is one.
        """
        return samples.unstored(self._db, digests, refuse=refuse)

    def stage(self, digests: Sequence[bytes], codes: Codes) -> None:
        """Put codes of inputs aside until they are added; as many of them as a bounded store has room for."""
        with self.transaction():
            admission.stage(self._db, self._width, digests, codes)

    def staged(self, digests: Sequence[bytes]) -> dict[bytes, NDArray[np.uint8]]:
        """Return the ``(width,) uint8`` codes of those inputs that are staged, by digest."""
        return staging.staged(self._db, self._width, digests)

    @property
    def staging(self) -> bool:
        """Whether anything is staged."""
        return bool(self._db.number("SELECT EXISTS (SELECT 1 FROM staged)"))

    def label(self, ids: Sequence[int], classes: Sequence[int | None]) -> None:
        """Set the class of samples; None takes it away. Raises InputError if a sample or class is not there."""
        with self.transaction():
            class_changes.label(self._db, ids, classes)

    def labelled(self) -> StoredSamples:
        """Return every labelled sample, in the order of the ids; raises StoreCorruptError for a damaged one."""
        return samples.read_where(self._db, self._width, self._latent, "s.class IS NOT NULL")

    def set_targets(self, ids: Sequence[int] | Ids, values: targets.Float64) -> None:
        """Label stored samples with ``(n, t)`` numbers; NaN takes them away. Raises InputError for an unknown id."""
        with self.transaction():
            targets.write(self._db, [int(i) for i in ids], values)

    def measured(self, count: int) -> tuple[StoredSamples, targets.Float64]:
        """Return every sample with targets, in the order of the ids, and its ``(n, t)`` targets.

        Args:
            count: Number of targets.

        Raises:
            StoreCorruptError: If a row does not hold what was stored.
        """
        with self._db.reading():
            found = samples.read_where(self._db, self._width, self._latent, "s.target IS NOT NULL")
            return found, targets.read(self._db, count)

    def unlabelled(self) -> StoredSamples:
        """Return every sample without a label, in the order of the ids; raises as `labelled`."""
        return samples.read_where(self._db, self._width, self._latent, "s.class IS NULL AND s.target IS NULL")

    def samples(self, ids: Sequence[int] | Ids) -> StoredSamples:
        """Return samples in the order asked for.

        Raises:
            InputError: If an id is not stored.
            StoreCorruptError: If a row does not hold the latent that was stored.
        """
        return samples.read_ids(self._db, self._width, self._latent, [int(i) for i in ids])

    def maps(self, ids: Sequence[int] | Ids) -> Codes:
        """Return the map codes ``(n, map_size) uint8`` of samples in the order asked for; raises as `samples`.

        A map is large beside a latent: ask for a batch of samples at a time.
        """
        return samples.read_maps(self._db, self._width, self._latent, [int(i) for i in ids])

    def ids(self) -> Ids:
        """Return the ids of all samples, ascending."""
        return samples.find(self._db, None, None, None)

    def find(self, label_id: int | None = None, tag: str | None = None, key: str | None = None) -> Ids:
        """Return the ids of the samples that have all of what is given, ascending.

        Raises:
            InputError: If nothing is given.
        """
        if label_id is None and tag is None and key is None:
            raise InputError("expected a class, a tag or a key to look for, found none of them.")
        return samples.find(self._db, label_id, tag, key)

    def keys_of(self, ids: Sequence[int] | Ids) -> list[str | None]:
        """Return the keys of samples; raises InputError for an id that is not stored."""
        return samples.keys(self._db, [int(i) for i in ids])

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one state of the store throughout, whatever others write meanwhile."""
        with self._db.reading():
            yield

    def count(self) -> tuple[int, int]:
        """Return how many samples are stored, and how many of them are labelled."""
        return census.count(self._db)

    def holds(self, ids: Sequence[int] | Ids) -> bool:
        """Return whether every one of some samples is stored; much cheaper than `ids` for ids in long runs."""
        return census.holds(self._db, np.asarray(ids, np.int64))

    def erase(self, ids: Sequence[int] | Ids) -> bool:
        """Erase samples, everything staged, and each version that was trained on one of the samples.

        Versions that were trained on samples which were evicted since go too: whose these were cannot be told any more.
        If the current version goes, version 0 is current and `refit_pending` is set.

        Args:
            ids: Sample ids; those that are gone already are passed over.

        Returns:
            Whether no byte of them is left in the files. False if another process reads an older state for longer than
            the timeout: then `erase_pending`, and the next change, closing or opening goes on with it.

        Raises:
            InputError: If an id was never given to a sample.
        """
        with self._db.transaction():
            erase.erase(self._db, [int(i) for i in ids])
        return erase.finish(self._db, self._db.timeout)

    @property
    def erase_pending(self) -> bool:
        """Whether something that was erased may still be in the files."""
        return erase.pending(self._db)

    def limit(self, max_bytes: float | None) -> None:
        """Bound the size of the file, durably; samples beyond it are evicted now, and the file shrinks.

        Where room is needed, a sample of the largest class gives way, chosen so that each that the class was ever given
        had the same chance to stay; samples without a label count as one class. See `reservoir.py`.

        Args:
            max_bytes: The bound in bytes, without the write-ahead log of about a megabyte; None or infinity for none.

        Raises:
            InputError: If it is below a megabyte.
        """
        check_bound(max_bytes)
        with self.transaction():
            admission.limit(self._db, self._width, 0 if max_bytes is None or max_bytes == math.inf else int(max_bytes))
        erase.finish(self._db, self._db.timeout)

    @property
    def max_bytes(self) -> int | None:
        """The bound of the file in bytes, or None."""
        return bounds.bound_of(self._db) or None

    def classes(self) -> dict[int, str]:
        """Return the name of every class that is there, frozen ones too, by id."""
        return class_table.names(self._db)

    def present(self) -> dict[int, int]:
        """Return what each class id stands for now: itself, or what it was merged into; removed ones are missing."""
        return class_table.become(self._db)

    def shipped_classes(self) -> Ids:
        """Return ``(rows,) int64``: the class id that each shipped class stands for now, -1 if it is removed."""
        return class_table.of_shipped(self._db)

    def frozen_classes(self) -> frozenset[int]:
        """Return the ids of the frozen classes."""
        return class_table.frozen(self._db)

    def add_classes(self, names: Sequence[str]) -> None:
        """Add classes that are not there yet; they get the next ids in order. Ids are never used again."""
        with self.transaction():
            class_table.add(self._db, names)

    def rename_class(self, class_id: int, name: str) -> None:
        """Give a class another name; raises InputError if there is no such class, or another one has the name."""
        with self.transaction():
            class_table.rename(self._db, class_id, name)

    def set_frozen(self, class_id: int, frozen: bool) -> None:
        """Freeze a class, or learn it again; raises InputError if there is no such class."""
        with self.transaction():
            class_table.set_frozen(self._db, class_id, frozen)

    def merge_classes(self, ids: Sequence[int], into: int) -> None:
        """Give the samples of classes to another one, and remove the emptied ones; InputError if one is not there."""
        with self.transaction():
            class_changes.merge(self._db, ids, into)

    def remove_class(self, class_id: int, forget: bool) -> bool:
        """Remove a class; its id and that it was shipped stay known, its name does not.

        Args:
            class_id: The class.
            forget: Whether its samples are erased, and its name is taken out of the reports of the versions that stay;
                else its samples lose their label.

        Returns:
            As `erase`.

        Raises:
            InputError: If there is no such class.
        """
        with self._db.transaction():
            class_changes.remove(self._db, class_id, forget=forget)
        return erase.finish(self._db, self._db.timeout)

    def add_version(self, report: str, head: bytes, samples: Ids | bytes | None = None) -> int:
        """Store a version and make it the current one, in one transaction.

        The newest 20 are kept; in a bounded store as many of them as there is room for.

        Args:
            report: JSON text.
            head: The head's weights.
            samples: ``(n,)`` ids of the samples that it was trained on, or `Saved.samples`; None if that is not known,
                so that any erasing takes it along.

        Returns:
            Its number, which no other version ever has.
        """
        with self.transaction():
            number = versions.insert(self._db, report, head, samples)
            if self.max_bytes is not None:
                bounds.drop_old_versions(self._db, self._width, self.max_bytes)
        return number

    def versions(self) -> list[StoredVersion]:
        """Return every version, oldest first, whether intact or not."""
        return versions.read_all(self._db)

    def version(self, number: int) -> StoredVersion:
        """Return one version; raises StoreCorruptError if it is not there, or damaged."""
        return versions.require(self._db, number)

    def trail(self) -> list[int]:
        """Return the versions that were in use, oldest first, without those gone back from, or erased since."""
        return versions.trail(self._db)

    def remember_saved(self, digest: bytes, number: int) -> None:
        """Write down what a version is trained on whose head is saved as an update; its digest tells the weights."""
        with self.transaction():
            saved.remember(self._db, digest, number)

    def saved(self, digest: bytes) -> Saved | None:
        """Return what is known of a head that was saved here; None for one from elsewhere."""
        return saved.find(self._db, digest)

    @property
    def conformed(self) -> str:
        """Description of the runtime whose outputs were last checked against the bundle's, or an empty string."""
        return str(self._db.setting("conformed"))

    @conformed.setter
    def conformed(self, description: str) -> None:
        if not self.read_only:
            with self.transaction():
                self._db.set("conformed", description)

    def stamp(self, within: float = 0.0) -> tuple[int, int]:
        """Return a value that changes when anybody has changed the store; others may be some seconds ahead of it."""
        return self._db.stamp(within)

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        if not self.read_only:
            with suppress(StoreError):
                erase.finish(self._db, 0)
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run statements all or none, durable on return. Inside another transaction it joins that one."""
        with self._db.transaction():
            yield
        if not self._db.in_transaction:
            # Evictions, and what a reader stood in the way of before. Whoever is in the way now does not hold this up.
            erase.finish(self._db, 0)
