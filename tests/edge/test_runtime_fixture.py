"""The checked-in bundle serves its purpose in each runtime: good at home, lost elsewhere, and able to acclimate."""

from pathlib import Path
from types import ModuleType

import pytest

from acclimate.edge import Learner
from acclimate.edge.runtime.runtime import installed
from acclimate.manifest import RUNTIMES, Runtime


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_it_loses_elsewhere_what_adaptation_gains_back(tiny_bundle: Path, scenes: ModuleType, runtime: Runtime) -> None:
    """Above .95 at home, below .65 elsewhere as shipped, above .9 after 40 samples a class from there."""
    if installed(runtime) is None:
        pytest.skip(f"no {runtime} runtime installed")
    with Learner.open(tiny_bundle, runtime=runtime, threads=1) as learner:
        assert learner.score(*scenes.frames(400, seed=101)) > 0.95
        elsewhere = scenes.frames(400, seed=102, shift=1.0)
        assert learner.score(*elsewhere) < 0.65
        learner.observe(*scenes.frames(160, seed=103, shift=1.0))
        report = learner.adapt()
        assert report.applied, report.reason
        assert learner.score(*elsewhere) > 0.9
