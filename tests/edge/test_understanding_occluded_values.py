"""Occlusion of a regressor: its own predictions of frames that were hidden by hand."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Regressor
from acclimate.edge.understanding.occluded_values import occlude_regressor
from acclimate.errors import InputError

from .regression_world import regression_bundle, truth


def test_heat_is_what_the_value_falls_by(tiny_bundle: Path, scenes: ModuleType, tmp_path: Path) -> None:
    """Patch by patch it is the prediction less that of the frame hidden by hand, for the target that is named."""
    x = scenes.frames(150, 1)[0]
    bundle = regression_bundle(tiny_bundle, tmp_path / "depth.acc", x, truth(tiny_bundle, x))
    with Regressor.open(bundle, threads=1) as regressor:
        found = occlude_regressor(regressor, x[:2], target="depth", patch=4, stride=4, fill=0)
        assert found.heat.shape == (2, *x.shape[1:3])
        whole = regressor.predict(x[:2]).values[:, 1]
        np.testing.assert_allclose(found.score, whole, rtol=1e-6)
        hidden = x[:2].copy()
        hidden[:, 4:, :4] = 0
        fell = whole - regressor.predict(hidden).values[:, 1]
        assert np.abs(fell).max() > 0
        np.testing.assert_allclose(found.heat[:, 5, 1], fell, rtol=1e-4, atol=1e-5)
        first = occlude_regressor(regressor, x[0], patch=4)
        np.testing.assert_allclose(first.score, regressor.predict(x[:1]).values[:, 0], rtol=1e-6)
        with pytest.raises(InputError, match="expected one of the targets 'angle', 'depth', found 'width'"):
            occlude_regressor(regressor, x[:2], target="width")
