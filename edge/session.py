"""What an opened learner works with, where the task is classification."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreCorruptError
from ..manifest import Task
from ..record import record
from .head import Float32, LinearHead
from .results import Prediction
from .runtime.runtime import RuntimeChoice
from .task_session import DAMAGED, TaskSession, open_task
from .unknown.novelty import Novelty

if TYPE_CHECKING:
    from ..key_files import PublicKeySource
    from .store.samples import StoredSamples
    from .tail.served import ServedTail


@record(eq=False)
class InUse:
    """The head in use.

    Args:
        version: Its number; 0 is the shipped head.
        head: The head; where there is a tail, the best head beside it, which does not predict.
        names: Names of its classes, in the order of the columns of its probabilities.
        array: The same as an array, which `predict` indexes.
        tail: What predicts in the head's place, from maps; None where the head does.
    """

    version: int
    head: LinearHead
    names: tuple[str, ...]
    array: NDArray[np.str_]
    tail: "ServedTail | None" = None

    def predict_frames(self, session: "Session", frames: NDArray[np.generic]) -> Prediction:
        """Classify checked frames."""
        if self.tail is None:
            return self.predict(session.latents(frames))
        probabilities, unknown = self.tail.look(session, frames)
        return Prediction(self.array[probabilities.argmax(axis=1)], probabilities, self.names, unknown)

    def of_stored(self, session: "Session", samples: "StoredSamples") -> Float32:
        """Return ``(n, k) float32`` probabilities for stored samples."""
        if self.tail is None:
            return self.head.probabilities(session.code.decode(samples.codes))
        return self.tail.of_stored(samples.ids)

    def predict(self, latents: Float32) -> Prediction:
        """Classify ``(n, d) float32`` latents by the head."""
        head, novelty = self.head, self.head.novelty
        if len(latents) == 1:
            latent = latents[0]
            row = head.probabilities_of_one(latent)
            unlike = novelty is not None and novelty.score(latent) > novelty.threshold
            return Prediction(self.array.take((row.argmax(),)), row[np.newaxis], self.names, np.array((unlike,)))
        probabilities = head.probabilities(latents)
        unknown = np.zeros(len(latents), np.bool_) if novelty is None else novelty.unknown(latents)
        return Prediction(self.array[probabilities.argmax(axis=1)], probabilities, self.names, unknown)


Session = TaskSession[InUse]
# What the names of a tail's arrays begin with in the bytes of a version; the names stand at the beginning.
_TAIL, _MOST_NAMES = b'"tail.', 2**20


def has_tail(content: bytes) -> bool:
    """Tell whether the bytes of a version are those of a tail, without reading them."""
    return _TAIL in content[8 : 8 + min(int.from_bytes(content[:8], "little"), _MOST_NAMES)]


class Classification:
    """How heads of classes are read and refitted. See `task_session.Serving`."""

    task: ClassVar[Task] = "classification"

    def load(self, session: "Session", number: int) -> InUse | None:
        """Read a version's head, without the rows of removed classes; None for number 0 where none was shipped."""
        tail: ServedTail | None = None
        if number == 0:
            if session.shipped_head is None:
                return None
            arrays = session.bundle.novelty(session.runtime)
            novelty = None if arrays is None else Novelty.from_arrays(arrays, session.bundle.path.name)
            head = LinearHead(session.shipped_head, np.arange(len(session.shipped_head.bias)), novelty=novelty)
        else:
            content, where = session.store.version(number).head, f"{session.store.name}: version {number}"
            if has_tail(content):
                from .tail.served import open_tail

                tail = open_tail(session, where, content)
                head = tail.head.linear
            else:
                head = LinearHead.from_bytes(content, session.bundle.manifest.width, where)
        names, present = session.store.classes(), session.store.present()
        head = head.present(present)
        if not set(head.ids.tolist()) <= names.keys():
            raise StoreCorruptError(DAMAGED.format(session.store.name, number, "classes without a name"))
        if not len(head.ids):
            return None
        labels = tuple(names[int(i)] for i in head.ids)
        return InUse(number, head, labels, np.array(labels), None if tail is None else tail.present(present))

    def refit(self, session: "Session") -> None:
        """Fit what is left after forgetting."""
        from .adaptation.run import refit

        refit(session)


def open_session(
    path: str | os.PathLike[str],
    store: str | os.PathLike[str] | None,
    threads: int | None,
    runtime: RuntimeChoice,
    timeout: float,
    max_bytes: float | None = None,
    trusted_keys: "Sequence[PublicKeySource] | PublicKeySource | None" = None,
) -> Session:
    """Open a bundle and its store. See `Learner.open`."""
    return open_task(path, store, threads, runtime, timeout, Classification(), max_bytes, trusted_keys)
