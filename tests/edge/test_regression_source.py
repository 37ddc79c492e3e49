"""What a bundle says of a regression source: exact where it can be, refused where no samples could give it."""

from collections.abc import Callable

import numpy as np
import pytest

from acclimate.edge.adaptation.coordinates import fit_coordinates
from acclimate.edge.heads.problem import Weights
from acclimate.edge.regression.head import RegressionHead
from acclimate.edge.regression.source import RegressionSource
from acclimate.errors import BundleFormatError
from acclimate.tensors import pack, unpack

from .regression_world import Line

Arrays = dict[str, np.ndarray]


def arrays(rank: int | None = None) -> Arrays:
    """Return the arrays of a small source."""
    return {name: np.array(found) for name, found in RegressionSource.of(*Line(t=2).draw(80, 1), rank).arrays().items()}


@pytest.mark.parametrize("rank", [None, 4])
def test_they_travel(rank: int | None) -> None:
    """Through safetensors and back, in both forms; the sums of the codes are whole numbers."""
    before = arrays(rank)
    spec = {name: (found.dtype.str[1:], found.shape) for name, found in before.items()}
    after = RegressionSource.from_arrays(unpack(pack(before), "here", spec)).arrays()
    assert {*after} == {*before}
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    assert (before["sum"] == np.rint(before["sum"])).all()


def test_targets_far_from_zero_lose_nothing() -> None:
    """Moments are centred: a target around 10^10 has the products of one around zero, to rounding."""
    codes, y = Line(t=2).draw(500, 1)
    near, far = RegressionSource.of(codes, y), RegressionSource.of(codes, y + 1e10)
    np.testing.assert_allclose(far.cross, near.cross, rtol=1e-6, atol=1e-6 * np.abs(near.cross).max())
    np.testing.assert_allclose(far.square, near.square, rtol=1e-4)


@pytest.mark.parametrize(("rank", "tolerance"), [(None, 1e-9), (24, 1e-4)])
def test_what_a_head_explains_of_the_source_is_known_without_a_sample(rank: int | None, tolerance: float) -> None:
    """From the statistics alone: the squared correlation that the samples give; an offset and a scale do not matter."""
    world = Line()
    codes, y = world.draw(300, 1)
    source = RegressionSource.of(codes, y, rank)
    coordinates = fit_coordinates(codes, source.codes, None, world.code)
    shipped = world.shipped()
    assert shipped.head is not None
    weights = coordinates.weights(shipped.head, world.code)
    moments, values = source.moments(coordinates), RegressionHead(shipped.head).values(world.code.decode(codes))
    expected = np.corrcoef(values[:, 0], y[:, 0])[0, 1] ** 2
    assert 0.5 < expected < 0.99
    assert source.kept(moments, weights) == pytest.approx(expected, abs=tolerance)
    assert source.kept(moments, Weights(2 * weights.weight, weights.bias + 9)) == pytest.approx(expected, abs=tolerance)
    assert source.kept(moments, Weights(-weights.weight, weights.bias)) == 0
    assert source.kept(moments, Weights(0 * weights.weight, weights.bias)) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a["count"].fill(0),
        lambda a: a["count"].fill(-1),
        lambda a: a["sum"].fill(1e9),
        lambda a: a["moment"].fill(-1),
        lambda a: a["square"].fill(-1),
        lambda a: a["square"].fill(0),
        lambda a: np.multiply(a["cross"], 1e3, out=a["cross"]),
        lambda a: a["cross"].fill(1e300),
    ],
    ids=["no sample", "count", "sum", "moment", "negative square", "no square", "cross", "huge cross"],
)
def test_what_no_samples_can_give_is_refused(change: Callable[[Arrays], object]) -> None:
    """Every array of a hostile bundle is held against the others."""
    found = arrays()
    RegressionSource.from_arrays(found)
    change(found)
    with pytest.raises(BundleFormatError, match="in the source statistics"):
        RegressionSource.from_arrays(found)
