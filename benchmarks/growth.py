"""How time and memory of an adaptation grow around 2,000 samples, 10 classes and a width of 1,280.

One factor at a time: samples to 100,000, classes to 1,000, width to 4,096; without a source, and at some points with
one. Each point is a process of its own that reads synthetic latents from a store and adapts once (`growth_point.py`).
Prints the figures beside what `Learner.estimate` tells beforehand, and the exponents of fitted powers: over the whole
range, and over its upper half. Writes a plot to build/bench/growth.png (and .svg).

`python -m benchmarks.growth --json FILE`, at one thread: OMP_NUM_THREADS=1. About five minutes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

from .growth_point import Point
from .harness import Row, finish
from .lite0 import FOLDER

SAMPLES, CLASSES, WIDTH = 2_000, 10, 1_280
FACTORS = {
    "samples": (250, 500, 1_000, 2_000, 5_000, 20_000, 100_000),
    "classes": (2, 5, 10, 30, 100, 300, 1_000),
    "width": (64, 256, 512, 1_280, 2_048, 4_096),
}
WITH_SOURCE = {"samples": (250, 2_000, 20_000), "classes": (2, 100, 300), "width": (64, 512, 4_096)}


def main() -> None:
    """Measure, plot and print."""
    found = {False: _measure(FACTORS, False), True: _measure(WITH_SOURCE, True)}
    _plot(found[False])
    rows = [
        row
        for source, factors in found.items()
        for factor, points in factors.items()
        for row in _rows(factor, points, source)
    ]
    finish("growth", rows, ["matplotlib"])


def _measure(factors: Mapping[str, tuple[int, ...]], source: bool) -> dict[str, list[Point]]:
    known: dict[tuple[int, int, int], Point] = {}
    found: dict[str, list[Point]] = {}
    for factor, values in factors.items():
        for value in values:
            given = {"samples": SAMPLES, "classes": CLASSES, "width": WIDTH, factor: value}
            size = (given["samples"], given["classes"], given["width"])
            if size not in known:
                known[size] = _point(*size, source)
            found.setdefault(factor, []).append(known[size])
    return found


def _point(samples: int, classes: int, width: int, source: bool) -> Point:
    command = [sys.executable, "-m", "benchmarks.growth_point", *map(str, (samples, classes, width, int(source)))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return Point(**json.loads(done.stdout))


def _rows(factor: str, points: Sequence[Point], source: bool) -> list[Row]:
    where = " with a source" if source else ""
    rows = []
    for point in points:
        name = f"{getattr(point, factor):,} {factor}{where}"
        rows.append(Row(f"{name}: processor time", point.cpu, "s", point.estimated_seconds, note=point.chosen))
        rows.append(Row(f"{name}: peak memory", point.memory, "MB", point.estimated_memory, "memory"))
    if not source:
        for what in ("cpu", "memory"):
            whole, upper = exponent(factor, what, points), exponent(factor, what, points[len(points) // 2 :])
            rows.append(Row(f"exponent of {what} over {factor}", upper, "", note=f"{whole:.2f} over the whole range"))
    return rows


def exponent(factor: str, what: str, points: Sequence[Point]) -> float:
    """Return the slope of a line through points on logarithmic scales."""
    x, y = ([float(getattr(point, name)) for point in points] for name in (factor, what))
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _plot(found: dict[str, list[Point]]) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    figure, axes = pyplot.subplots(2, len(found), figsize=(11, 6), sharey="row", layout="constrained")
    for column, (factor, points) in zip(axes.T, found.items(), strict=True):
        x = [getattr(point, factor) for point in points]
        for axis, what, told, unit in zip(
            column, ("cpu", "memory"), ("estimated_seconds", "estimated_memory"), ("s", "MB"), strict=True
        ):
            axis.loglog(x, [getattr(point, what) for point in points], "o-", label="measured")
            axis.loglog(x, [getattr(point, told) for point in points], "--", label="estimate()")
            axis.set_title(f"{what} over {factor}: slope {exponent(factor, what, points):.2f}", fontsize=10)
            axis.set_xlabel(factor)
            axis.set_ylabel(unit)
            axis.grid(alpha=0.3)
            axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0, 0].legend()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for kind in ("png", "svg"):
        figure.savefig(FOLDER / f"growth.{kind}", dpi=120)


if __name__ == "__main__":
    main()
