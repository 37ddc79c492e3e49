"""Zero-shot classification: classes without any sample are told by what is known of them, such as attributes or a text.

Romera-Paredes and Torr 2015, "An embarrassingly simple approach to zero-shot learning" (ESZSL).
"""

import itertools
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError, LabelError
from ...record import record
from ..choice.checks import check_classes, check_latents, one_hot

Float64 = NDArray[np.float64]
# Penalties that are tried, in units of the mean square along a direction; what is taken where none can be judged.
PENALTIES, _USUAL = (1e-2, 1e-1, 1.0, 1e1, 1e2), 1.0
_MOST_FOLDS = 5


@record(eq=False)
class ClassEmbeddingMap:
    """A map from latents to the space in which classes are described.

    Args:
        centre: ``(d,)`` mean of the latents that it was fitted on.
        matrix: ``(d, a)``; the embedding of a latent is ``(latent - centre) @ matrix``.
        latent_penalty: The penalty on it that was used, in units of the mean square of a latent's direction.
        embedding_penalty: Likewise of a direction of the class embeddings.
    """

    centre: Float64
    matrix: Float64
    latent_penalty: float
    embedding_penalty: float

    @classmethod
    def fit(
        cls,
        latents: ArrayLike,
        classes: ArrayLike,
        embeddings: ArrayLike,
        *,
        latent_penalty: float | None = None,
        embedding_penalty: float | None = None,
    ) -> Self:
        """Fit a map on samples of classes that are seen.

        Minimises ``|X W S^T - Y|^2 + g |W S^T|^2 + l |X W|^2 + g l |W|^2`` with X the latents less their mean, S the
        class embeddings at unit length and Y 1 for a sample's class and -1 for the others:
        ``W = (X^T X + g I)^-1 X^T Y S (S^T S + l I)^-1``.

        Args:
            latents: ``(n, d)``, n and d in any proportion.
            classes: ``(n,)`` whole numbers, rows of `embeddings`. Rows without a sample take no part.
            embeddings: ``(k, a)`` attributes, or a text encoder's vectors, one row per class, none all 0.
            latent_penalty: g, above 0, in units of the mean square along a direction of X. None chooses it, with the
                other, among five by holding out whole classes, as the unseen ones will be; 1 for less
                than four classes.
            embedding_penalty: l, likewise of S.

        Raises:
            InputError: If latents, embeddings or penalties do not fit.
            LabelError: If a class has no embedding, or less than two classes have samples.
        """
        x, every = check_latents(latents), _unit(embeddings)
        y, k = check_classes(classes, len(x))
        numbers = np.unique(np.asarray(classes))
        if numbers.dtype.kind not in "iu" or numbers[0] < 0 or numbers[-1] >= len(every):
            raise LabelError(
                f"expected classes as rows of the {len(every)} embeddings, 0 to {len(every) - 1}, found "
                f"{numbers[0]!s:.40} to {numbers[-1]!s:.40}. Give each class an embedding."
            )
        given = (latent_penalty, embedding_penalty)
        if any(one is not None and not 0 < one < np.inf for one in given):
            raise InputError(f"expected penalties above 0, found {given}. Leave them out to have them chosen.")
        seen = every[numbers.astype(np.int64)]
        of_latents, of_classes = (PENALTIES if one is None else (one,) for one in given)
        tries = list(itertools.product(of_latents, of_classes))
        if len(tries) > 1:
            usual = (latent_penalty or _USUAL, embedding_penalty or _USUAL)
            tries = [_chosen(x, y, seen, tries) if k >= 4 else usual]
        (matrix,) = _solve(x, y, seen, tries)
        return cls(x.mean(axis=0), matrix, *tries[0])

    def embed(self, latents: ArrayLike) -> Float64:
        """Return where ``(n, d)`` latents lie in the space of the class embeddings, ``(n, a)``.

        Raises:
            InputError: If the latents have another width, or are not finite.
        """
        x = check_latents(np.atleast_2d(np.asarray(latents)), least=1)
        if x.shape[1] != len(self.centre):
            raise InputError(
                f"expected latents of width {len(self.centre)}, found {x.shape[1]}. Take them from the same backbone."
            )
        return (x - self.centre) @ self.matrix

    def scores(self, latents: ArrayLike, embeddings: ArrayLike) -> Float64:
        """Return the cosine ``(n, k)`` between each latent's embedding and each class's.

        Args:
            latents: ``(n, d)``.
            embeddings: ``(k, a)`` of the classes to choose from, seen or not.

        Raises:
            InputError: If widths differ, or a value is not finite.
        """
        classes = _unit(embeddings)
        if classes.shape[1] != self.matrix.shape[1]:
            raise InputError(
                f"expected class embeddings of width {self.matrix.shape[1]}, found {classes.shape[1]}. Make them with "
                f"the encoder, or the attributes, of those that the map was fitted with."
            )
        found = self.embed(latents)
        length = np.linalg.norm(found, axis=1, keepdims=True)
        result: Float64 = (found / np.where(length > 0, length, 1)) @ classes.T
        return result

    def predict(self, latents: ArrayLike, embeddings: ArrayLike) -> NDArray[np.int64]:
        """Return for each latent the row of the class embedding that is nearest by cosine, ``(n,)``."""
        found: NDArray[np.int64] = self.scores(latents, embeddings).argmax(axis=1)
        return found


def _unit(embeddings: ArrayLike) -> Float64:
    """Return class embeddings ``(k, a)`` at unit length."""
    found = check_latents(embeddings, "class embeddings")
    length = np.linalg.norm(found, axis=1, keepdims=True)
    if not length.all():
        raise InputError(
            f"expected class embeddings that say something, found all 0 in row {int(length.argmin())}. Describe each "
            f"class."
        )
    result: Float64 = found / length
    return result


def _solve(x: Float64, y: NDArray[np.int64], seen: Float64, tries: list[tuple[float, float]]) -> list[Float64]:
    """Return the matrix ``(d, a)`` for each pair of penalties, all from two decompositions."""
    left, size, right = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    of_class, length, axes = np.linalg.svd(seen, full_matrices=False)
    targets = left.T @ (2 * one_hot(y, len(seen)) - 1) @ of_class
    units = tuple(max(float((one**2).mean()), np.finfo(np.float64).tiny) for one in (size, length))
    return [
        right.T @ ((size / (size**2 + g * units[0]))[:, None] * targets * (length / (length**2 + e * units[1]))) @ axes
        for g, e in tries
    ]


def _chosen(x: Float64, y: NDArray[np.int64], seen: Float64, tries: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the penalties that tell held-out classes apart best; of equals, those that are nearest to 1."""
    k, right = len(seen), np.zeros(len(tries))
    folds = min(_MOST_FOLDS, k // 2)
    for fold in range(folds):
        held = np.flatnonzero(np.arange(k) % folds == fold)
        rest = np.setdiff1d(np.arange(k), held)
        asked, told = np.isin(y, held), np.searchsorted(rest, y)
        x_rest = x[~asked]
        for place, matrix in enumerate(_solve(x_rest, told[~asked], seen[rest], tries)):
            answers = held[((x[asked] - x_rest.mean(axis=0)) @ matrix @ seen[held].T).argmax(axis=1)]
            # Each class counts as much, however many samples it has.
            right[place] += np.mean([(answers[y[asked] == label] == label).mean() for label in held])
    # Few classes leave many pairs level, of which the ends of the grid are the least likely to suit unseen ones.
    return max(zip(right, tries, strict=True), key=lambda each: (each[0], -np.abs(np.log(each[1])).sum()))[1]
