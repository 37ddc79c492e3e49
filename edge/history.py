"""The versions of a learner's head: what there is, and the way back."""

from typing import Any

import numpy as np

from ..errors import InputError, StoreCorruptError
from .results import Version
from .task_session import TaskSession


def history(session: TaskSession[Any]) -> list[Version]:
    """Return every version, oldest first; number 0 is the shipped head."""
    store = session.store
    current = store.current
    shipped = "no head was shipped" if session.shipped_head is None else "as shipped"
    entries = [Version(0, current == 0, 0.0, shipped)]
    for stored in store.versions():
        try:
            summary = str(session.kept(stored).get("summary", ""))
        except StoreCorruptError as error:
            summary = f"damaged: {error}"
        entries.append(Version(stored.id, stored.id == current, stored.time, summary))
    return entries


def rollback(session: TaskSession[Any], number: int | None) -> int:
    """Use an earlier version again. See `Learner.rollback`."""
    with session.adapting:
        # A refit that forgetting left to do would take the place of what is chosen here.
        session.in_use()
        # No other process may forget the version between looking and choosing.
        with session.store.transaction():
            numbers = [version.number for version in history(session)]
            current = session.store.current
            earlier = [n for n in numbers if n < current]
            if number is None and not earlier:
                raise InputError("expected an earlier version to roll back to, found that the shipped head is in use.")
            target = earlier[-1] if number is None else number
            if isinstance(target, bool) or not isinstance(target, int | np.integer) or target not in numbers:
                raise InputError(f"expected one of the versions {numbers}, found {number!r}. See versions().")
            # Read before it is made the current one: a damaged version must not be rolled back to.
            session.load(int(target))
            session.store.current = int(target)
        session.in_use()
        return int(target)
