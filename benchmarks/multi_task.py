"""Whether tasks that share a trunk do better than each on its own, and whether it shows where they share nothing.

Ten tasks on digits of MNIST: to tell one digit from the next (0 or 1, 1 or 2, ...), as if ten people each sorted their
own. Each task has 20 labelled images that no other task sees. Alone, a small network learns from these 20; multi-task,
the same network with two outputs for each task learns from all 200, every image labelled for its own task only, in as
many steps; both at the learning rate that was best for them on validation images. Losses are weighted by learnt
uncertainty, added up, or added up with conflicting gradients projected (PCGrad). There is no BatchNorm, whose
statistics would be better with more images whatever the tasks have in common.

Then the same tasks once more, the pixels of each task's images in an order of their own: each task can be learnt as
before, and what the tasks had in common is gone. There the figures have to say that multi-task is not better. "Better"
and "worse" mean that a paired interval (95 %) over independent draws of the labelled images lies on one side of 0.

Task, network and settings were chosen on validation images, and that chose the outcome, too: the network averages its
last maps over their places, and alone does better with the pixels scrambled. One that keeps the places apart did as
well alone as together, with 10 images a task, and better than either here. People as tasks, each with own vowels or
exercises, gained nothing from a shared trunk.

`python -m benchmarks.multi_task --json FILE`
"""

import logging
import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn

from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data import DataSettings
from acclimate.server.pretrain import pretrain
from acclimate.server.training.settings import ObjectiveSettings, RunSettings, TrainingSettings

from .digit_images import MEAN, STD, Frames, Int64, Labelled, as_tensor, digits
from .harness import Row, finish
from .paired import paired

SEEDS, OF_EACH, TASKS = 5, 10, 10
ALONE = TrainingSettings(epochs=60, learning_rate=3e-3, weight_decay=0.1, label_smoothing=0.0)
TOGETHER = replace(ALONE, learning_rate=1e-2)
COMBINED = ("uncertainty", "equal", "pcgrad")
_RUN = RunSettings(tensorboard=False, log_every=1_000)
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Task:
    """One task of one draw.

    Args:
        x: ``(20, 28, 28, 1) uint8`` to learn from.
        y: ``(20,)`` classes, 0 for the lower digit and 1 for the next.
        fresh: ``(t, 28, 28, 1) uint8`` to score on.
        truth: ``(t,)`` their classes.
    """

    x: Frames
    y: Int64
    fresh: Frames
    truth: Int64

    def scrambled(self, seed: int) -> "Task":
        """Return the same, pixels in another order."""
        order = np.random.default_rng(seed).permutation(28 * 28)

        def moved(frames: Frames) -> Frames:
            return frames.reshape(len(frames), -1)[:, order].reshape(frames.shape)

        return replace(self, x=moved(self.x), fresh=moved(self.fresh))


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    # That there is no validation part, which is meant.
    logging.getLogger("acclimate").setLevel(logging.ERROR)
    sets: dict[str, dict[str, list[list[float]]]] = {"digits": defaultdict(list), "scrambled": defaultdict(list)}
    labelled, fresh = digits()
    with threadpool_limits(1):
        for seed in range(SEEDS):
            drawn = draw(labelled, fresh, seed)
            moved = [task.scrambled(place) for place, task in enumerate(drawn)]
            for found, tasks in zip(sets.values(), (drawn, moved), strict=True):
                found["alone"].append(alone(tasks, seed))
                for combine in COMBINED:
                    found[combine].append(together(tasks, seed, combine))
    shared, scrambled = ({way: np.array(each) for way, each in found.items()} for found in sets.values())
    rows = [
        *_rows("digits", shared, COMBINED[0], "gain"),
        *(_task_row(place, shared) for place in range(TASKS)),
        *_rows("the same, pixels of each task scrambled", scrambled, COMBINED[0], "unrelated"),
    ]
    finish("multi_task", rows, ["torch"])


def draw(labelled: Labelled, fresh: Labelled, seed: int) -> list[Task]:
    """Draw the tasks' images, which share none.

    Args:
        labelled: Images to draw from, and which digits they are.
        fresh: Images to score on, and which digits they are.
        seed: Draws them.
    """
    draws = np.random.default_rng(seed)
    rows = [draws.permutation(np.flatnonzero(labelled[1] == digit))[: 2 * OF_EACH] for digit in range(TASKS)]
    tasks = []
    for digit in range(TASKS):
        following = (digit + 1) % TASKS
        own = np.concatenate([rows[digit][:OF_EACH], rows[following][OF_EACH:]])
        scored = np.flatnonzero((fresh[1] == digit) | (fresh[1] == following))
        y, truth = ((part == following).astype(np.int64) for part in (labelled[1][own], fresh[1][scored]))
        tasks.append(Task(labelled[0][own], y, fresh[0][scored], truth))
    return tasks


