"""Whether a head is enough: compared with the source, and with what more samples brought."""

import numpy as np
import pytest

from acclimate.edge.adaptation.adapt import adapt
from acclimate.edge.adaptation.outlook import is_enough
from acclimate.edge.heads import LDA

from ..fixtures.worlds import HOME, World, stored

RISING, LEVEL = ((25, 0.5), (50, 0.6), (100, 0.7)), ((25, 0.68), (50, 0.695), (100, 0.7))


@pytest.mark.parametrize(
    ("after", "judged", "curve", "expected"),
    [
        (0.95, 200, RISING, True),
        (0.89, 50, LEVEL, True),
        (0.7, 200, LEVEL, False),
        (0.7, 200, RISING, None),
        (0.7, 200, (), None),
        (float("nan"), 0, LEVEL, None),
    ],
)
def test_what_is_said(after: float, judged: int, curve: tuple[tuple[int, float], ...], expected: bool | None) -> None:
    """As good as at home within two standard errors is enough; flat and below is not; else more samples may tell."""
    assert is_enough(after, judged, 0.9, curve) is expected


def test_without_a_source_nothing_is_said() -> None:
    """With no probe there is nothing to compare with."""
    assert is_enough(0.7, 200, float("nan"), LEVEL) is None


def test_a_place_that_no_head_tells_apart() -> None:
    """Where the classes lie on one another, the candidate says that no head is enough; at home it says the opposite."""
    world = World(0, distance=15.0)
    shipped = world.shipped()
    home = adapt(stored(*world.draw(240, 1, HOME)), shipped, shipped.predictor(), world.names, (LDA(),))
    assert home.enough is True
    x, y = world.draw(600, 1)
    centre = shipped.source.mean()[y] if shipped.source is not None else x
    blurred = np.clip(x - 0.97 * (centre - centre.mean(axis=0)), 0, 255).astype(np.uint8)
    found = adapt(stored(blurred, y), shipped, shipped.predictor(), world.names, (LDA(),))
    assert found.after < 0.5
    assert found.enough is False
    assert len(found.curve) == 3
