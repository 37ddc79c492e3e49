"""Frames with the names of classes, from an application to the store."""

from collections.abc import Sequence

from numpy.typing import ArrayLike

from ..errors import LabelError
from .checks import Labels, check_frames, check_labels
from .embedding import OnDuplicate, Progress, embed_new
from .head import Ids
from .session import Session
from .store.store import Store


def observe(
    session: Session,
    frames: ArrayLike,
    labels: Labels | None,
    tags: Sequence[str | None] | None,
    keys: Sequence[str | None] | None,
    on_duplicate: OnDuplicate,
    progress: Progress | None,
    *,
    refuse: bool,
) -> Ids:
    """Check, embed and store frames. See `Learner.observe`; `refuse` is whether new classes are refused."""
    store = session.store
    checked = check_frames(frames, session.bundle.manifest.input)
    n = len(checked)
    names = check_labels([None] * n if labels is None else labels, n)
    if refuse:
        check_known(store, names)
    found = embed_new(session, checked, tags, keys, on_duplicate, progress)
    again = [i for i in found.again if on_duplicate == "relabel" and names[i] is not None]
    with store.transaction():
        classes = class_ids(store, [names[i] for i in found.new + again])
        # First, since stored samples may give way for those that are new.
        store.label([found.stored[found.digests[i]] for i in again], classes[len(found.new) :])
        return found.add(store, classes[: len(found.new)])


def check_known(store: Store, names: Sequence[str | None]) -> None:
    """Check that every label names a class that is there.

    Raises:
        LabelError: If one does not.
    """
    known = set(store.classes().values())
    unknown = sorted({name for name in names if name is not None and name not in known})
    if unknown:
        raise LabelError(
            f"expected labels among the classes {sorted(known)[:20]}, found {unknown[:5]}. "
            f"Correct them, or open with new_classes='add'."
        )


def class_ids(store: Store, names: Sequence[str | None]) -> list[int | None]:
    """Return the class id of every label, adding classes that are not there yet."""
    store.add_classes(list(dict.fromkeys(name for name in names if name is not None)))
    ids = {name: number for number, name in store.classes().items()}
    return [None if name is None else ids[name] for name in names]
