"""Whether a head is enough: compared with the source, and with what more samples brought."""

import numpy as np
import pytest

from acclimate.edge.adaptation.adapt import adapt
from acclimate.edge.adaptation.outlook import is_enough
from acclimate.edge.adaptation.probe import optimism
from acclimate.edge.heads import LDA

from ..fixtures.worlds import HOME, World, score, stored

RISING, LEVEL = ((25, 0.4), (50, 0.5), (100, 0.6)), ((25, 0.58), (50, 0.595), (100, 0.6))
# By chance the last step brought nothing.
HALTING = ((25, 0.45), (50, 0.6), (100, 0.6))


@pytest.mark.parametrize(
    ("after", "judged", "curve", "expected"),
    [
        (0.95, 200, RISING, True),
        (0.89, 50, LEVEL, True),
        (0.6, 200, LEVEL, False),
        (0.6, 200, RISING, None),
        (0.6, 200, HALTING, None),
        (0.6, 20, LEVEL, None),
        (0.74, 200, LEVEL, None),
        (0.86, 2_000, LEVEL, None),
        (0.6, 200, LEVEL[1:], None),
        (0.6, 200, (), None),
        (float("nan"), 0, LEVEL, None),
    ],
)
def test_what_is_said(after: float, judged: int, curve: tuple[tuple[int, float], ...], expected: bool | None) -> None:
    """As good as at home within two standard errors is enough; flat and well below is not; close or rising is open."""
    assert is_enough(after, judged, 0.9, curve, 0.75) is expected


def test_without_a_source_nothing_is_said() -> None:
    """With no probe there is nothing to compare with, and without what the source reaches nothing is too low."""
    assert is_enough(0.7, 200, float("nan"), LEVEL) is None
    assert is_enough(0.1, 200, 0.9, LEVEL) is None


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


@pytest.mark.parametrize(("n", "distance"), [(180, 4.0), (180, 3.0), (300, 3.0)])
def test_a_place_like_the_source_is_no_reason_for_a_tail(n: int, distance: float) -> None:
    """A head fitted on few samples shines on draws from their statistics; where it is used is no worse than its source.

    On the source it is right on far fewer than the draws say, and on no fewer than is allowed for.
    """
    world = World(1, d=96, distance=distance)
    shipped = world.shipped(n)
    home = score(shipped.predictor(), shipped, *world.draw(3_000, 99, HOME))
    for seed in range(1, 4):
        found = adapt(stored(*world.draw(300, seed, HOME)), shipped, shipped.predictor(), world.names, (LDA(),))
        assert found.probe is not None
        assert found.probe.before > home + 0.25 > found.after
        assert found.probe.least < home
        assert found.enough is not False


def test_what_a_probe_is_trusted_with() -> None:
    """Of many samples a dimension a tenth is allowed for, of as many as dimensions nearly all."""
    many, few = World(0, k=4, d=8).shipped(4_000).source, World(0, k=4, d=96).shipped(100).source
    assert many is not None
    assert few is not None
    assert optimism(many) == pytest.approx(0.1, abs=0.01)
    assert optimism(few) == pytest.approx(0.9)
