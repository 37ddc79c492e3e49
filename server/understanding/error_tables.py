"""Tables of what adapting a regressor changed, for the page and for people at a terminal."""

import math

from ..report import Cell, Column, Table
from .efficiency import Saving
from .error_curves import ErrorCurves
from .error_gains import ErrorGains, PartGain
from .error_place import ErrorPlaceGains
from .gains import Change
from .gains_tables import labels_table


def error_table(gains: ErrorGains) -> Table:
    """Return MAE, RMSE and R^2 of each target before and after."""
    columns = (
        Column("target"),
        Column("figure"),
        Column("before"),
        Column("after"),
        Column("difference (95 %)"),
    )
    rows: list[tuple[Cell, ...]] = []
    for one in gains.targets:
        for name, change in (("mean absolute error", one.mae), ("root mean squared error", one.rmse), ("R^2", one.r2)):
            rows.append((one.name, name, number(change.before), number(change.after), difference(change)))
    note = (
        "Errors in the target's unit: below 0 is a gain. R^2: share of the variance that is explained; more is better."
    )
    return Table("Errors", columns, tuple(rows), note)


def part_table(title: str, part: str, gains: tuple[PartGain, ...], note: str = "") -> Table:
    """Return the mean absolute error of each part of the samples before and after."""
    columns = (
        Column(part),
        Column("samples", ","),
        Column("error before"),
        Column("after"),
        Column("difference (95 %)"),
        Column("nearer", ","),
        Column("farther", ","),
    )
    rows = tuple(
        (
            one.name,
            one.samples,
            number(one.mae.before),
            number(one.mae.after),
            difference(one.mae),
            one.nearer,
            one.farther,
        )
        for one in gains
    )
    told = "Mean absolute error. Nearer: samples that the model after predicts more nearly. Farther: less nearly."
    return Table(title, columns, rows, f"{note}{told}")


def error_saving_table(found: ErrorPlaceGains, curves: ErrorCurves, saved: tuple[Saving, ...]) -> Table:
    """Return labels and time for the same error of a target with transfer and without."""
    rows = [(one, number(-one.accuracy), found.seconds(curves, one)) for one in saved]
    return labels_table(f"For the same error of {curves.target}", Column("error"), rows, found)


def number(value: float) -> str:
    """Return a figure with four digits."""
    return "not known" if math.isnan(value) else f"{value:.4g}"


def difference(change: Change) -> str:
    """Return a difference with its interval."""
    if math.isnan(change.difference):
        return "not known"
    if math.isnan(change.low):
        return f"{change.difference:+.4g} (too few to tell)"
    return f"{change.difference:+.4g} ({change.low:+.4g} to {change.high:+.4g})"
