"""The versions of a learner's head: what there is, and the way back."""

from typing import Any

import numpy as np

from ..errors import InputError, StoreCorruptError
from .results import Version
from .store.store import StoredVersion
from .task_session import TaskSession


def history(session: TaskSession[Any]) -> list[Version]:
    """Return every version, oldest first; number 0 is the shipped head. In use is what is served."""
    store = session.store
    current, found = store.current, store.versions()
    if any(stored.id == current and not stored.intact for stored in found):
        serving = session.in_use()
        current = 0 if serving is None else serving.version
    shipped = "no head was shipped" if session.shipped_head is None else "as shipped"
    return [Version(0, current == 0, 0.0, shipped)] + [
        Version(stored.id, stored.id == current, stored.time, _summary(session, stored)) for stored in found
    ]


def _summary(session: TaskSession[Any], stored: StoredVersion) -> str:
    try:
        if not stored.intact:
            return "damaged: it is not what was stored, and an earlier version serves in its place"
        return str(session.kept(stored).get("summary", ""))
    except StoreCorruptError as error:
        return f"damaged: {error}"


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
