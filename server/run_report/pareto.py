"""What a search within a budget found, as a part of a report: a table, and accuracy against each cost."""

from collections.abc import Sequence

from ...errors import InputError
from ..compress.budget import Budget, Choice, MeasuredModel, Miss
from ..plots import Point, TradeOffPlot
from ..report import Column, Section, Table

_UNITS = {"max_latency_ms": "ms", "max_size_mb": "MB", "max_drop": "points"}
_COSTS = {"max_latency_ms": "latency", "max_size_mb": "size", "max_drop": "drop of accuracy"}
_NOTE = (
    "Squares have 8 bits, circles are float32. Filled: no other model is better in latency, size and accuracy at once. "
    "Ringed: the one to take. The line joins those that none beats in the two costs of the plot; dashed are the limits."
)


def pareto_section(models: Sequence[MeasuredModel], choice: Choice, budget: Budget) -> Section:
    """Return the part of a report that tells what a search found.

    Args:
        models: Every model that was measured, one or more.
        choice: Which of them to take, or why none.
        budget: The limits.

    Returns:
        A sentence with the result, the table, accuracy against latency, and accuracy against size.

    Raises:
        InputError: If there is no model, or the choice is of another table.
    """
    places = [choice.nearest, *choice.pareto, *(miss.by for miss in (*choice.impossible, *choice.missed))]
    if not models or not all(0 <= place < len(models) for place in places):
        raise InputError(f"expected a choice among {len(models)} models, found the places {sorted(set(places))}.")
    limits = budget.limits()
    # The drop counts from one accuracy, which every model tells.
    floor = None
    if budget.max_drop is not None:
        floor = models[0].accuracy + (models[0].drop - budget.max_drop) / 100
    plots = (
        _plot(
            "Accuracy against latency", "milliseconds for one sample", "max_latency_ms", models, choice, budget, floor
        ),
        _plot("Accuracy against size", "megabytes of the bundle", "max_size_mb", models, choice, budget, floor),
    )
    return Section(
        "Models within the budget", _sentence(models, choice, limits), (*plots, _table(models, choice, limits))
    )


def _sentence(models: Sequence[MeasuredModel], choice: Choice, limits: dict[str, float]) -> str:
    told = ", ".join(f"{_COSTS[name]} at most {_value(name, limit)}" for name, limit in limits.items())
    if choice.chosen is not None:
        one = models[choice.chosen]
        return (
            f"Asked for: {told}. Chosen: {_name(models, choice.chosen)}, with {one.latency_ms:.3g} ms, "
            f"{one.size_mb:.3g} MB and {one.accuracy:.2%} accuracy ({one.drop:.2f} points lost)."
        )
    if choice.impossible:
        why = " ".join(
            f"No model keeps {_COSTS[miss.limit]} at most {_value(miss.limit, miss.wanted)}: the least is "
            f"{_value(miss.limit, miss.nearest)}, of {_name(models, miss.by)}{_within(miss)}."
            for miss in choice.impossible
        )
    else:
        why = "Each limit is kept by some model, all of them by none."
    nearest = f"The nearest is {_name(models, choice.nearest)}, which has {_misses(choice.missed)}."
    return f"Asked for: {told}. Nothing was chosen. {why} {nearest}"


def _within(miss: Miss) -> str:
    if not miss.alone:
        return ""
    least = "none keeps" if miss.within is None else f"it is {_value(miss.limit, miss.within)} of those that keep"
    return f", which breaks another limit; {least} every other limit"


def _misses(missed: tuple[Miss, ...]) -> str:
    return ", ".join(
        f"{_COSTS[miss.limit]} {_value(miss.limit, miss.nearest)} instead of {_value(miss.limit, miss.wanted)}"
        for miss in missed
    )


def _value(name: str, value: float) -> str:
    return f"{value:.3g} {_UNITS[name]}"


def _name(models: Sequence[MeasuredModel], place: int) -> str:
    return f"{models[place].name} in {_kind(models[place])} ({place + 1})"


def _kind(model: MeasuredModel) -> str:
    return "8 bits" if model.int8 else "float32"


def _plot(
    title: str,
    label: str,
    cost: str,
    models: Sequence[MeasuredModel],
    choice: Choice,
    budget: Budget,
    floor: float | None,
) -> TradeOffPlot:
    points = tuple(
        Point(str(place + 1), one.cost(cost), one.accuracy, one.int8, place in choice.pareto, place == choice.chosen)
        for place, one in enumerate(models)
    )
    return TradeOffPlot(
        title, points, label, budget.limits().get(cost), floor, _NOTE if cost == "max_latency_ms" else ""
    )


def _table(models: Sequence[MeasuredModel], choice: Choice, limits: dict[str, float]) -> Table:
    columns = (
        Column("number"),
        Column("model"),
        Column("weights"),
        Column("latency, ms", ".3f"),
        Column("size, MB", ".3f"),
        Column("accuracy", ".2%"),
        Column("points lost", "+.2f"),
        Column("parameters", ","),
        Column(""),
    )
    rows = tuple(
        (
            str(place + 1),
            one.name,
            _kind(one),
            one.latency_ms,
            one.size_mb,
            one.accuracy,
            # Not -0.00.
            round(one.drop, 2) + 0.0,
            one.parameters,
            _verdict(place, one, choice, limits),
        )
        for place, one in enumerate(models)
    )
    note = (
        "Latency: median for one sample with one thread, all models in turn, on the machine that measured. Points lost "
        "are percentage points of accuracy below the first model in float32."
    )
    return Table("Every model that was measured", columns, rows, note)


def _verdict(place: int, model: MeasuredModel, choice: Choice, limits: dict[str, float]) -> str:
    told = []
    if place == choice.chosen:
        told.append("chosen")
    elif choice.chosen is None and place == choice.nearest:
        told.append("nearest")
    if place in choice.pareto:
        told.append("front")
    over = [_COSTS[name] for name, limit in limits.items() if model.cost(name) > limit]
    if over:
        told.append(f"over: {', '.join(over)}")
    return "; ".join(told)
