"""Splits of labelled data: by class, seeded, and nested, so that a larger budget only ever adds samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import NotEnoughSamplesError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class BudgetSplit:
    """One draw of samples to adapt on and of samples to test on, which share none.

    Args:
        budgets: Samples per class to the rows drawn, ``(classes * samples,) int64``, one class after another. The rows
            of a smaller budget are among those of a larger one.
        test: ``(m,) int64``, the same for every budget.
    """

    budgets: dict[int, Rows]
    test: Rows


def split_by_class(labels: NDArray[np.integer], share: float, *, seed: int = 0) -> tuple[Rows, Rows]:
    """Split rows in two so that each class is split alike.

    Args:
        labels: ``(n,)`` integers.
        share: Share of each class that goes into the second part, 0 to 1; rounded to whole samples.
        seed: Fixes the draw.

    Returns:
        The rows of the first part and of the second, each in ascending order.
    """
    generator = np.random.default_rng(seed)
    second = np.concatenate(
        [
            rows[: round(share * len(rows))]
            for rows in (generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels))
        ]
    )
    return np.setdiff1d(np.arange(len(labels)), second), np.sort(second)


def draw_budgets(
    labels: NDArray[np.integer], per_class: Sequence[int], *, seed: int, rows: Rows | None = None
) -> BudgetSplit:
    """Draw samples to adapt on, for several budgets, and keep the rest for the test.

    Args:
        labels: ``(n,)`` integers.
        per_class: Samples of each class, one number per budget.
        seed: Fixes the draw.
        rows: The rows to draw from and to test on, ``(r,)``; all of them where None.

    Returns:
        The draw. What the largest budget takes is in no test set, whatever the budget.

    Raises:
        NotEnoughSamplesError: If a class has fewer samples than the largest budget takes, or none left to test on.
    """
    available = np.arange(len(labels)) if rows is None else np.sort(rows)
    largest = max(per_class)
    generator = np.random.default_rng(seed)
    drawn: list[Rows] = []
    for label in np.unique(labels[available]):
        members = generator.permutation(available[labels[available] == label])
        if len(members) <= largest:
            raise NotEnoughSamplesError(
                f"expected more than {largest} samples of class {label}, for the largest budget and one to test on, "
                f"found {len(members)}. Ask for a smaller budget."
            )
        drawn.append(members[:largest])
    budgets = {count: np.concatenate([members[:count] for members in drawn]) for count in per_class}
    return BudgetSplit(budgets, np.setdiff1d(available, np.concatenate(drawn)))
