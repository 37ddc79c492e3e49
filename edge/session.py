"""What an opened learner works with, where the task is classification."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreCorruptError
from ..manifest import Task
from .head import Float32, LinearHead
from .results import Prediction
from .runtime.runtime import RuntimeChoice
from .task_session import DAMAGED, TaskSession, open_task
from .unknown.novelty import Novelty

if TYPE_CHECKING:
    from ..key_files import PublicKeySource


@dataclass(frozen=True, eq=False)
class InUse:
    """The head in use.

    Args:
        version: Its number; 0 is the shipped head.
        head: The head.
        names: Names of its classes, in the order of the columns of its probabilities.
        array: The same as an array, which `predict` indexes.
    """

    version: int
    head: LinearHead
    names: tuple[str, ...]
    array: NDArray[np.str_]

    def predict(self, latents: Float32) -> Prediction:
        """Classify ``(n, d) float32`` latents."""
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


class Classification:
    """How heads of classes are read and refitted. See `task_session.Serving`."""

    task: ClassVar[Task] = "classification"

    def load(self, session: "Session", number: int) -> InUse | None:
        """Read a version's head, without the rows of removed classes; None for number 0 where none was shipped."""
        if number == 0:
            if session.shipped_head is None:
                return None
            arrays = session.bundle.novelty(session.runtime)
            novelty = None if arrays is None else Novelty.from_arrays(arrays, session.bundle.path.name)
            head = LinearHead(session.shipped_head, np.arange(len(session.shipped_head.bias)), novelty=novelty)
        else:
            content = session.store.version(number).head
            head = LinearHead.from_bytes(
                content, session.bundle.manifest.width, f"{session.store.name}: version {number}"
            )
        names = session.store.classes()
        head = head.present(session.store.present())
        if not set(head.ids.tolist()) <= names.keys():
            raise StoreCorruptError(DAMAGED.format(session.store.name, number, "classes without a name"))
        if not len(head.ids):
            return None
        labels = tuple(names[int(i)] for i in head.ids)
        return InUse(number, head, labels, np.array(labels))

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
