"""Several processes follow the loss curve of one at the same global batch: DDP, and parameters in shards."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import numpy as np
import torch

from acclimate.server.training.settings import ADAPTATION

from . import many_processes, small_runs

# What a run is compared with in one process, where that has another name.
_ALONE = {
    "fsdp": "ema",
    "fsdp-resumed": "ema",
    **{f"fsdp-{name}": f"ema-{name}" for name in ("blocks", "distil", "l2sp", "ewc", "lora", "frozen", *ADAPTATION)},
}
_RUNS = (
    *("ddp", "ddp-32", "ema", "pcgrad", "simclr", "barlow", "ddp-distil"),
    *("fsdp", "fsdp-resumed", "fsdp-blocks", "fsdp-distil"),
    *("ddp-l2sp", "ddp-ewc", "ddp-lora", "fsdp-l2sp", "fsdp-ewc", "fsdp-lora", "fsdp-frozen"),
    *ADAPTATION,
    *(f"fsdp-{name}" for name in ADAPTATION),
)

pytestmark = [
    pytest.mark.needs_torch,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed half"),
]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes found in each run."""
    folder = tmp_path_factory.mktemp("together")
    torchrun = [sys.executable, "-W", "error", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "tests.server.many_processes", str(folder), *_RUNS]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*torchrun, *program], cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in _RUNS}


@pytest.mark.parametrize("name", [name for name in _RUNS if name != "ddp-32"])
def test_two_processes_follow_one(together: dict[str, Any], tmp_path: Path, name: str) -> None:
    """In float64, within 1e-9 relative over more than 50 steps; the weights at the end, and their scores, too."""
    found, alone = together[name], _ALONE.get(name, name)
    run = many_processes.go(tmp_path, alone)
    losses = many_processes.losses(tmp_path, alone)
    assert found["processes"] == 2
    assert len(losses) == 54
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-9)
    # The probe at the end of objectives without labels stops at a tolerance of its own.
    tolerance = 1e-3 if name in ("simclr", "barlow") else 1e-9
    np.testing.assert_allclose(found["weights"], small_runs.weights(run.model), rtol=tolerance, atol=tolerance)
    expected = [[one.samples, one.loss, one.accuracy] for one in run.metrics]
    np.testing.assert_allclose(found["metrics"], expected, rtol=tolerance)


def test_in_float32_they_stay_near(together: dict[str, Any], tmp_path: Path) -> None:
    """Sums in another order differ in their last digits, and so do the losses."""
    many_processes.go(tmp_path, "ddp-32")
    np.testing.assert_allclose(together["ddp-32"]["losses"], many_processes.losses(tmp_path, "ddp-32"), rtol=1e-4)


@pytest.mark.parametrize("name", ["fsdp", "fsdp-resumed", "fsdp-blocks", "fsdp-distil"])
def test_parameters_are_in_shards(together: dict[str, Any], name: str) -> None:
    """Each process holds about half of them, as distributed tensors: nothing fell back to whole copies."""
    assert set(together[name]["kinds"]) == {"DTensor"}
    # Three outputs do not divide by two: the first process has two of them.
    assert all(0.4 < share < 0.6 for share in together[name]["held"])
    assert len(together[name]["held"]) == (2 if name == "fsdp-resumed" else 1)