def alone(tasks: list[Task], seed: int) -> list[float]:
    """Return the accuracy of each task, percent, of a network of its own."""
    nets = [_fit(task.x, {"y": task.y}, ObjectiveSettings(), replace(ALONE, seed=seed)) for task in tasks]
    return [_accuracy(net, task, 0) for net, task in zip(nets, tasks, strict=True)]


def together(tasks: list[Task], seed: int, combine: str) -> list[float]:
    """Return the accuracy of each task, percent, of one network with outputs for all."""
    x, task_of = np.concatenate([task.x for task in tasks]), np.repeat(range(len(tasks)), [len(t.y) for t in tasks])
    y = np.concatenate([task.y for task in tasks])
    labels = {f"task{place}": np.where(task_of == place, y, -1) for place in range(len(tasks))}
    objective = ObjectiveSettings(name="multi-task", combine=combine)
    net = _fit(x, labels, objective, replace(TOGETHER, seed=seed))
    return [_accuracy(net, task, place) for place, task in enumerate(tasks)]


def _fit(x: Frames, labels: dict[str, Int64], objective: ObjectiveSettings, training: TrainingSettings) -> nn.Module:
    """Train on all samples at each step, and keep the last weights: there is nothing to choose others by."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "samples.npz")
        np.savez(path, x=x, **labels)  # type: ignore[arg-type]
        data = DataSettings(train=str(path), validation_share=0.0, labels=tuple(labels), mean=(MEAN,), std=(STD,))
        whole = replace(training, batch_size=len(x))
        settings = PretrainConfig(ModelSettings(name="benchmarks.multi_task:_net"), data, whole, objective, _RUN)
        net = _net(2 * len(labels), training.seed)
        return pretrain(settings, out=Path(name, "run"), device="cpu", model=net).model


def _net(outputs: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    steps: list[nn.Module] = []
    for inputs, channels in ((1, 16), (16, 32), (32, 64)):
        steps += [nn.Conv2d(inputs, channels, 3, 2, 1), nn.GroupNorm(1, channels), nn.ReLU()]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, outputs))


def _accuracy(net: nn.Module, task: Task, place: int) -> float:
    with torch.no_grad():
        logits = net(as_tensor(task.fresh))[:, 2 * place : 2 * place + 2].numpy()
    return 100 * float((logits.argmax(1) == task.truth).mean())


def _rows(name: str, found: dict[str, Float64], judged: str, goal: str) -> list[Row]:
    """Return a row for each way of combining, the judged one first, and what that says of the set.

    Args:
        name: Of the set.
        found: ``(draws, tasks)`` percent of each way.
        judged: The way that has the goal.
        goal: Its name: of the gain's lower end.
    """
    rows = []
    for way in COMBINED:
        gain = paired((found[way] - found["alone"]).mean(1))
        rows.append(
            Row(
                f"{name}: {way}, mean over tasks",
                float(found[way].mean()),
                "%",
                float(found["alone"].mean()),
                note=f"against alone: {_verdict(gain.low, gain.high)}, paired {gain}",
            )
        )
    low = paired((found[judged] - found["alone"]).mean(1)).low
    if goal == "unrelated":
        return [Row(f"{name}: points that {judged} gains, least (95 %)", low, "%", 0.0, goal), *rows]
    return [Row(f"{name}: points that alone is above {judged}, most (95 %)", 0.0 - low, "%", 0.0, goal), *rows]


def _task_row(place: int, found: dict[str, Float64]) -> Row:
    together_, alone_ = found[COMBINED[0]][:, place], found["alone"][:, place]
    gain = paired(together_ - alone_)
    return Row(
        f"{place} or {(place + 1) % TASKS}, {COMBINED[0]}",
        float(together_.mean()),
        "%",
        float(alone_.mean()),
        note=f"{_verdict(gain.low, gain.high)}, paired {gain}",
    )


def _verdict(low: float, high: float) -> str:
    return "better" if low > 0 else "worse" if high < 0 else "not better"


if __name__ == "__main__":
    main()
