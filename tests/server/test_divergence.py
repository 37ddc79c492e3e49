"""Training that runs away: scores and weights that are no numbers stop it, and a loss that grew is told."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import torch
from torch import Tensor, nn

from acclimate.errors import TrainingError
from acclimate.server.keras.process import PYTHON
from acclimate.server.run_report.page import write_page
from acclimate.server.training.divergence import grown_loss
from acclimate.server.training.logs import read_log

from . import keras_runs
from .small_runs import make_config, make_data, make_net, run_small

pytestmark = pytest.mark.needs_torch


class Overflows(nn.Module):
    """A network whose answers are NaN where nothing trains, from a number of steps on."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.inner = make_net(plain=True)
        self.limit = steps
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.steps: Tensor
        if self.training:
            self.steps += 1
        logits: Tensor = self.inner(x)
        return logits if self.training or float(self.steps) < self.limit else logits * float("nan")


class Bursts(nn.Module):
    """A network that holds a number that is none from a step on, and answers as if it had not."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.inner = make_net(plain=True)
        self.step = step
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.seen: Tensor
        if self.training:
            self.seen[0] += 1
            self.seen[1] = float("inf") if float(self.seen[0]) >= self.step else 0.0
        logits: Tensor = self.inner(x)
        return logits


def _finite(folder: Path) -> None:
    """Nothing in the folder's files of JSON is NaN or infinite."""

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} was written")

    for path in (*folder.rglob("*.json"), *folder.rglob("*.jsonl")):
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize(("steps", "kept"), [(6, []), (12, ["step-000000006"])])
def test_scores_that_are_not_finite_stop_a_run(tmp_path: Path, steps: int, kept: list[str]) -> None:
    """In the first epoch or a later one: score, step, rate and what to do; what was written before stays."""
    run = tmp_path / "run"
    with pytest.raises(
        TrainingError,
        match=rf"finite validation scores, found loss nan after step {steps}: .* training\.learning_rate of 0\.02, and",
    ):
        run_small(run, net=Overflows(steps))
    assert [path.name for path in run.glob("checkpoints/*")] == kept
    assert [path.name for path in run.glob("best-*")] == [name.replace("step", "best") for name in kept]
    assert [record["step"] for record in read_log(run) if record["kind"] == "epoch"] == [6] * len(kept)
    _finite(run)


def test_weights_that_are_not_finite_are_no_checkpoint(tmp_path: Path) -> None:
    """Without validation nothing else would tell: the checkpoint before is the newest."""
    with pytest.raises(TrainingError, match=r"finite weights, found NaN or infinity in 'model.seen' after step 12"):
        run_small(tmp_path / "run", net=Bursts(8), data=make_data(validation=0))
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000000006"]
    assert not list((tmp_path / "run").glob("best-*"))


@pytest.mark.skipif(os.name != "posix", reason="the process that takes TensorFlow's place is started by a script")
def test_scores_of_a_keras_model_that_are_not_finite_stop_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of others do."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv(PYTHON, str(keras_runs.fake_python(tmp_path / "bin")))
    monkeypatch.setenv("FAKE_ANSWERS_NAN_AT", "12")
    with pytest.raises(TrainingError, match="finite validation scores, found loss nan after step 12"):
        keras_runs.run_keras(tmp_path / "run", keras_runs.keras_config())
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000000006"]
    _finite(tmp_path / "run")


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([1.0, 0.5, 2.5], "grew from 1 in epoch 1 to 2.5 in epoch 3"),
        ([-2.0, 0.5], "grew from -2 in epoch 1 to 0.5 in epoch 2"),
        ([1.0, 9.0, 1.9], None),
        ([-2.0, -0.5], None),
        # Near nought a loss may be many times as large, and still near nought.
        ([0.001, 0.05], None),
        ([5.0], None),
        ([None, "x", True], None),
    ],
)
def test_a_loss_that_grew_is_told(losses: list[Any], told: str | None) -> None:
    """The last epoch's against the first's, whatever their sign; not where they say little."""
    found = grown_loss([{"loss": loss} for loss in losses])
    assert (found is None) == (told is None)
    assert told is None or told in (found or "")


def test_a_run_that_diverged_warns_and_its_report_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that did not says nothing."""
    config = make_config(learning_rate=500.0, warmup=0.9, epochs=5)
    with caplog.at_level(logging.WARNING):
        run_small(tmp_path / "well", net=make_net(plain=True))
        assert "diverged" not in caplog.text
        run_small(tmp_path / "badly", config, net=make_net(plain=True))
    assert "the training diverged. Lower training.learning_rate, and begin anew" in caplog.text
    told = [write_page(tmp_path / name).read_text() for name in ("well", "badly")]
    assert ["The loss grew from" in page for page in told] == [False, True]
