"""Processes of different environments that train in turn, so that a noisy machine is noisy for all of them.

The one side asks through standard input for so many steps, the other answers with what they cost. This file needs the
standard library alone: the peer's environment has little else.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Turns:
    """What one process's steps cost.

    Args:
        wall: Median seconds of a step.
        cpu: Median processor seconds of a step.
        losses: Losses of the first steps.
    """

    wall: float
    cpu: float
    losses: tuple[float, ...]


def serve(step: Callable[[], float]) -> None:
    """Make as many steps as each line of standard input says, and answer with their cost and losses.

    Args:
        step: Makes one step and returns its loss.
    """
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        losses = [step() for _ in range(int(line))]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"wall": wall, "cpu": cpu, "losses": losses}), flush=True)


def take_turns(commands: Mapping[str, Sequence[str]], first: int, repeats: int, seconds: float) -> dict[str, Turns]:
    """Let processes that `serve` train one after the other, several times over.

    Args:
        commands: How each is started, by name.
        first: Steps whose losses are returned; they warm up and are not counted.
        repeats: Turns of each.
        seconds: How long a turn of the slowest takes, about.

    Returns:
        What a step of each costs.
    """
    with ExitStack() as running:
        started = {}
        for name, command in commands.items():
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
            started[name] = running.enter_context(process)
        warm = {name: _ask(process, first) for name, process in started.items()}
        slowest = max(_ask(process, 3)["wall"] / 3 for process in started.values())
        count = max(3, math.ceil(seconds / slowest))
        found: dict[str, list[dict[str, float]]] = {name: [] for name in started}
        for _ in range(repeats):
            for name, process in started.items():
                found[name].append(_ask(process, count))
    return {
        name: Turns(
            statistics.median(turn["wall"] for turn in turns) / count,
            statistics.median(turn["cpu"] for turn in turns) / count,
            tuple(warm[name]["losses"]),
        )
        for name, turns in found.items()
    }


def _ask(process: subprocess.Popen[str], count: int) -> dict[str, Any]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("expected a process with pipes")
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer
