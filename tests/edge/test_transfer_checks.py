"""What samples and labels of two domains must be."""

from typing import Any

import numpy as np
import pytest

from acclimate.edge.transfer.checks import check_domains, check_labels
from acclimate.errors import InputError

GOOD = np.arange(12.0).reshape(4, 3)


def test_samples_become_float64() -> None:
    """Sides of any number type and size come back as float64, and what was given is left alone."""
    source, target = check_domains(GOOD.astype(np.uint8), GOOD[:2].astype(np.float32))
    assert source.dtype == target.dtype == np.float64
    assert source.shape == (4, 3)
    assert target.shape == (2, 3)


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (GOOD, GOOD[:, :2], "one width, found 3 and 2"),
        (GOOD[:1], GOOD, "at least 2 source samples, found 1"),
        (GOOD, GOOD[0], r"target samples \(n, d\).*found shape \(3,\)"),
        (GOOD, np.empty((4, 0)), "target samples .* found shape"),
        (GOOD, np.where(GOOD == 7, np.nan, GOOD), "finite target samples, found 1 with NaN or infinity.* row 2"),
        (np.where(GOOD > 9, np.inf, GOOD), GOOD, "finite source samples"),
        (GOOD, -1e160 * GOOD, "target samples of at most 1e.150 in size, found"),
        ([["a"], ["b"]], GOOD, "source samples of real numbers"),
        (GOOD * 1j, GOOD, "source samples of real numbers"),
        ([[1.0], [1.0, 2.0]], GOOD, "rows of different lengths"),
    ],
)
def test_bad_samples_are_refused_by_side(source: Any, target: Any, said: str) -> None:
    """The message names the side, what was found and what to do."""
    with pytest.raises(InputError, match=said):
        check_domains(source, target)


def test_labels() -> None:
    """Whole numbers of any type are labels; fractions, text and another number of them are not."""
    assert check_labels([0.0, 2.0], 2, "source").tolist() == [0, 2]
    for bad in ([0.5, 1], ["a", "b"], [0], [[0], [1]], [np.nan, 1]):
        with pytest.raises(InputError, match="source label"):
            check_labels(np.array(bad), 2, "source")
