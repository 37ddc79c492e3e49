"""`Regressor.save_update` and `apply_update`: a regression head carried from device to device."""

import os
import time

import numpy as np

from ...bundle import LinearLayer
from ...errors import InputError, UpdateMismatchError
from ...key_files import PrivateKeySource
from ...update import Base, Update, read_update
from ..updating import give_update, take_update
from .head import RegressionHead
from .task import RegressionSession


def save_update(
    session: RegressionSession,
    path: str | os.PathLike[str],
    key: PrivateKeySource | None,
    number: int | None,
    *,
    overwrite: bool,
) -> int:
    """Write the head in use as an update. See `Regressor.save_update`."""
    now = session.in_use()
    if now is None:
        raise InputError("expected a head to save, found none: observe labelled samples and adapt() first.")
    base, created = Base.of(session.bundle, session.runtime), max(int(time.time()), 0)
    update = Update(
        variant=base.variant,
        # Seconds since 1970 order the updates of a fleet, and never fall behind what was applied here.
        number=max(created, session.store.newest_update + 1) if number is None else number,
        classes=now.names,
        weight=now.head.layer.weight,
        bias=now.head.layer.bias,
        created=created,
    )
    return give_update(session, path, update, base, now.version, key, overwrite=overwrite)


def apply_update(session: RegressionSession, path: str | os.PathLike[str]) -> int:
    """Use the head of an update. See `Regressor.apply_update`."""
    base = Base.of(session.bundle, session.runtime)
    update = read_update(path, base, trusted=session.trusted)
    names = session.bundle.manifest.classes
    if sorted(update.classes) != sorted(names):
        raise UpdateMismatchError(
            f"expected an update with a row for each of the targets {list(names)[:10]}, found "
            f"{list(update.classes)[:10]}. Use it with the bundle it was made with."
        )
    order = np.array([update.classes.index(name) for name in names])
    head = RegressionHead(LinearLayer(update.weight[order], update.bias[order]))
    return take_update(session, update, base.variant, head.to_bytes)
