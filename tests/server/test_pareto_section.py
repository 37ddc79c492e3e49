"""What a report tells of a search within a budget."""

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("matplotlib", reason="acclimate[server] is not installed")

from acclimate.errors import InputError
from acclimate.server.compress.budget import Budget, Choice, MeasuredModel, choose
from acclimate.server.plots import TradeOffPlot
from acclimate.server.report import Report, Section, Table, render_report
from acclimate.server.run_report.pareto import pareto_section

from .pages import read

pytestmark = pytest.mark.needs_torch

_MODELS = (
    MeasuredModel("original", False, 4.0, 10.0, 0.95, 0.0, 1_000_000),
    MeasuredModel("original", True, 2.0, 3.0, 0.94, 1.0, 1_000_000),
    MeasuredModel("slow", False, 5.0, 12.0, 0.90, 5.0, 900_000),
    MeasuredModel("student", True, 0.5, 0.4, 0.92, 3.0, 50_000),
)


def section(budget: Budget) -> tuple[Section, Table, tuple[TradeOffPlot, ...]]:
    found = pareto_section(_MODELS, choose(_MODELS, budget), budget)
    (table,) = (block for block in found.blocks if isinstance(block, Table))
    return found, table, tuple(block for block in found.blocks if isinstance(block, TradeOffPlot))


def test_the_chosen_one_is_told_marked_and_drawn() -> None:
    """In the sentence, in the table and as the ringed point of both plots; limits are lines."""
    found, table, plots = section(Budget(max_latency_ms=2.5, max_size_mb=5.0, max_drop=2.0))
    assert "Chosen: original in 8 bits (2), with 2 ms, 3 MB and 94.00% accuracy (1.00 points lost)." in found.text
    assert [row[-1] for row in table.rows] == [
        "front; over: latency, size",
        "chosen; front",
        "over: latency, size, drop of accuracy",
        "front; over: drop of accuracy",
    ]
    latency, size = plots
    assert (latency.limit, size.limit) == (2.5, 5.0)
    assert latency.floor == size.floor == pytest.approx(0.93)
    for plot in plots:
        assert [point.chosen for point in plot.points] == [False, True, False, False]
        assert [point.front for point in plot.points] == [True, True, False, True]
    assert [point.cost for point in size.points] == [10.0, 3.0, 12.0, 0.4]


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        (
            Budget(max_latency_ms=0.1),
            "No model keeps latency at most 0.1 ms: the least is 0.5 ms, of student in 8 bits (4). The nearest is "
            "student in 8 bits (4), which has latency 0.5 ms instead of 0.1 ms.",
        ),
        (Budget(max_latency_ms=1.0, max_drop=2.0), "Each limit is kept by some model, all of them by none."),
    ],
)
def test_what_cannot_be_met_is_told_with_how_near_it_came(budget: Budget, told: str) -> None:
    """Nothing is chosen; the limit, the least and the nearest model are named."""
    found, table, plots = section(budget)
    assert "Nothing was chosen" in found.text
    assert told in found.text
    assert not any(point.chosen for plot in plots for point in plot.points)
    assert sum("nearest" in str(row[-1]) for row in table.rows) == 1


def test_the_section_is_a_page() -> None:
    """It renders, with every number of the table as text."""
    texts = read(render_report(Report("r", sections=(section(Budget(max_size_mb=1.0))[0],)))).texts
    for expected in ("student", "92.00%", "+3.00", "50,000", "0.400", "0.500", "chosen; front"):
        assert expected in texts


def test_a_choice_of_another_table_is_refused() -> None:
    """Places beyond the table, and no table at all."""
    with pytest.raises(InputError, match="choice among 4 models"):
        pareto_section(_MODELS, Choice(7, 7, (7,)), Budget(max_size_mb=1.0))
    with pytest.raises(InputError, match="choice among 0 models"):
        pareto_section((), Choice(0, 0, ()), Budget(max_size_mb=1.0))
