"""What a device is told that training a tail takes bounds what a process really takes for it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from acclimate.bundle import Bundle
from acclimate.edge.runtime.runtime import installed
from acclimate.edge.tail.cost import memory
from acclimate.manifest import RUNTIMES, Runtime
from acclimate.tail_content import TailContent

TRAIN = """
import json, sys
import numpy as np
from acclimate.edge import Learner
from acclimate.edge.tail.cost import memory
from acclimate.edge.tail.maps import KEPT

def told(key):
    with open("/proc/self/status") as status:
        return 1024 * int(status.read().partition(key)[2].split()[0])

draw = np.random.default_rng(0)
frames, labels = draw.integers(0, 256, (200, 8, 8, 1), dtype=np.uint8), np.arange(200) % 3
with Learner.open(sys.argv[1], threads=1, runtime=sys.argv[2]) as learner:
    names = np.array(learner.classes)[labels]
    learner.observe(frames, names)
    learner.adapt(tail=False, on_insufficient="apply")
    before = told("VmRSS:")
    # From here on the peak counts.
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    report = learner.adapt(tail=True, on_insufficient="apply")
    took = told("VmHWM:") - before
    print(json.dumps([report.tail.rounds, took, memory(learner._session.tail, 3, 200, KEPT)]))
"""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_it_bounds_what_a_process_takes(tail_bundle: Path, runtime: Runtime, one_thread: dict[str, str]) -> None:
    """The resident memory of a fresh process rises by less, from the best head to the end of the tail's training."""
    if installed(runtime) is None:
        pytest.skip(f"no runtime for {runtime} is installed")
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells the peak from a moment on")
    command = [sys.executable, "-c", TRAIN, str(tail_bundle), runtime]
    done = subprocess.run(command, env=one_thread, capture_output=True, text=True, check=True)
    rounds, took, bound = json.loads(done.stdout.splitlines()[-1])
    assert rounds > 0
    assert 0 < took < bound


@pytest.fixture
def tails(tail_bundle: Path) -> dict[str, TailContent]:
    """The checked-in tail for both runtimes."""
    with Bundle(tail_bundle) as bundle:
        found = {runtime: bundle.tail(runtime) for runtime in RUNTIMES}
    return {runtime: tail for runtime, tail in found.items() if tail is not None}


def test_what_the_bundle_tells_counts(tails: dict[str, TailContent]) -> None:
    """Every byte of what the models hold at once counts twice or more; without the figure the map is asked."""
    (tail, litert) = tails.values()
    told = [replace(tail, spec=replace(tail.spec, working=working)) for working in (10**8, 2 * 10**8)]
    one, other = (memory(content, 3, 100, 0) for content in told)
    assert 2 * 10**8 < other - one < 4 * 10**8
    assert memory(replace(tail, spec=replace(tail.spec, working=10**6)), 3, 100, 0) != memory(tail, 3, 100, 0)
    # LiteRT holds copies of the parameters, each of them more than once.
    parameters = sum(values.nbytes for values in tail.parameters.values())
    assert memory(litert, 3, 100, 0) - memory(replace(litert, runtime="onnx"), 3, 100, 0) > 4 * parameters
