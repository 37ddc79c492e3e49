"""Which of several measured models to take within a budget, or why none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import InputError


@dataclass(frozen=True)
class Budget:
    """What a model may cost; None leaves a cost free.

    Args:
        max_latency_ms: Median of the milliseconds for one sample, one thread, on the machine that measures.
        max_size_mb: Size of the bundle in megabytes (10^6 bytes).
        max_drop: Percentage points of accuracy that it may lose against the first candidate in float.
    """

    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        for name, limit in self.limits().items():
            if not 0 <= limit < math.inf or (limit == 0 and name != "max_drop"):
                raise InputError(f"expected {name} above 0, found {limit}. Leave it out where it is free.")

    def limits(self) -> dict[str, float]:
        """Return the limits that are set, by name."""
        named = {"max_latency_ms": self.max_latency_ms, "max_size_mb": self.max_size_mb, "max_drop": self.max_drop}
        return {name: limit for name, limit in named.items() if limit is not None}


@dataclass(frozen=True)
class MeasuredModel:
    """A candidate, exported and measured on a device runtime.

    Args:
        name: Name of the candidate.
        int8: Whether weights and activations have 8 bits.
        latency_ms: Median of the milliseconds for one sample with one thread, all models in turn.
        size_mb: Size of its bundle in megabytes.
        accuracy: Share of the evaluation samples that it classifies right, 0 to 1.
        drop: Percentage points below the first candidate in float; negative where it is better.
        parameters: Number of its parameters.
    """

    name: str
    int8: bool
    latency_ms: float
    size_mb: float
    accuracy: float
    drop: float
    parameters: int

    def cost(self, limit: str) -> float:
        """Return what a limit of `Budget` bounds."""
        return {"max_latency_ms": self.latency_ms, "max_size_mb": self.size_mb, "max_drop": self.drop}[limit]


@dataclass(frozen=True)
class Miss:
    """A limit that is not kept.

    Args:
        limit: Its name in `Budget`.
        wanted: Its value.
        nearest: What was reached: among `impossible` the least of all models, among `missed` that of the nearest one.
        by: The model that reached it, by its place in the table.
        within: Among `impossible` the least of the models that keep every limit that can be kept; None where none
            does.
    """

    limit: str
    wanted: float
    nearest: float
    by: int
    within: float | None = None

    @property
    def alone(self) -> bool:
        """Whether what was reached takes a model that breaks another limit."""
        return self.within is None or self.within > self.nearest


@dataclass(frozen=True)
class Choice:
    """What a budget allows.

    Args:
        chosen: Place of the model to take, or None where none keeps every limit.
        nearest: Place of the model that is nearest to the budget; `chosen` where there is one.
        pareto: Places of the models that no other one beats in latency, size and accuracy at once.
        impossible: Limits that no model keeps, each with the least that was reached.
        missed: Limits that `nearest` does not keep.
    """

    chosen: int | None
    nearest: int
    pareto: tuple[int, ...]
    impossible: tuple[Miss, ...] = ()
    missed: tuple[Miss, ...] = ()

    def __str__(self) -> str:
        """One sentence."""
        if self.chosen is not None:
            return f"model {self.chosen} keeps every limit."
        if self.impossible:
            return f"no model keeps {'; '.join(map(_told, self.impossible))}."
        found = ", ".join(f"{one.limit} {one.wanted:g} ({one.nearest:.3g})" for one in self.missed)
        return f"each limit is kept by some model, all by none; the nearest, {self.nearest}, misses {found}."


def choose(models: Sequence[MeasuredModel], budget: Budget) -> Choice:
    """Choose a model within a budget.

    The most accurate one within latency and size; the fastest where only the drop is bounded. Where none keeps every
    limit, the nearest is the one whose greatest excess, as a share of its limit (of a point for the drop), is least;
    of several such the one with the least sum.

    Args:
        models: The table, one model or more.
        budget: The limits, one or more.

    Returns:
        The choice.

    Raises:
        InputError: If there is no model or no limit.
    """
    limits = budget.limits()
    if not models or not limits:
        raise InputError(f"expected one model and one limit or more, found {len(models)} and {len(limits)}.")
    places = range(len(models))
    pareto = tuple(i for i in places if not any(_beats(models[j], models[i]) for j in places))
    within = [i for i in places if all(models[i].cost(name) <= limit for name, limit in limits.items())]
    if within:
        fastest = set(limits) == {"max_drop"}
        chosen = min(within, key=lambda i: _rank(models[i], fastest=fastest))
        return Choice(chosen, chosen, pareto)
    nearest = min(places, key=lambda i: _excess(models[i], limits))
    kept = {name: limit for name, limit in limits.items() if any(one.cost(name) <= limit for one in models)}
    keeping = [one for one in models if all(one.cost(name) <= limit for name, limit in kept.items())]
    impossible = []
    for name in limits:
        if name in kept:
            continue
        best = min(places, key=lambda i: models[i].cost(name))
        least = min((one.cost(name) for one in keeping), default=None)
        impossible.append(Miss(name, limits[name], models[best].cost(name), best, least))
    missed = tuple(
        Miss(name, limit, models[nearest].cost(name), nearest)
        for name, limit in limits.items()
        if models[nearest].cost(name) > limit
    )
    return Choice(None, nearest, pareto, tuple(impossible), missed)


def _told(miss: Miss) -> str:
    told = f"{miss.limit} {miss.wanted:g}: {miss.nearest:.3g} at best"
    if not miss.alone:
        return told
    within = "by none" if miss.within is None else f"{miss.within:.3g} among those"
    return f"{told}, {within} that keep every other limit"


def _rank(model: MeasuredModel, *, fastest: bool) -> tuple[float, float, float]:
    if fastest:
        return model.latency_ms, model.size_mb, -model.accuracy
    return -model.accuracy, model.latency_ms, model.size_mb


def _excess(model: MeasuredModel, limits: dict[str, float]) -> tuple[float, float]:
    """Return the greatest excess, and for models that are alike in it the sum of all."""
    over = [(model.cost(name) - limit) / (1.0 if name == "max_drop" else limit) for name, limit in limits.items()]
    return max(over), sum(over)


def _beats(a: MeasuredModel, b: MeasuredModel) -> bool:
    first, second = ((one.latency_ms, one.size_mb, -one.accuracy) for one in (a, b))
    return first != second and all(x <= y for x, y in zip(first, second, strict=True))
