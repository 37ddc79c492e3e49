"""What a version with a tail stores: its parameters, and the linear head that serves beside them."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from ...errors import BundleFormatError, StoreCorruptError
from ...record import record
from ...tail_content import TailContent
from ...tensors import unpack
from ..head import Ids, LinearHead
from .graphs import Float32
from .rows import take_rows

# What the names of the parameters begin with in a stored version, by how they are stored; the name of what says which
# tail they are for. See `session.has_tail`.
FULL, HALF, GRAPH = "tail.f4.", "tail.f2.", "tail.graph"
_ADVICE = "Restore the store from a copy, or start a new one."


@record(eq=False)
class TailHead:
    """A trained tail. Immutable, so that a reader never sees half of a change.

    Args:
        linear: The best linear head on the same samples: it tells unlike frames, and says which classes the rows stand
            for. Its `judged` are the samples that both were trained on, its `predicted` are what the *tail* predicted
            for them without them.
        parameters: The tail's parameters by name; those of its head have one row per row of `linear`.
        rows: Names of the parameters whose first axis is these rows.
        graph: ``(32,) uint8`` SHA-256 of the model that they are parameters of.
    """

    linear: LinearHead
    parameters: Mapping[str, Float32]
    rows: tuple[str, ...]
    graph: NDArray[np.uint8]

    def present(self, classes: Mapping[int, int]) -> "TailHead":
        """Return the head after classes were merged or removed. See `LinearHead.present`."""
        linear = self.linear.present(classes)
        if linear is self.linear:
            return self
        kept = np.flatnonzero([classes.get(int(i), -1) >= 0 for i in self.linear.classes])
        return replace(self, linear=linear, parameters=take_rows(self.rows, self.parameters, kept))

    def merged(self, rows: Float32) -> Float32:
        """Return ``(n, k) float32`` probabilities of the classes `linear.ids` from ``(n, r)`` logits of the rows."""
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        powers /= powers.sum(axis=1, keepdims=True)
        columns = self.linear.columns
        if columns is None:
            return cast(Float32, powers)
        merged = np.zeros((len(rows), len(self.linear.ids)), np.float32)
        np.add.at(merged.T, columns, powers.T)
        return merged

    def to_bytes(self, *, half: bool = False) -> bytes:
        """Return it as safetensors; with half, the parameters as float16."""
        from safetensors.numpy import load, save

        prefix, dtype = (HALF, np.float16) if half else (FULL, np.float32)
        arrays: dict[str, NDArray[Any]] = dict(load(self.linear.to_bytes()))
        arrays |= {f"{prefix}{name}": np.asarray(values, dtype, order="C") for name, values in self.parameters.items()}
        return bytes(save({**arrays, GRAPH: self.graph}))

    @classmethod
    def from_bytes(cls, content: bytes, width: int, where: str, tail: TailContent) -> Self:
        """Read what `to_bytes` gave.

        Args:
            content: safetensors bytes.
            width: Dimensions of a latent.
            where: Where it comes from, for messages.
            tail: The tail of the bundle that it was trained for.

        Raises:
            StoreCorruptError: If it is not safetensors of the right kind, or does not fit the tail.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load, save

        try:
            found = load(content)
        except (SafetensorError, KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
            raise StoreCorruptError(f"{where}: expected safetensors, found that {error}. {_ADVICE}") from error
        half = any(name.startswith(HALF) for name in found)
        prefix, dtype = (HALF, "f2") if half else (FULL, "f4")
        own = {name: array for name, array in found.items() if name.startswith((prefix, GRAPH))}
        linear = LinearHead.from_bytes(
            bytes(save({name: array for name, array in found.items() if name not in own})), width, where
        )
        rows = len(linear.classes)
        shapes = {p.name: (rows, *p.shape[1:]) if p.name in tail.spec.head else p.shape for p in tail.spec.parameters}
        spec = {f"{prefix}{name}": (dtype, shape) for name, shape in shapes.items()}
        try:
            arrays = unpack(bytes(save(own)), where, {**spec, GRAPH: ("u1", (32,))})
        except BundleFormatError as error:
            raise StoreCorruptError(f"{error} {_ADVICE}") from error
        graph = cast(NDArray[np.uint8], arrays[GRAPH])
        if not np.array_equal(graph, graph_of(tail)):
            raise StoreCorruptError(
                f"{where}: expected parameters of the tail in this bundle, found those of another. Open the bundle "
                f"that it was trained with, or roll back to a version without a tail."
            )
        parameters = {name: np.asarray(arrays[f"{prefix}{name}"], np.float32) for name in shapes}
        return cls(linear, parameters, tail.spec.head, graph)


def graph_of(tail: TailContent) -> NDArray[np.uint8]:
    """Return what tells a tail's forward pass from others."""
    return np.frombuffer(hashlib.sha256(tail.forward).digest(), np.uint8)


def held_out(head: TailHead, ids: Ids, found: Ids) -> Ids:
    """Return predictions of stored samples as if the tail had been trained on none of them.

    Args:
        head: The tail.
        ids: ``(n,)`` sample ids.
        found: ``(n,)`` class ids that it predicts now; of samples that it was trained on, whatever.

    Returns:
        ``(n,)`` class ids; of samples that it was trained on, what was predicted without them.
    """
    judged = head.linear.judged
    if not len(judged):
        return found
    place = np.minimum(np.searchsorted(judged, ids), len(judged) - 1)
    return np.where(judged[place] == ids, head.linear.predicted[place], found)
