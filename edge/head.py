"""A head in use: linear layer, the classes of its rows, and what it was judged on."""

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from ..bundle import LinearLayer
from ..errors import BundleFormatError, StoreCorruptError
from ..record import record
from ..tensors import pack, unpack
from .unknown.novelty import Novelty

Float32 = NDArray[np.float32]
Ids = NDArray[np.int64]
# Logit of a class that the training samples say nothing of: it is never predicted.
ABSENT = -1e9
_NOTHING = np.empty(0, np.int64)
# The names of the arrays stand at the beginning.
_HEADER = 4_096
_ADVICE = "Restore the store from a copy, or start a new one."


@record(eq=False)
class LinearHead:
    """A linear classifier on latents. Immutable, so that a reader never sees half of a change.

    Args:
        layer: The weights; a row with bias `ABSENT` is a class it cannot predict.
        classes: ``(r,) int64`` class id of each row. Rows of classes that were merged have the same id: the class's
            probability is the sum of theirs.
        judged: ``(n,) int64`` ids of the samples it was fitted on, ascending.
        predicted: ``(n,) int64`` class ids that it predicted for them without them, -1 for none: what stands for its
            predictions when a successor is compared with it on the same samples.
        novelty: Tells which latents are unlike every class; None where too few samples say.
    """

    layer: LinearLayer
    classes: Ids
    judged: Ids = field(default_factory=lambda: _NOTHING)
    predicted: Ids = field(default_factory=lambda: _NOTHING)
    novelty: Novelty | None = None
    ids: Ids = field(init=False)
    """``(k,) int64`` the different class ids, ascending: the columns of `probabilities`."""
    columns: Ids | None = field(init=False)
    """``(r,)`` the column of each row, or None where rows and columns are the same."""

    def __post_init__(self) -> None:
        ids, columns = np.unique(self.classes, return_inverse=True)
        plain = np.array_equal(ids, self.classes)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "columns", None if plain else columns)

    def present(self, classes: Mapping[int, int]) -> "LinearHead":
        """Return the head after classes were merged or removed.

        Args:
            classes: What each class id has become; ids that are missing are removed.

        Returns:
            The same head where nothing has changed for it.
        """
        now = np.array([classes.get(int(i), -1) for i in self.classes], np.int64)
        if np.array_equal(now, self.classes):
            return self
        kept = now >= 0
        layer = LinearLayer(self.layer.weight[kept], self.layer.bias[kept])
        predicted = np.array([classes.get(int(i), -1) for i in self.predicted], np.int64)
        novelty = None if self.novelty is None else self.novelty.keeping(kept)
        return LinearHead(layer, now[kept], self.judged, predicted, novelty)

    def logits(self, latents: Float32) -> Float32:
        """Return ``(n, r) float32`` logits of ``(n, d) float32`` latents, one per row of the layer."""
        result: Float32 = latents @ self.layer.weight.T
        result += self.layer.bias
        return result

    def probabilities(self, latents: Float32) -> Float32:
        """Return ``(n, k) float32`` probabilities of the classes `ids` for ``(n, d) float32`` latents."""
        result = self.logits(latents)
        result -= result.max(axis=1, keepdims=True)
        np.exp(result, out=result)
        result /= result.sum(axis=1, keepdims=True)
        return self._merged(result)

    def probabilities_of_one(self, latent: Float32) -> Float32:
        """Return what `probabilities` gives for one ``(d,) float32`` latent, ``(k,) float32``, in a third of the time.

        After the backbone ran the caches hold none of numpy's code: what counts is how many functions are called, and
        of how many kinds. So the sum is a product here as well.
        """
        result: Float32 = self.layer.weight.dot(latent)
        result += self.layer.bias
        result -= result[result.argmax()]
        np.exp(result, out=result)
        result /= result.dot(self._ones)
        return result if self.columns is None else self._merged(result[np.newaxis])[0]

    @cached_property
    def _ones(self) -> Float32:
        return np.ones(len(self.classes), np.float32)

    def _merged(self, rows: Float32) -> Float32:
        """Return the probabilities of classes, ``(n, k)``, from those of the layer's rows, ``(n, r)``."""
        if self.columns is None:
            return rows
        merged = np.zeros((len(rows), len(self.ids)), np.float32)
        np.add.at(merged.T, self.columns, rows.T)
        return merged

    def held_out(self, ids: Ids, latents: Float32) -> Ids:
        """Predict stored samples as if none of them had been fitted on.

        Args:
            ids: ``(n,)`` sample ids.
            latents: ``(n, d) float32``.

        Returns:
            ``(n,)`` class ids; for samples that it was fitted on, what was predicted without them.
        """
        found: Ids = self.ids[self.probabilities(latents).argmax(axis=1)]
        if len(self.judged):
            place = np.minimum(np.searchsorted(self.judged, ids), len(self.judged) - 1)
            found = np.where(self.judged[place] == ids, self.predicted[place], found)
        return found

    def knows(self, ids: Ids) -> NDArray[np.bool_]:
        """Return which classes it can predict, for ``(k,)`` class ids."""
        result: NDArray[np.bool_] = np.isin(ids, self.classes[self.layer.bias > ABSENT])
        return result

    def to_bytes(self) -> bytes:
        """Return it as safetensors."""
        layer = {"weight": self.layer.weight, "bias": self.layer.bias}
        novelty = {} if self.novelty is None else self.novelty.to_arrays()
        return pack({**layer, "classes": self.classes, "judged": self.judged, "predicted": self.predicted, **novelty})

    @classmethod
    def from_bytes(cls, content: bytes, width: int, where: str) -> Self:
        """Read what `to_bytes` gave.

        Raises:
            StoreCorruptError: If it is not safetensors of the right kind, or does not fit together.
        """
        row, column = ("i8", (-1,)), ("f4", (-1,))
        spec = {"weight": ("f4", (-1, width)), "bias": column, "classes": row, "judged": row, "predicted": row}
        verdict = b'"novelty.' in content[:_HEADER]
        try:
            arrays = unpack(content, where, {**spec, **Novelty.spec(width)} if verdict else spec)
            novelty = Novelty.from_arrays(arrays, where, len(arrays["weight"])) if verdict else None
        except BundleFormatError as error:
            raise StoreCorruptError(f"{error} {_ADVICE}") from error
        weight, bias = cast(Float32, arrays["weight"]), cast(Float32, arrays["bias"])
        classes, judged, predicted = (cast(Ids, arrays[name]) for name in ("classes", "judged", "predicted"))
        if not len(weight) == len(bias) == len(classes) or len(judged) != len(predicted) or not len(weight):
            raise StoreCorruptError(f"{where}: expected as many rows as classes, found others. {_ADVICE}")
        return cls(LinearLayer(weight, bias), classes, judged, predicted, novelty)
