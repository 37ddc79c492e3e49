"""A run that is killed without warning, again and again, ends in the weights of one that was not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

pytestmark = [pytest.mark.needs_torch, pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")]


@pytest.mark.parametrize(
    ("seed", "kills"),
    [(0, 3), pytest.param(1, 20, marks=pytest.mark.slow), pytest.param(2, 20, marks=pytest.mark.slow)],
)
def test_killed_runs_end_in_the_same_weights(tmp_path: Path, seed: int, kills: int) -> None:
    """Bit for bit: killed at drawn steps, and in the middle of writing a checkpoint, whose half is swept away."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.server.killed_runs", str(tmp_path), str(seed), str(kills)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["ended"] == [*[-9] * kills, 0], done.stderr
    assert len(found["left"]) == 1
    assert list((tmp_path / "cut").rglob("*.part")) == []
    assert found["hashes"][0] == found["hashes"][1]
    assert found["logs"][0] == found["logs"][1]
