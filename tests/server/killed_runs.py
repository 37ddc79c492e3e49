"""A program that trains, is killed without warning, and trains on: `-m tests.server.killed_runs FOLDER SEED KILLS`.

Writes FOLDER/found.json: where it was killed, and the hashes of the weights of the run that was and of one that was
not. Each attempt is a process of its own, forked from this one. With `apart` at the end, it is not one run that is
killed again and again, but as many runs as there are kills, each killed once; the benchmark of many processes does so.
"""

import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import torch

from acclimate.server.training.logs import read_log

from . import small_runs

_EPOCHS, _STEPS = 5, 6


def _train(out: Path, *, resume: bool = False, progress: Callable[[int, int], None] | None = None) -> None:
    config = small_runs.make_config(
        epochs=_EPOCHS, ema=0.9, mixup=0.4, cutmix=0.5, balanced=True, accumulation=2, run={"checkpoint_every": 4}
    )
    run = small_runs.run_small(out, config, data=small_runs.make_data(vary=0.2), resume=resume, progress=progress)
    content = small_runs.weights(run.model).numpy().tobytes()
    (out / "hash").write_text(hashlib.sha256(content).hexdigest())


def _killed_at_step(out: Path, step: int) -> None:
    _train(out, resume=True, progress=lambda done, _: os.kill(os.getpid(), signal.SIGKILL) if done == step else None)


def _killed_while_writing(out: Path, checkpoint: int) -> None:
    """Die in the middle of a checkpoint: its files are there, its name is not."""
    written = 0
    rename = Path.rename

    def dying(self: Path, target: Path) -> Path:
        nonlocal written
        written += Path(target).name.startswith("step-")
        if written == checkpoint:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    with mock.patch.object(Path, "rename", dying):
        _train(out, resume=True)


def _in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path, seed: int, kills: int) -> None:
    """Run, kill and resume."""
    # A process with threads may not be forked.
    torch.set_num_threads(1)
    draws = random.Random(seed)  # noqa: S311
    whole, cut = folder / "whole", folder / "cut"
    # Here, so that no attempt has to import anything.
    _train(whole)
    ended = []
    steps = sorted(draws.sample(range(1, _EPOCHS * _STEPS - 6), kills - 1))
    ended += [_in_child(partial(_killed_at_step, cut, step)) for step in steps]
    ended.append(_in_child(lambda: _killed_while_writing(cut, 2)))
    left = [path.name for path in cut.rglob("*.part")]
    ended.append(_in_child(lambda: _train(cut, resume=True)))
    logs = [[(r["step"], r["loss"]) for r in read_log(out) if r["kind"] == "epoch"] for out in (whole, cut)]
    hashes = [(out / "hash").read_text() for out in (whole, cut)]
    found = {"steps": steps, "ended": ended, "left": left, "hashes": hashes, "logs": logs}
    (folder / "found.json").write_text(json.dumps(found))


def main_apart(folder: Path, seed: int, kills: int) -> None:
    """Kill each of several runs once, and resume it."""
    torch.set_num_threads(1)
    _train(folder / "whole")
    steps = [random.Random(seed + i).randrange(1, _EPOCHS * _STEPS) for i in range(kills)]  # noqa: S311
    ended, hashes = [], []
    for i, step in enumerate(steps):
        cut = folder / f"cut-{i}"
        ended.append([_in_child(partial(_killed_at_step, cut, step)), _in_child(partial(_train, cut, resume=True))])
        hashes.append((cut / "hash").read_text())
    found = {"steps": steps, "ended": ended, "hashes": [(folder / "whole" / "hash").read_text(), *hashes]}
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    (main_apart if sys.argv[4:] == ["apart"] else main)(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
