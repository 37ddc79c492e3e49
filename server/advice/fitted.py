"""A method of transfer carried out: the classifier that advice compared, fitted to all that is given."""

from dataclasses import dataclass

from numpy.typing import ArrayLike

from ...edge.transfer.checks import check_rows
from ...errors import InputError, NotEnoughSamplesError
from .given import Labels, check_given
from .method import Predictor
from .methods import METHODS
from .pair import Float64
from .space import Space


@dataclass(frozen=True, eq=False)
class Fitted:
    """A classifier for the target.

    Args:
        method: How it was made.
        classes: Names of its ``k`` classes, in the order of its probabilities.
        width: Features of a sample.
        space: What brings samples into the space that it was fitted in.
        predictor: Gives ``(n, k)`` probabilities there.
        notes: What was left out of what was given, and what to look at.
    """

    method: str
    classes: tuple[str, ...]
    width: int
    space: Space
    predictor: Predictor
    notes: tuple[str, ...] = ()

    def __call__(self, x: ArrayLike) -> Float64:
        """Return ``(n, k)`` probabilities of ``(n, d)`` samples of the target, features as they were given to `fit`.

        Raises:
            InputError: If samples are no such array, not finite, or of another width.
        """
        rows = check_rows(x, "target", least=1)
        if rows.shape[1] != self.width:
            raise InputError(
                f"expected samples of {self.width} features, found {rows.shape[1]}. Compute them as those that the "
                f"classifier was fitted to."
            )
        return self.predictor(self.space.apply(rows))


def fit(
    name: str,
    source_x: ArrayLike,
    source_y: Labels,
    target_x: ArrayLike,
    target_y: Labels | None = None,
    *,
    seed: int = 0,
) -> Fitted:
    """Fit a method that `advise` compares, such as the recommended one, to all labelled samples of both sides.

    What is looked at, and the space that it is brought into, are those of `advise` for the same arguments.

    Args:
        name: The method; ``"target only"`` where the advice is not to transfer.
        source_x: ``(n, d)`` features of the source.
        source_y: ``n`` labels, texts or whole numbers; samples without one are left out.
        target_x: ``(m, d)`` features of the target.
        target_y: ``m`` labels; None, an empty text, -1 or NaN for a sample without one. None if no sample has one.
        seed: Fixes draws.

    Returns:
        The classifier.

    Raises:
        InputError: If there is no such method, or samples are not as `advise` asks.
        LabelError: If labels are not as `advise` asks.
        NotEnoughSamplesError: If the source has labelled samples of less than two classes, or the method lacks
            samples of the target.
    """
    method = next((one for one in METHODS if one.name == name), None)
    if method is None:
        raise InputError(
            f"expected one of {', '.join(repr(one.name) for one in METHODS)}, found {name!r:.80}. Choose one; "
            f"where the advice is None, 'target only'."
        )
    given = check_given(source_x, source_y, target_x, target_y, seed=seed)
    if said := method.why_not(given.pair):
        raise NotEnoughSamplesError(f"{name!r} {said}. Label more samples of the target, or take another method.")
    return Fitted(name, given.classes, given.width, given.space, method.fit(given.pair), given.notes)
