"""Tables of what adapting a regressor changed, for the page and for people at a terminal."""

import math

from ..report import Cell, Column, Table
from .efficiency import Saving
from .error_curves import ErrorCurves
from .error_gains import ErrorGains, PartGain
from .error_place import ErrorPlaceGains
from .gains import Change
from .gains_tables import labels_text, time_text


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
    columns = (
        Column("labels", ","),
        Column("error"),
        Column("labels without transfer"),
        Column("times as many"),
        Column("lowest"),
        Column("highest"),
        Column("time"),
        Column("time without"),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            one.labels,
            number(-one.accuracy),
            labels_text(one.typical, one.most, one.least),
            *(
                labels_text(value, one.most / one.labels, one.least / one.labels, ".1f")
                for value in (one.factor, *one.spread)
            ),
            *(time_text(seconds) for seconds in found.seconds(curves, one)),
        )
        for one in saved
    )
    asked = f"{found.seconds_per_label:g} s to label a sample, " if found.seconds_per_label else ""
    note = (
        f"Median, lowest and highest of {len(saved[0].needed)} draws of the stored samples, each against itself. "
        f"Time: {asked}{1000 * found.seconds_per_look:.2g} ms to look at it, and the fit."
    )
    return Table(f"For the same error of {curves.target}", columns, rows, note)


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
