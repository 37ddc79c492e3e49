"""Pretraining as a whole: it learns, is the same each time, and refuses or stops where it must."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from acclimate.errors import InputError, OutputExistsError, TrainingError
from acclimate.server.checkpoint import load_checkpoint
from acclimate.server.compress import hold_ranges
from acclimate.server.training.logs import read_log
from acclimate.server.training.workers import deaths_told

from .small_runs import InMemory, make_config, make_data, make_net, run_small, weights

pytestmark = pytest.mark.needs_torch


def test_a_run_learns_and_leaves_a_model_a_log_and_a_checkpoint(tmp_path: Path) -> None:
    """Separable clusters are learnt; what is kept are the best weights, and the log tells of every step and epoch."""
    seen: list[tuple[int, int]] = []
    net = make_net()
    before = weights(net)
    run = run_small(tmp_path / "run", make_config(epochs=5), net=net, progress=lambda *at: seen.append(at))
    assert seen == [(step, 30) for step in range(1, 31)]
    assert run.metrics[0].accuracy > 0.85
    assert run.epochs[-1]["loss"] < run.epochs[0]["loss"]
    assert run.metrics[0].accuracy == max(epoch["tasks"][0]["accuracy"] for epoch in run.epochs)
    assert torch.equal(weights(net), before)
    loaded = make_net(seed=1)
    notes = load_checkpoint(tmp_path / "run" / "model", loaded, architecture="small_runs:make_net").notes
    assert notes["classes"] == ["a", "b", "c"]
    assert torch.equal(weights(loaded), weights(run.model))
    records = read_log(tmp_path / "run")
    assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, 31))
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000000030"]
    assert not run.model.training


def test_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    """Bit for bit, with everything that draws, and the caller's generator stays as it was."""
    found = []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)
        state = torch.get_rng_state()
        config = make_config(seed=seed, mixup=0.2, cutmix=0.4, balanced=True, ema=0.9, epochs=2)
        found.append(weights(run_small(tmp_path / str(number), config, data=make_data(vary=0.1)).model))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_workers_change_nothing(tmp_path: Path) -> None:
    """Samples varied in two processes are those varied in none."""
    runs = [
        run_small(tmp_path / str(count), make_config(run={"workers": count}, epochs=2), data=make_data(vary=0.3))
        for count in (0, 2)
    ]
    assert torch.equal(weights(runs[0].model), weights(runs[1].model))


def test_accumulated_parts_give_the_steps_of_the_whole_batch(tmp_path: Path) -> None:
    """In float64, where no layer looks at other samples, four parts follow one to rounding; the loss is the mean."""
    losses, found = [], []
    for parts in (1, 4):
        config = make_config(accumulation=parts, gradient_norm=0.1)
        data = make_data(dtype=torch.float64)
        run = run_small(tmp_path / str(parts), config, net=make_net(plain=True).double(), data=data)
        losses.append([r["loss"] for r in read_log(tmp_path / str(parts)) if r["kind"] == "step"])
        found.append(weights(run.model))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_first_step_is_that_of_adamw_after_clipping(tmp_path: Path) -> None:
    """One step gives the weights of the update written out by hand, and the logged norm is that of the gradient."""
    data = make_data(30, 0, dtype=torch.float64)
    net = nn.Linear(6, 3).double()
    config = make_config(
        epochs=1, batch_size=30, learning_rate=0.1, weight_decay=0.5, gradient_norm=1e-9, schedule="constant"
    )
    run = run_small(tmp_path / "run", config, net=net, data=data)
    assert isinstance(data.train.dataset, InMemory)
    x, y = data.train.dataset.x, data.train.dataset.y
    smooth = torch.nn.functional.one_hot(y, 3).double() * 0.9 + 0.1 / 3
    error = (torch.softmax(net(x), 1) - smooth).detach() / 30
    slopes = (error.T @ x, error.sum(0))
    norm = float(torch.sqrt(sum((s.square().sum() for s in slopes), torch.zeros(()))))
    for now, was, slope, decay in zip(run.model.parameters(), net.parameters(), slopes, (0.5, 0.0), strict=True):
        clipped = slope * 1e-9 / norm
        # Adam's first step divides the gradient by its own size; its epsilon shows where gradients are this small.
        expected = was * (1 - 0.1 * decay) - 0.1 * clipped / (clipped.abs() + 1e-8)
        torch.testing.assert_close(now.detach(), expected.detach(), rtol=1e-6, atol=1e-9)
    assert read_log(tmp_path / "run")[0]["gradient_norm"] == pytest.approx(norm)


