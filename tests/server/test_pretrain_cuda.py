"""The same loop on a GPU; skipped where there is none."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import numpy as np
import torch

from acclimate.errors import TrainingError
from acclimate.server.training.logs import read_log

from .small_runs import InMemory, make_config, make_data, make_net, run_small, weights

pytestmark = [
    pytest.mark.needs_torch,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU that torch can use"),
]


def test_a_gpu_follows_the_processor(tmp_path: Path) -> None:
    """In float64, the losses of every step within 1e-9 relative; the model comes back on the processor."""
    losses = []
    for device in ("cpu", "cuda"):
        net, data = make_net(plain=True).double(), make_data(dtype=torch.float64)
        run = run_small(tmp_path / device, make_config(ema=0.9), net=net, data=data, device=device)
        assert next(run.model.parameters()).device.type == "cpu"
        losses.append([r["loss"] for r in read_log(tmp_path / device) if r["kind"] == "epoch"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns_and_resumes(tmp_path: Path, precision: str) -> None:
    """Cut off and resumed, with dropout, mixing and accumulation, a run ends in the weights of one that was not."""
    config = make_config(precision=precision, mixup=0.2, accumulation=2, epochs=4, run={"checkpoint_every": 2})
    whole = run_small(tmp_path / "whole", config, device="cuda")

    def stop(done: int, total: int) -> None:
        if done == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_small(tmp_path / "cut", config, device="cuda", progress=stop)
    resumed = run_small(tmp_path / "cut", config, device="cuda", resume=True)
    assert torch.equal(weights(whole.model), weights(resumed.model))
    assert whole.metrics[0].accuracy > 0.8


def test_a_loss_that_is_not_finite_is_found_though_it_is_looked_at_late(tmp_path: Path) -> None:
    """The error names the step and its samples, and no checkpoint was written after it."""
    data = make_data()
    dataset = data.train.dataset
    assert isinstance(dataset, InMemory)
    dataset.x[7] = torch.nan
    with pytest.raises(TrainingError, match=r"finite loss.*step [1-6] \(samples row"):
        run_small(tmp_path / "run", make_config(), data=data, device="cuda")
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("objective", [{"name": "simclr"}, {"name": "barlow-twins"}])
def test_objectives_without_labels_run_there_too(tmp_path: Path, objective: dict[str, Any]) -> None:
    """With their probe."""
    config = make_config(objective=objective | {"hidden": 32, "projection": 16})
    run = run_small(tmp_path / "run", config, net=make_net(plain=True), data=make_data(vary=0.3), device="cuda")
    assert run.metrics[0].accuracy > 0.8
