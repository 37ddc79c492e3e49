"""What the commands of the device side do where the task is regression: labels, predictions and reports in numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from ..errors import InputError, LabelError
from .console import many, output, print_json, print_row, printable, tell
from .frames import read_frames, read_targets, read_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..edge import RegressionReport, Regressor
    from ..manifest import InputSpec

Targets = Annotated[
    Path | None,
    typer.Option("--targets", metavar="FILE", help="For regression: .npy with a number per frame and target, or NaN."),
]
# Rows of the table of what was tried.
MOST_TRIALS = 5


def channels_of(spec: "InputSpec") -> int | None:
    """Return with how many channels images are read; None as they are."""
    return spec.shape[-1] if spec.axes[-1] == "channel" else None


def image_of(spec: "InputSpec") -> tuple[int, ...] | None:
    """Return which shape images must have; None where the bundle takes something else than images."""
    return spec.shape if spec.axes == ("height", "width", "channel") and spec.shape[2] in (1, 3) else None


def no_targets(bundle: Path, targets: Path | None) -> None:
    """Check that no targets are given for classes.

    Raises:
        InputError: If there are.
    """
    if targets is not None:
        raise InputError(
            f"{bundle.name}: expected a bundle for regression with --targets, found one for classification. Name the "
            f"classes in 'y' of a .npz file, or by folders."
        )


def read_measured(
    data: Path, spec: "InputSpec", targets: Path | None
) -> "tuple[NDArray[np.generic], NDArray[np.float64] | None, list[str]]":
    """Read frames and what they are labelled with in numbers.

    Args:
        data: As for `read_frames`; folders say nothing of values.
        spec: What one frame is.
        targets: A file with the numbers, where `data` holds none.

    Returns:
        Frames ``(n, ...)``, ``(n,)`` or ``(n, t)`` numbers or None, and a name for each frame.

    Raises:
        InputError: If something cannot be read, or numbers stand in both files.
    """
    values = None
    if data.is_file() and data.suffix.lower() in (".npy", ".npz"):
        frames, values = read_values(data)
        names = [f"{data.name}[{i}]" for i in range(len(frames))]
        if frames.shape == spec.shape:
            frames, names = frames[None], [data.name]
    else:
        frames, _, names = read_frames(data, channels_of(spec), image_of(spec))
    if targets is not None:
        if values is not None:
            raise InputError(f"expected numbers in {data.name} or in {targets.name}, found them in both. Give one.")
        values = read_targets(targets, len(frames))
    return frames, values, names


def typed_values(text: str, targets: Sequence[str]) -> list[float]:
    """Return the numbers that were typed with commas between them, one per target.

    Raises:
        LabelError: If they are none, or too few or many.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != len(targets):
        raise LabelError(
            f"expected a number for each of the targets {', '.join(targets)}, with commas between them, found {text!r}."
        )
    return found


def predict_values(
    regressor: "Regressor",
    frames: "NDArray[np.generic]",
    values: "NDArray[np.float64] | None",
    names: list[str],
    *,
    json: bool,
) -> None:
    """Predict and print values with their intervals; where the frames have labels, how well that fits."""
    from ..edge.regression.adaptation import Fit
    from ..edge.regression.targets import check_values

    given = check_values(values, len(names), regressor.targets)
    found, targets = regressor.predict(frames), regressor.targets
    rows = np.isfinite(given).all(axis=1)
    fit = Fit.of(given[rows], found.values[rows].astype(np.float64)) if rows.any() else None
    widths: list[list[float]] | list[None]
    widths = [None] * len(names) if found.interval is None else found.interval.tolist()
    if json:
        predictions = [
            {
                "frame": name,
                "values": dict(zip(targets, row, strict=True)),
                "interval": None if width is None else dict(zip(targets, width, strict=True)),
            }
            for name, row, width in zip(names, found.values.tolist(), widths, strict=True)
        ]
        figures = None
        if fit is not None:
            both = (dict(zip(targets, figure.tolist(), strict=True)) for figure in (fit.rmse, fit.r2))
            figures = {"frames": int(rows.sum()), **dict(zip(("rmse", "r2"), both, strict=True))}
        print_json({"predictions": predictions, "fit": figures})
        return
    for name, row, width in zip(names, found.values.tolist(), widths, strict=True):
        cells = [f"{value:.6g}" for value in row]
        if width is not None:
            cells = [f"{cell} +- {half:.3g}" for cell, half in zip(cells, width, strict=True)]
        print_row(name, *cells)
    said = "; +- is the interval that covers nine of ten samples of this place" if found.interval is not None else ""
    tell(f"{', '.join(targets)} of {many(len(names), 'frame')}{said}")
    if fit is not None:
        errors = ", ".join(
            f"{name} {error:.4g} (R^2 {r2:.3f})" for name, error, r2 in zip(targets, fit.rmse, fit.r2, strict=True)
        )
        tell(f"error of {errors} on {many(int(rows.sum()), 'labelled frame')}")


def tell_report(report: "RegressionReport") -> None:
    """Print a report for people: the verdict, what changes for which target, what was tried."""
    tell(report)
    table = Table("target", "error before", "error after", "R^2 before", "R^2 after", box=None, padding=(0, 2))
    for t in report.targets:
        before = (f"{t.rmse_before:.4g}", f"{t.r2_before:.3f}") if t.rmse_before == t.rmse_before else ("none", "none")
        table.add_row(printable(t.name), before[0], f"{t.rmse_after:.4g}", before[1], f"{t.r2_after:.3f}")
    output.print(table)
    if report.source_after < report.source_before:
        tell(
            f"of the variance of the source's targets {report.source_before:.1%} followed, {report.source_after:.1%} do"
        )
    table = Table("strength", "source weight", "prior", "loss", box=None, padding=(0, 2))
    for trial in report.trials[:MOST_TRIALS]:
        s = trial.setting
        table.add_row(f"{s.strength:g}", f"{s.source_weight:g}", s.prior, f"{trial.loss:.4g}")
    output.print(table)
    tell(f"version {report.version} is in use; {report.seconds:.2f} s")
