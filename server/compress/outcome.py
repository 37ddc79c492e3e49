"""What a compression run found: in words, as JSON, and as a page."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..config.read import as_json
from .budget import Budget, Choice, MeasuredModel, Miss
from .settings import CompressConfig

FORMAT = "acclimate-compression"
VERSION = 1
_COSTS = {"max_latency_ms": ("latency", "ms"), "max_size_mb": ("size", "MB"), "max_drop": ("drop", "points")}
_PACKAGES = ("torch", "torch-pruning", "onnx", "onnxruntime")


@dataclass(frozen=True, eq=False)
class Compression:
    """What a compression run gave.

    Args:
        folder: Of the run.
        models: Every candidate that was measured, the original in float first.
        choice: Which of them to take, or why none.
        budget: What it may cost.
        bundles: The bundle of each model.
        failed: Names of candidates that could not be made or exported, with the reason.
        told: What was done to make each candidate, by name.
        samples: How many samples it was calibrated and judged on.
        bundle: That of the chosen model, or None.
        model: Checkpoint of the chosen model, or None where none was chosen or it cannot be built again.
        seconds: Of making the candidates, and of exporting and measuring them.
    """

    folder: Path
    models: tuple[MeasuredModel, ...]
    choice: Choice
    budget: Budget
    bundles: tuple[Path, ...]
    failed: tuple[tuple[str, str], ...]
    told: Mapping[str, Mapping[str, Any]]
    samples: Mapping[str, int]
    bundle: Path | None
    model: Path | None
    seconds: Mapping[str, float]

    def __str__(self) -> str:
        """Say in a sentence what was chosen, or which limits are not kept, and by how much."""
        choice = self.choice
        if choice.chosen is not None:
            return f"the best model within the budget is {named(self.models[choice.chosen])}."
        if choice.impossible:
            told = "; ".join(
                f"{_limit(miss.limit, miss.wanted)}, found {_reached(miss)} at best{self._within(miss)}"
                for miss in choice.impossible
            )
        else:
            limits = " and ".join(_limit(*one) for one in self.budget.limits().items())
            told = f"{limits} at once, found each kept by some model, all by none"
        nearest = " and ".join(f"{_COSTS[miss.limit][0]} {_reached(miss)}" for miss in choice.missed)
        limits = "limit" if len(choice.missed) == 1 else "limits"
        names = " and ".join(_COSTS[miss.limit][0] for miss in choice.missed)
        return (
            f"expected {told}. The nearest is {named(self.models[choice.nearest])} with {nearest}. Raise the {limits} "
            f"of {names} above that and go on with --resume, or compress further: higher compress.ratios, a smaller "
            f"compress.student."
        )

    def _within(self, miss: Miss) -> str:
        """Say what the models reach that keep the other limits, where another one reached more."""
        if not miss.alone:
            return ""
        least = "by none" if miss.within is None else f"{miss.within:.3g} {_COSTS[miss.limit][1]} by one"
        return f" by {named(self.models[miss.by])}, which breaks another limit, and {least} that keeps every other"


def named(model: MeasuredModel) -> str:
    """Return a model's name with its number of bits."""
    return f"{model.name} ({'int8' if model.int8 else 'float'})"


def plain(found: Compression) -> dict[str, Any]:
    """Return what was found as JSON values."""
    choice = found.choice
    return {
        "format": FORMAT,
        "version": VERSION,
        "budget": asdict(found.budget),
        "models": [
            {
                **asdict(one),
                "pareto": place in choice.pareto,
                "chosen": place == choice.chosen,
                "bundle": str(path.relative_to(found.folder)),
            }
            for place, (one, path) in enumerate(zip(found.models, found.bundles, strict=True))
        ],
        "chosen": choice.chosen,
        "nearest": choice.nearest,
        "impossible": [asdict(miss) for miss in choice.impossible],
        "missed": [asdict(miss) for miss in choice.missed],
        "failed": [{"name": name, "reason": reason} for name, reason in found.failed],
        "made": {name: dict(told) for name, told in found.told.items()},
        "samples": dict(found.samples),
        "bundle": None if found.bundle is None else str(found.bundle.relative_to(found.folder)),
        "model": None if found.model is None else str(found.model.relative_to(found.folder)),
        "seconds": dict(found.seconds),
        "versions": dict(_versions()),
    }


def page(found: Compression, config: CompressConfig) -> Any:
    """Return the report of a compression run, a `Report`."""
    # Drawing takes a second to import.
    from ..report import Column, Fact, Report, Section, Table
    from ..run_report.pareto import pareto_section
    from ..run_report.settings import settings_table

    first = found.models[0]
    place = found.choice.nearest if found.choice.chosen is None else found.choice.chosen
    best = found.models[place]
    kind = "chosen" if found.choice.chosen is not None else "nearest"
    facts = (
        Fact("latency", f"{best.latency_ms:.3g} ms", f"{first.latency_ms:.3g} ms of the original in float"),
        Fact("size", f"{best.size_mb:.3g} MB", f"{first.size_mb:.3g} MB of the original in float"),
        Fact("accuracy", f"{best.accuracy:.2%}", f"{first.accuracy:.2%} of the original in float"),
    )
    made = tuple((name, _done(told)) for name, told in found.told.items() if told)
    steps = Table("What was done", (Column("candidate"), Column("steps", wraps=True)), made)
    lost = Table("Without a place above", (Column("candidate"), Column("reason", wraps=True)), tuple(found.failed))
    judged = (
        f"Accuracy is that on {found.samples['evaluation']} validation samples, on which the choice was made: on "
        f"samples that no choice was made on it is a little lower. The {kind} model: {named(best)}."
    )
    return Report(
        f"Compression of {config.model.name}",
        str(found)[:1].upper() + str(found)[1:],
        facts,
        (
            pareto_section(found.models, found.choice, found.budget),
            Section("Candidates", judged, tuple(table for table in (steps, lost) if table.rows)),
            Section("Settings", "", (settings_table(as_json(config)),)),
        ),
        (*_versions(), *((f"seconds, {name}", f"{value:.1f}") for name, value in found.seconds.items())),
    )


def _done(told: Mapping[str, Any]) -> str:
    before, after = told["parameters"]
    parts = [f"{before:,} to {after:,} parameters"]
    if "ratio" in told:
        parts.append(f"{told['removed']:.1%} of the channels went, asked for were {told['ratio']:.0%}")
    if "ranks" in told:
        parts.append(", ".join(f"{name} of rank {rank}" for name, rank in told["ranks"].items()))
    return "; ".join(parts)


def _limit(limit: str, wanted: float) -> str:
    name, unit = _COSTS[limit]
    return f"a {name} of at most {wanted:g} {unit}"


def _reached(miss: Miss) -> str:
    return f"{miss.nearest:.3g} {_COSTS[miss.limit][1]}"


def _versions() -> Sequence[tuple[str, str]]:
    from ... import __version__

    found = [("acclimate", __version__)]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found
