"""`Learner.save_update` and `apply_update`: a head carried from device to device as a few kilobytes."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..bundle import LinearLayer
from ..errors import InputError, UpdateMismatchError
from ..files import new_file
from ..key_files import PrivateKeySource
from ..update import Base, Update, check_update, read_update, typical_latent, write_update
from .head import LinearHead
from .heads.problem import ABSENT
from .observing import class_ids
from .session import Session
from .task_session import TaskSession


def save_update(
    session: Session,
    path: str | os.PathLike[str],
    key: PrivateKeySource | None,
    number: int | None,
    *,
    overwrite: bool,
) -> int:
    """Write the head in use as an update. See `Learner.save_update`."""
    now = session.in_use()
    if now is None:
        raise InputError("expected a head to save, found none: observe labelled samples and adapt() first.")
    if now.tail is not None:
        raise InputError(
            f"expected a head to save, found that version {now.version} is a trained tail: an update holds the rows of "
            f"a head only. Adapt with tail=False and save that, or export() the whole model."
        )
    store, base = session.store, Base.of(session.bundle, session.runtime)
    created, known = max(int(time.time()), 0), now.head.layer.bias > ABSENT
    # The names of that head, whatever another process calls its classes by now.
    columns = np.arange(len(known)) if now.head.columns is None else now.head.columns
    update = Update(
        variant=base.variant,
        # Seconds since 1970 order the updates of a fleet, and never fall behind what was applied here.
        number=max(created, store.newest_update + 1) if number is None else number,
        classes=tuple(now.names[int(i)] for i in columns[known]),
        weight=now.head.layer.weight[known],
        bias=now.head.layer.bias[known],
        created=created,
    )
    return give_update(session, path, update, base, now.version, key, overwrite=overwrite)


def give_update(
    session: TaskSession[Any],
    path: str | os.PathLike[str],
    update: Update,
    base: Base,
    version: int,
    key: PrivateKeySource | None,
    *,
    overwrite: bool,
) -> int:
    """Write an update, and remember what its head was trained on, in case it comes back.

    Args:
        session: The opened bundle.
        path: Where to write.
        update: The update.
        base: What the bundle ships.
        version: The version whose head it is; 0 for the shipped one.
        key: Private key to sign with, or None.
        overwrite: Replace a file that is there.

    Returns:
        The update's number.

    Raises:
        StoreBusyError: If another process writes to the store for longer than its timeout; no file is written.
    """
    centre = typical_latent(session.bundle, session.runtime)
    # The file gets its name last: none is there that is not remembered.
    with new_file(path, overwrite=overwrite) as part:
        write_update(part, update, base, centre=centre, key=key)
        # On a medium that cannot be written there is nothing to forget either.
        if version and not session.store.read_only:
            session.store.remember_saved(digest_of(read_update(part, base)), version)
    return update.number


def digest_of(update: Update) -> bytes:
    """Return the SHA-256 over the rows of an update as it was read, whatever its number, order, names and signature."""
    rows = np.concatenate([update.weight, update.bias[:, None]], axis=1).astype("<f4")
    return hashlib.sha256(b"".join(sorted(row.tobytes() for row in rows))).digest()


def apply_update(session: Session, path: str | os.PathLike[str], *, refuse: bool) -> int:
    """Use the head of an update. See `Learner.apply_update`; `refuse` is whether new classes are refused."""
    base = Base.of(session.bundle, session.runtime)
    update = read_update(path, base, trusted=session.trusted)

    def head() -> bytes:
        classes = np.array(_classes_of(session, update, refuse=refuse), np.int64)
        order = np.argsort(classes, kind="stable")
        return LinearHead(LinearLayer(update.weight[order], update.bias[order]), classes[order]).to_bytes()

    return take_update(session, update, base.variant, head)


def _classes_of(session: Session, update: Update, *, refuse: bool) -> list[int]:
    """Return the class id of each row of an update, adding classes that are new, inside a transaction.

    A name means the class that has it now, else the one that was shipped under it, whatever has become of that:
    renamed, it keeps its new name; merged or removed, it stays so, as with the shipped head.

    Raises:
        UpdateMismatchError: If one is new and new ones are refused, or none of them is left here.
    """
    store = session.store
    ids = {name: number for number, name in store.classes().items()}
    own = {ids[name] for name in update.classes if name in ids}
    shipped = {name: i for i, name in enumerate(session.bundle.manifest.classes) if i not in own}
    new = [name for name in update.classes if name not in ids and name not in shipped]
    if refuse and new:
        raise UpdateMismatchError(
            f"expected an update for the classes {sorted(ids)[:20]}, since new ones are refused, found {new[:5]} in "
            f"update {update.number}. Open with new_classes='add' to take them in."
        )
    found = [int(number) for number in class_ids(store, new) if number is not None]
    ids = shipped | ids | dict(zip(new, found, strict=True))
    numbers = [ids[name] for name in update.classes]
    if not set(numbers) & store.present().keys():
        raise UpdateMismatchError(
            f"expected an update for a class that is here, found {list(update.classes)[:5]} in update {update.number}, "
            f"which were removed. Add a class of that name to take it in."
        )
    return numbers


def take_update(session: TaskSession[Any], update: Update, variant: str, head: Callable[[], bytes]) -> int:
    """Store an update's head as a version and use it, unless the update is not newer than the last one.

    Args:
        session: The opened bundle.
        update: The update, as read.
        variant: Hash of the variant in use.
        head: Makes the head's bytes, in the transaction that stores them.

    Returns:
        The number of the new version.

    Raises:
        UpdateReplayError: If it is not newer.
        UpdateMismatchError: If its head was trained here, on samples that were forgotten since.
    """
    store, digest = session.store, digest_of(update)
    with session.adapting:
        with store.transaction():
            check_update(update, variant_hash=variant, newest=store.newest_update)
            signed = f", signed by {update.signed_by[:12]}..." if update.signed_by else ""
            note = f": {update.note}" if update.note else ""
            kept = json.dumps({"summary": f"update {update.number}{signed}{note}"})
            own = store.saved(digest)
            if own is not None and own.forgotten:
                raise UpdateMismatchError(
                    f"expected an update that was trained on nothing that was forgotten here, found {update.number}, "
                    f"which was saved here before samples of it were forgotten. Delete it, and save another one."
                )
            # What comes from elsewhere is trained on no sample here, so that forgetting leaves it.
            trained = np.empty(0, np.int64) if own is None else own.samples
            version = store.add_version(kept, head(), samples=trained)
            store.newest_update = update.number
        session.in_use()
    return version
