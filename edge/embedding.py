"""From frames to codes that can be stored: each frame goes through the backbone once."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..latent import Codes
from ..record import record
from .checks import check_progress, check_texts
from .store.samples import Ids
from .store.store import Store
from .task_session import TaskSession

Progress = Callable[[int, int], None]
OnDuplicate = Literal["refuse", "skip", "relabel"]
# Seconds of embedding that a kill may cost: after as many, what is embedded is put aside in the store.
STAGE_SECONDS = 2.0


@record(eq=False)
class Embedded:
    """Frames of one call, embedded as far as they are not stored yet.

    Args:
        digests: What tells each frame from others.
        new: Places of the frames that are not stored yet, each once.
        stored: Sample ids of the others, by digest.
        codes: ``(m, width) uint8`` of the new ones, as the store takes them.
        keys: Key of every frame, or None.
        tags: Tag of every frame, or None.
    """

    digests: list[bytes]
    new: list[int]
    stored: dict[bytes, int]
    codes: Codes
    keys: list[str | None]
    tags: list[str | None]

    @property
    def again(self) -> list[int]:
        """Places of the frames that were stored before the call."""
        return [i for i, digest in enumerate(self.digests) if digest in self.stored]

    def add(self, store: Store, classes: Sequence[int | None]) -> Ids:
        """Store what is new.

        Args:
            store: Inside a transaction, or not.
            classes: Class id of each new frame, or None.

        Returns:
            ``(n,)`` ids of all frames of the call; -1 for one that a bounded store did not keep, stored before or not.
        """
        digests = [self.digests[i] for i in self.new]
        admitted = store.admit(
            self.codes, classes, digests, [self.keys[i] for i in self.new], [self.tags[i] for i in self.new]
        )
        places = dict(zip(digests, admitted.ids.tolist(), strict=True)) | self.stored
        ids = np.array([places[digest] for digest in self.digests], np.int64)
        ids[np.isin(ids, admitted.evicted)] = -1
        return ids


def embed_new(
    session: TaskSession[Any],
    checked: NDArray[np.generic],
    tags: Sequence[str | None] | None,
    keys: Sequence[str | None] | None,
    on_duplicate: OnDuplicate,
    progress: Progress | None,
) -> Embedded:
    """Embed the frames that are not stored yet. A call that is made again embeds nothing twice.

    Args:
        session: The opened bundle.
        checked: ``(n, *shape)`` frames, checked.
        tags: As for `Learner.observe`.
        keys: As for `Learner.observe`.
        on_duplicate: As for `Learner.observe`.
        progress: Called with the number of new frames done and of all.

    Returns:
        The frames.

    Raises:
        InputError: If tags, keys or the callback do not fit.
        DuplicateSampleError: If a frame is stored already, or occurs twice, and that is refused.
    """
    if on_duplicate not in ("refuse", "skip", "relabel"):
        raise InputError(f"expected on_duplicate to be 'refuse', 'skip' or 'relabel', found {on_duplicate!r}.")
    check_progress(progress)
    store, n = session.store, len(checked)
    some_tags, some_keys = check_texts(tags, n, "tags"), check_texts(keys, n, "keys")
    digests = [store.digest(frame) for frame in checked]
    new, stored = store.unstored(digests, refuse=on_duplicate == "refuse")
    codes = np.empty((len(new), store.width), np.uint8)
    before = store.staged([digests[i] for i in new]) if store.staging else {}
    for row, i in enumerate(new):
        if digests[i] in before:
            codes[row] = before[digests[i]]
    left = [row for row, i in enumerate(new) if digests[i] not in before]
    done, begun, put_aside = len(new) - len(left), time.monotonic(), 0
    for start in range(0, len(left), session.batch):
        rows = left[start : start + session.batch]
        # Without duplicates the frames of a batch lie side by side, and need no copy.
        chunk = checked[rows[0] : rows[0] + len(rows)] if len(left) == n else checked[[new[row] for row in rows]]
        codes[rows] = session.codes(chunk)
        done += len(rows)
        if time.monotonic() - begun > STAGE_SECONDS and done < len(new) and not store.read_only:
            fresh = left[put_aside : start + len(rows)]
            store.stage([digests[new[row]] for row in fresh], codes[fresh])
            begun, put_aside = time.monotonic(), start + len(rows)
        if progress is not None:
            progress(done, len(new))
    return Embedded(digests, new, stored, codes, some_keys, some_tags)
