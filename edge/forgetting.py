"""Forgetting samples: exactly, and to the last byte."""

from collections.abc import Sequence
from typing import Any

from ..errors import InputError, LabelError
from .checks import check_ids, check_name, check_texts
from .head import Ids
from .results import Forgotten
from .task_session import TaskSession


def forget(
    session: TaskSession[Any], ids: Sequence[int] | Ids | None = None, label: str | None = None, tag: str | None = None
) -> Forgotten:
    """Erase samples and every version that was trained on one of them. See `Learner.forget`.

    What replaces a head that is gone is fitted when it is first needed (`TaskSession.in_use`): forgetting one sample
    after another costs one fit.
    """
    given = [name for name, value in (("ids", ids), ("label", label), ("tag", tag)) if value is not None]
    if len(given) != 1:
        raise InputError(f"expected one of ids, label and tag, found {' and '.join(given) or 'none'}.")
    store = session.store
    with session.adapting:
        chosen = _chosen(session, ids, label, tag)
        before = len(store.versions())
        erased = store.erase(chosen) if len(chosen) else not store.erase_pending
        return Forgotten(len(chosen), before - len(store.versions()), erased)


def _chosen(
    session: TaskSession[Any], ids: Sequence[int] | Ids | None, label: str | None, tag: str | None
) -> list[int]:
    store = session.store
    if ids is not None:
        wanted = list(dict.fromkeys(check_ids(ids)))
        if not store.holds(wanted):
            stored = set(store.ids().tolist())
            missing = [i for i in wanted if i not in stored]
            raise InputError(f"expected ids that are stored, found {missing[:5]}. Nothing was forgotten.")
        return wanted
    if label is not None:
        number = {name: i for i, name in store.classes().items()}.get(check_name(label))
        if number is None:
            known = list(store.classes().values())
            raise LabelError(f"expected one of the classes {known[:20]}, found {label!r}. Nothing was forgotten.")
        return [int(i) for i in store.find(label_id=number)]
    (text,) = check_texts([tag], 1, "tags")
    return [int(i) for i in store.find(tag=text)]
