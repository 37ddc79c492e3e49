"""What every benchmark shares: alternating measurement, memory of a process, rows with goals, a table and JSON."""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_info

GOALS = tomllib.loads((Path(__file__).parent / "goals.toml").read_text())


@dataclass(frozen=True)
class Row:
    """One figure of a benchmark.

    Args:
        metric: What was measured.
        value: The figure.
        unit: Its unit.
        against: The figure it is compared with, in the same unit, or None.
        goal: Name of its goal in `goals.toml` below the benchmark's name, or an empty string.
        note: What a reader should know.
    """

    metric: str
    value: float
    unit: str
    against: float | None = None
    goal: str = ""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value over what it is compared with."""
        return None if not self.against else self.value / self.against


@dataclass(frozen=True)
class Cost:
    """Medians over repetitions.

    Args:
        wall: Seconds.
        cpu: Seconds of this process and of the children it waited for.
    """

    wall: float
    cpu: float


def alternate(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Cost]:
    """Run works in turn, several times over, so that a noisy machine is noisy for all of them.

    Args:
        works: What to run, by name.
        repeats: How often each runs; one more run before warms up and is not counted.

    Returns:
        Median cost of each.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            cpu, begun = _cpu(), time.perf_counter()
            work()
            if turn:
                found[name].append((time.perf_counter() - begun, _cpu() - cpu))
    return {
        name: Cost(statistics.median(w for w, _ in runs), statistics.median(c for _, c in runs))
        for name, runs in found.items()
    }


def peak_memory() -> float:
    """Return this process's greatest resident memory in MB. Not `ru_maxrss`, which a child inherits from its parent."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def finish(benchmark: str, rows: Sequence[Row], packages: Sequence[str]) -> None:
    """Print the table, and write the JSON where `--json FILE` asks for it.

    Args:
        benchmark: Its name.
        rows: Its figures.
        packages: Whose versions matter.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{benchmark}")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    path = parser.parse_args().json
    table = Table("metric", "value", "against", "ratio", "goal", "met", "note", title=benchmark, box=None)
    written: list[dict[str, Any]] = []
    for row in rows:
        goal, met = _judge(benchmark, row)
        written.append({**asdict(row), "ratio": row.ratio, "goal": goal, "met": met})
        table.add_row(
            row.metric,
            f"{row.value:.4g} {row.unit}",
            "" if row.against is None else f"{row.against:.4g} {row.unit}",
            "" if row.ratio is None else f"{row.ratio:.3f}",
            goal or "",
            {True: "yes", False: "no", None: ""}[met],
            row.note,
        )
    Console(width=160).print(table)
    versions = {name: importlib.metadata.version(name) for name in ("acclimate", "numpy", *packages)}
    report = {"benchmark": benchmark, "machine": machine(), "versions": versions, "rows": written}
    if path is not None:
        path.write_text(json.dumps(report, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    kernels = sorted({f"{pool['internal_api']} {pool.get('architecture', '')}".strip() for pool in threadpool_info()})
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "blas": kernels,
    }


def _judge(benchmark: str, row: Row) -> tuple[str, bool | None]:
    if not row.goal:
        return "", None
    goal = GOALS[benchmark][row.goal]
    if row.against is None:
        raise ValueError(f"{row.metric} has a goal and nothing to be compared with")
    value = row.value / row.against if goal["kind"] == "ratio" else row.value - row.against
    sign = "x" if goal["kind"] == "ratio" else f"{row.unit} above"
    return f"<= {goal['at_most']:g} {sign}", bool(value <= goal["at_most"])


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