def test_the_moving_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    """With a decay near 1 the kept weights lag far behind those that train, and their scores are those logged."""
    run = run_small(tmp_path / "run", make_config(epochs=2, ema=0.999, learning_rate=0.1))
    from safetensors.torch import load_file

    folder = tmp_path / "run" / "checkpoints" / "step-000000012"
    trained, average = load_file(folder / "module.safetensors"), load_file(folder / "average.safetensors")
    assert trained.keys() == average.keys()
    assert not torch.allclose(trained["model.0.weight"], average["model.0.weight"], atol=1e-2)
    if run.best_step == 12:
        assert torch.equal(run.model.state_dict()["0.weight"], average["model.0.weight"])
    validation = make_data().validation
    assert validation is not None
    assert isinstance(validation.dataset, InMemory)
    with torch.no_grad():
        right = run.model(validation.dataset.x).argmax(1) == validation.dataset.y
    assert run.metrics[0].accuracy == pytest.approx(float(right.double().mean()))


def test_a_model_with_trained_ranges_is_refused(tmp_path: Path) -> None:
    """Training would leave the ranges of quantization-aware training behind; nothing is written."""
    net = make_net(plain=True)
    hold_ranges(net, {"0": (-1.0, 1.0)})
    with pytest.raises(InputError, match="a model without trained ranges to train, found 1, first at '0'"):
        run_small(tmp_path / "run", net=net)
    assert not (tmp_path / "run").exists()


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    """A rate too small to change an answer stops after the first epoch and two more."""
    config = make_config(epochs=9, learning_rate=1e-12, patience=2)
    run = run_small(tmp_path / "run", config, net=make_net(plain=True))
    assert (run.steps, run.best_step) == (18, 6)


def test_unlabelled_samples_are_left_out(tmp_path: Path) -> None:
    """A run on data of which a third has no label is the run on the rest."""
    data = make_data()
    labels = np.where(np.arange(96) % 2 == 0, np.arange(96) % 3, -1)
    dataset = data.train.dataset
    assert isinstance(dataset, InMemory)
    some = replace(data.train, dataset=InMemory(dataset.x, torch.from_numpy(labels)), labels=labels)
    kept = np.flatnonzero(labels >= 0)
    rest = replace(
        data.train, dataset=InMemory(dataset.x[kept], torch.from_numpy(labels[kept])), labels=labels[kept], names=None
    )
    first = run_small(tmp_path / "a", data=replace(data, train=some))
    second = run_small(tmp_path / "b", data=replace(data, train=rest))
    assert first.steps == 9
    assert torch.equal(weights(first.model), weights(second.model))


def test_bfloat16_trains_on_a_processor(tmp_path: Path) -> None:
    """Passes in bfloat16 learn, weights stay float32, and the losses are near those of float32, and not the same."""
    losses = []
    for precision in ("float32", "bfloat16"):
        run = run_small(tmp_path / precision, make_config(precision=precision), net=make_net(plain=True))
        assert {value.dtype for value in run.model.state_dict().values()} == {torch.float32}
        losses.append([epoch["loss"] for epoch in run.epochs])
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_samples(tmp_path: Path) -> None:
    """The last good checkpoint stays, nothing newer is written, and the run goes on once the sample is mended."""
    data = make_data()
    dataset = data.train.dataset
    assert isinstance(dataset, InMemory)
    sound = dataset.x[7].clone()

    def spoil(done: int, total: int) -> None:
        if done == 6:
            dataset.x[7] = torch.nan

    config = make_config(batch_size=48, epochs=4, run={"checkpoint_every": 1})
    with pytest.raises(TrainingError, match=r"finite loss.*step (7|8) \(samples row \d+, row .*learning_rate"):
        run_small(tmp_path / "run", config, data=data, progress=spoil)
    checkpoints = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert checkpoints in (["step-000000006"], ["step-000000007"])
    dataset.x[7] = sound
    run = run_small(tmp_path / "run", config, data=data, resume=True)
    whole = run_small(tmp_path / "whole", config)
    assert torch.equal(weights(run.model), weights(whole.model))


class _Hungry(nn.Module):
    """Runs out of memory on more than four samples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        out: Tensor = self.layer(x)
        return out


def test_memory_that_runs_out_is_told_with_the_batch_that_fits(tmp_path: Path) -> None:
    """Sixteen do not fit, four do: the message says so, and following it works."""
    data = make_data(validation=0)
    with pytest.raises(TrainingError, match=r"16 samples.*4 fit: set training.accumulation = 4.*batch_size = 4"):
        run_small(tmp_path / "run", make_config(), net=_Hungry(), data=data)
    assert run_small(tmp_path / "again", make_config(accumulation=4), net=_Hungry(), data=data).steps == 18


class _Unused(nn.Module):
    """Has a layer that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.spare = nn.Linear(6, 3), nn.Linear(6, 3)
        self.layer.requires_grad_(requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


def test_a_step_that_cannot_be_taken_says_what_to_change(tmp_path: Path) -> None:
    """One sample for batch normalisation, and a part that trains but is not used: no error of torch's insides."""
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    with pytest.raises(TrainingError, match=r"batch normalisation, found 1\. Set a larger training\.batch_size"):
        run_small(tmp_path / "one", make_config(batch_size=1), net=net, data=make_data(validation=0))
    with pytest.raises(TrainingError, match=r"found that it does not: .*spare\.weight, .*spare\.bias take no part"):
        run_small(tmp_path / "unused", make_config(), net=_Unused(), data=make_data(validation=0))


def test_a_full_disk_leaves_the_checkpoints_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the last whole checkpoint, no half of one stays, and the run can be resumed to the bit."""
    write, count = Path.write_bytes, 0

    def full(self: Path, content: Any) -> int:
        nonlocal count
        count += self.name == "optimizer.safetensors"
        if count == 2:
            write(self, content[: len(content) // 2])
            raise OSError(28, "No space left on device", str(self))
        return write(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(TrainingError, match=r"step 12.*No space left.*step-000000006 is whole: make room"):
            run_small(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000000006"]
    resumed = run_small(tmp_path / "run", resume=True)
    assert torch.equal(weights(resumed.model), weights(run_small(tmp_path / "whole").model))


class _Deadly(InMemory):
    """Ends the process that reads row 5."""

    def __getitem__(self, row: int) -> tuple[Tensor, Any, int]:
        if row == 5:
            import os

            os._exit(3)
        return super().__getitem__(row)


def test_a_worker_that_dies_is_told(tmp_path: Path) -> None:
    """The run ends with an error that says what to do, not with the loader's."""
    data = make_data()
    dataset = data.train.dataset
    assert isinstance(dataset, InMemory)
    deadly = replace(data, train=replace(data.train, dataset=_Deadly(dataset.x, dataset.y)))
    with pytest.raises(TrainingError, match=r"processes that load data.*lower run.workers"):
        run_small(tmp_path / "run", make_config(run={"workers": 1}), data=deadly)


def test_a_broken_connection_without_a_word_is_told_too() -> None:
    """A worker that dies while it hands over a batch may end in an error without text."""
    with pytest.raises(TrainingError, match=r"one died \(EOFError\)"), deaths_told(1):
        raise EOFError
    with pytest.raises(EOFError), deaths_told(0):
        raise EOFError


def test_a_folder_in_use_is_refused_and_a_run_that_ended_is_returned(tmp_path: Path) -> None:
    """Without --resume nothing is overwritten; with it, a whole run comes back as it is."""
    first = run_small(tmp_path / "run", make_config(epochs=1))
    with pytest.raises(OutputExistsError, match=r"empty folder.*--resume"):
        run_small(tmp_path / "run", make_config(epochs=1))
    again = run_small(tmp_path / "run", make_config(epochs=1), resume=True)
    assert torch.equal(weights(first.model), weights(again.model))
    assert (again.steps, again.metrics, again.speed) == (first.steps, first.metrics, None)
    with pytest.raises(TrainingError, match=r"was made with, found training.epochs = 2 instead of 1"):
        run_small(tmp_path / "run", make_config(epochs=2), resume=True)


def _stopped(folder: Path) -> None:
    """Leave a run in the middle."""

    def stop(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_small(folder, progress=stop)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    """Other settings, another model and a damaged file are each told; settings of [run] may differ."""
    _stopped(tmp_path / "run")
    with pytest.raises(TrainingError, match=r"was made with, found training.learning_rate = 0.5 instead of 0.02"):
        run_small(tmp_path / "run", make_config(learning_rate=0.5), resume=True)
    with pytest.raises(TrainingError, match="of another model"):
        run_small(tmp_path / "run", net=make_net(plain=True), resume=True)
    path = tmp_path / "run" / "checkpoints" / "step-000000006" / "module.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(TrainingError, match="changed or incomplete"):
        run_small(tmp_path / "run", resume=True)
    path.write_bytes(content)
    assert run_small(tmp_path / "run", make_config(run={"keep_last": 3}), resume=True).steps == 18


def test_a_run_that_was_cut_off_leaves_one_line_per_step_when_resumed(tmp_path: Path) -> None:
    """Lines of steps that are taken again go; half a line, as a killed process leaves, does no harm."""
    _stopped(tmp_path / "run")
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    run_small(tmp_path / "run", resume=True)
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, 19))
    assert [r["epoch"] for r in records if r["kind"] == "epoch"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"precision": "float16"}, "GPU for training.precision float16"),
        ({"batch_size": 18, "accumulation": 4}, "multiple of 4 .*Choose 20"),
        ({"batch_size": 500, "accumulation": 97}, "multiple of 97"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(tmp_path: Path, training: dict[str, Any], message: str) -> None:
    """Before the first step, with what to choose instead."""
    with pytest.raises(InputError, match=message):
        run_small(tmp_path / "run", make_config(**training))


@pytest.mark.parametrize(
    ("config", "tasks", "message"),
    [
        ({"objective": {"name": "multi-task"}}, 1, "two tasks or more"),
        ({}, 2, "one task for the objective supervised"),
        ({"run": {"sharding": "fsdp"}}, 1, "several processes.*torchrun"),
        ({"objective": {"name": "multi-task"}, "balanced": True}, 2, "labels of one task"),
    ],
)
def test_an_objective_that_does_not_fit_is_refused(
    tmp_path: Path, config: dict[str, Any], tasks: int, message: str
) -> None:
    """Objective, data and processes have to fit each other."""
    with pytest.raises(InputError, match=message):
        run_small(tmp_path / "r", make_config(**config), data=make_data(tasks=tasks), net=make_net(outputs=3 * tasks))


class _Stream(IterableDataset[Any]):
    """Gives nothing, one after another."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def test_shards_to_validate_a_sharded_model_on_are_refused(tmp_path: Path) -> None:
    """Processes would wait for each other for ever."""
    data = make_data()
    assert data.validation is not None
    streamed = replace(data, validation=replace(data.validation, dataset=_Stream()))
    with pytest.raises(InputError, match=r"files or arrays with run.sharding"):
        run_small(tmp_path / "run", make_config(run={"sharding": "fsdp"}), data=streamed)


def test_a_model_without_logits_for_every_class_is_refused(tmp_path: Path) -> None:
    """The error names what the model returned."""
    with pytest.raises(InputError, match=r"logits of \(b, 3\), found \[\(16, 4\)\]"):
        run_small(tmp_path / "run", net=make_net(outputs=4))


def test_a_run_that_could_not_begin_leaves_its_folder_free(tmp_path: Path) -> None:
    """What was refused has written nothing; before the first checkpoint, a run may be resumed with other settings."""
    with pytest.raises(InputError, match="multiple of 4"):
        run_small(tmp_path / "run", make_config(batch_size=18, accumulation=4))
    assert not (tmp_path / "run").exists()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_small(tmp_path / "run", progress=stop)
    run_small(tmp_path / "run", make_config(learning_rate=0.01, epochs=1), resume=True)
    assert "learning_rate = 0.01\n" in (tmp_path / "run" / "config.toml").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """`--device cuda` never falls back to the processor."""
    with pytest.raises(InputError, match="CUDA device, found none"):
        run_small(tmp_path / "run", device="cuda")
