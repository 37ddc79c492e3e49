"""The joint discrepancy of several layers."""

import numpy as np
import pytest

from acclimate.edge.transfer.joint_mmd import joint_mmd
from acclimate.edge.transfer.mmd import Gaussians, Linear, biased, unbiased
from acclimate.errors import InputError

RNG = np.random.default_rng(0)
SOURCE, TARGET = RNG.normal(size=(20, 4)), RNG.normal(size=(13, 4)) + 0.5
ANSWER = RNG.dirichlet(np.ones(3), 20), RNG.dirichlet(np.ones(3), 13)


def test_one_layer_is_mmd_and_a_constant_layer_changes_nothing() -> None:
    """JMMD of a layer, alone or with a constant one, is its MMD to the last digits; n and m differ."""
    ones = np.full((20, 2), 5.0), np.full((13, 2), 5.0)
    for estimator, expected in (("biased", biased(SOURCE, TARGET)), ("unbiased", unbiased(SOURCE, TARGET))):
        assert joint_mmd([SOURCE], [TARGET], estimator=estimator) == pytest.approx(expected, rel=1e-12)  # type: ignore[arg-type]
        found = joint_mmd([ones[0], SOURCE], [ones[1], TARGET], estimator=estimator)  # type: ignore[arg-type]
        assert found == pytest.approx(expected, rel=1e-12)


def test_linear_kernels_compare_mean_products() -> None:
    """With linear kernels it is the squared distance of the mean outer products of the layers."""
    means = [np.einsum("na,nb->ab", x, y) / len(x) for x, y in ((SOURCE, ANSWER[0]), (TARGET, ANSWER[1]))]
    found = joint_mmd([SOURCE, ANSWER[0]], [TARGET, ANSWER[1]], [Linear(), Linear()], estimator="biased")
    assert found == pytest.approx(((means[0] - means[1]) ** 2).sum(), rel=1e-10)


def test_it_sees_what_single_layers_do_not() -> None:
    """Two layers each distributed alike, but tied in one domain only: JMMD tells, MMD of each does not."""
    draw = np.random.default_rng(1)
    x, other = draw.normal(size=(400, 1)), draw.normal(size=(400, 1))
    y = draw.normal(size=(400, 1))
    kernel = Gaussians((1.0,))
    assert abs(unbiased(x, y, kernel)) < 0.01
    assert joint_mmd([x, x], [y, other], [kernel, kernel]) > 0.03


def test_bad_input_is_refused() -> None:
    """Layers and samples must fit each other."""
    with pytest.raises(InputError, match="same layers on both sides"):
        joint_mmd([SOURCE], [TARGET, TARGET])
    with pytest.raises(InputError, match="same layers on both sides"):
        joint_mmd([], [])
    with pytest.raises(InputError, match=r"same 20 and 13 samples in every layer, found 20 and 12 in layer 1"):
        joint_mmd([SOURCE, SOURCE], [TARGET, TARGET[:12]])
    with pytest.raises(InputError, match="estimator"):
        joint_mmd([SOURCE], [TARGET], estimator="other")  # type: ignore[arg-type]
