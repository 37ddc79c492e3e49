"""A version with a tail, in use: from maps to predictions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import StoreCorruptError
from ...map_code import MapCode
from ...record import record
from ...tail_content import TailContent
from ..head import Ids
from ..store.store import Store
from .forward import ROWS, Forward
from .graphs import Float32
from .head import TailHead, held_out

if TYPE_CHECKING:
    from ..session import Session


@record(eq=False)
class ServedTail:
    """A tail that is loaded.

    Args:
        head: The trained tail.
        forward: Its forward pass.
        code: The quantization of the maps.
        store: Where the maps of stored samples are.
    """

    head: TailHead
    forward: Forward
    code: MapCode
    store: Store

    def probabilities(self, maps: Float32) -> Float32:
        """Return probabilities of the classes `head.linear.ids`, ``(n, k) float32``.

        Args:
            maps: ``(n, *shape) float32``, within the range of the codes.
        """
        return self.head.merged(self.forward.logits(maps, self.head.parameters))

    def look(self, session: "Session", frames: NDArray[np.generic]) -> tuple[Float32, NDArray[np.bool_]]:
        """Look at checked frames, each once.

        Returns:
            ``(n, k) float32`` probabilities of the classes, and ``(n,)`` which frames are unlike every class.
        """
        novelty, n = self.head.linear.novelty, len(frames)
        found, unlike = np.empty((n, len(self.head.linear.ids)), np.float32), np.zeros(n, np.bool_)
        for start in range(0, n, session.batch):
            rows = slice(start, start + session.batch)
            latents, maps = session.latents_and_maps(frames[rows])
            found[rows] = self.probabilities(maps)
            if novelty is not None:
                unlike[rows] = novelty.unknown(latents)
        return found, unlike

    def present(self, classes: Mapping[int, int]) -> "ServedTail":
        """Return the tail after classes were merged or removed. See `LinearHead.present`."""
        return replace(self, head=self.head.present(classes))

    def of_stored(self, ids: Ids) -> Float32:
        """Return ``(n, k) float32`` probabilities for stored samples, a few of whose maps are read at a time."""
        found = np.empty((len(ids), len(self.head.linear.ids)), np.float32)
        for start in range(0, len(ids), ROWS):
            maps = self.code.decode(self.store.maps(ids[start : start + ROWS]))
            found[start : start + ROWS] = self.probabilities(maps)
        return found

    def held_out(self, ids: Ids, latents: Float32) -> Ids:
        """Predict stored samples as if none of them had been trained on. See `LinearHead.held_out`."""
        linear = self.head.linear
        new = ~np.isin(ids, linear.judged)
        found = np.full(len(ids), -1)
        if new.any():
            found[new] = linear.ids[self.of_stored(ids[new]).argmax(axis=1)]
        return held_out(self.head, ids, found)

    def knows(self, ids: Ids) -> NDArray[np.bool_]:
        """Return which classes it can predict, for ``(k,)`` class ids."""
        return np.isin(ids, self.head.linear.ids)


def open_tail(session: "Session", where: str, content: bytes) -> ServedTail:
    """Read a stored version with a tail.

    Args:
        session: The opened bundle.
        where: Name of the version, for messages.
        content: Its bytes.

    Raises:
        StoreCorruptError: If it is damaged.
        BackendError: If the tail of the bundle does not run.
    """
    tail = session.tail
    if tail is None:
        raise StoreCorruptError(
            f"{where}: expected a bundle with a tail, as the one it was trained for, found one without. Open that "
            f"bundle, or roll back to a version without a tail."
        )
    head = TailHead.from_bytes(content, session.bundle.manifest.width, where, tail)
    return ServedTail(head, forward_of(session, tail), tail.code, session.store)


def forward_of(session: "Session", tail: TailContent) -> Forward:
    """Return the tail's forward pass, loaded once for a session."""
    if not isinstance(session.loaded, Forward):
        session.loaded = Forward(tail, session.threads)
    return session.loaded
