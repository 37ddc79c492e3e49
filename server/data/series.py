"""Windows of time series, and from a window to what a model takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import InputError
from .arrays import ArrayReader, RowNames
from .csv_source import feature_columns, groups_of, label_columns
from .csv_table import read_csv
from .fingerprint import Fingerprint, fingerprint
from .found import Found
from .settings import DataSettings


@dataclass(frozen=True, eq=False)
class WindowReader:
    """Gives windows of one array; they share its memory.

    Args:
        values: ``(t, c) float32``, one series behind the other.
        starts: ``(n,) int64`` where each window begins.
        length: Samples of a window.
    """

    values: Tensor
    starts: NDArray[np.int64]
    length: int

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.starts)

    def read(self, row: int) -> NDArray[Any]:
        """Return a window ``(t, c) float32``."""
        start = int(self.starts[row])
        found: NDArray[Any] = self.values[start : start + self.length].numpy()
        return found

    def fingerprint(self, row: int) -> Fingerprint:
        """Return a hash of its numbers."""
        return fingerprint(self.read(row), str(row))


def find_series_table(path: Path, settings: DataSettings) -> Found:
    """Cut a recording in a .csv file into windows: a row is one moment, of one group and with one label.

    Raises:
        InputError: If it cannot be read, or is shorter than a window.
    """
    if settings.window is None:
        raise InputError(
            "expected data.window for a series in a .csv file, found none. Set how many rows are a sample."
        )
    table = read_csv(path)
    labels, tasks = label_columns(table, settings)
    values = table.numbers(feature_columns(table, tasks, settings))
    return _cut(torch.from_numpy(values), labels, tasks, groups_of(table, settings), path.name, settings)


def cut_series(found: Found, settings: DataSettings) -> Found:
    """Cut series of an array into windows.

    Args:
        found: Series ``(n, t, c)`` or ``(n, t)`` with a label each; or, with a window set, one recording ``(t, c)``
            with labels and groups of each moment.
        settings: Window and stride.

    Raises:
        InputError: If a series is shorter than a window.
    """
    reader = found.reader
    if not isinstance(reader, ArrayReader):
        raise InputError(f"expected series in arrays, found {found.source}.")
    values, window = reader.tensor, settings.window
    source = found.names.prefix if isinstance(found.names, RowNames) else found.source
    if values.dim() == 2 and window is not None:
        return _cut(values, found.labels, found.tasks, found.groups, source, settings)
    if values.dim() == 2:
        values = values[..., None]
    if window is None or window == values.shape[1]:
        return Found(ArrayReader(values), found.labels, found.tasks, found.names, found.groups, "series", found.source)
    n, t = values.shape[:2]
    labels = tuple(_repeated(column, t) for column in found.labels)
    # Windows of one series overlap, or follow each other: they may not be in both parts.
    groups = found.groups if found.groups is not None else [f"series {i}" for i in range(n)]
    return _cut(
        values.reshape(n * t, -1), labels, found.tasks, _repeated(groups, t), source, settings, np.arange(n) * t
    )


def _cut(
    values: Tensor,
    labels: tuple[Sequence[str], ...],
    tasks: tuple[str, ...],
    groups: Sequence[str] | None,
    source: str,
    settings: DataSettings,
    begins: NDArray[np.int64] | None = None,
) -> Found:
    """Cut rows into windows that lie within a run of the same labels and group."""
    length = settings.window or 1
    stride = settings.stride or max(1, length // 2)
    told = [*labels] if groups is None else [*labels, groups]
    changes = np.zeros(len(values), np.bool_)
    for column in told:
        texts = np.asarray(column)
        changes[1:] |= texts[1:] != texts[:-1]
    changes[0 if begins is None else begins] = True
    changes[0] = True
    runs = np.append(np.flatnonzero(changes), len(values))
    starts = np.concatenate([np.arange(a, b - length + 1, stride) for a, b in pairwise(runs)])
    if not len(starts):
        raise InputError(
            f"{source}: expected stretches of one label and group with {length} samples or more, found at most "
            f"{int(np.diff(runs).max())}. Set a shorter data.window."
        )
    starts = starts.astype(np.int64)
    run = np.searchsorted(runs, starts, side="right") - 1
    own = [f"stretch {i}" for i in run] if groups is None else [groups[i] for i in starts]
    names = RowNames(f"{source}, window", len(starts))
    columns = tuple([column[i] for i in starts] for column in labels)
    reader = WindowReader(values, starts, length)
    # A recording without groups is split by stretches, unless it is a single one.
    kept = own if len(set(own)) > 1 else None
    return Found(reader, columns, tasks, names, kept, "series", f"{len(starts)} windows of {source}")


def _repeated(column: Sequence[str], times: int) -> list[str]:
    return [value for value in column for _ in range(times)]


@dataclass(frozen=True, eq=False)
class SeriesTransform:
    """Standardises channels of a series, or columns of a table. When varied: time-warp, scale, jitter.

    Args:
        settings: What to do.
        mean: Taken from each channel.
        std: What each is divided by.
    """

    settings: DataSettings
    mean: Tensor
    std: Tensor

    def __call__(self, raw: NDArray[Any], *, vary: bool) -> Tensor:
        """Return ``(c, t) float32`` of a series ``(t, c)``, or ``(d,)`` of a row."""
        x = (torch.from_numpy(raw) - self.mean) / self.std
        names = self.settings.augment if vary else ()
        if "time-warp" in names:
            x = warp_time(x, self.settings.time_warp)
        if "scale" in names:
            x = x * (1 + self.settings.scale * torch.randn(x.shape[-1]))
        if "jitter" in names:
            x = x + self.settings.jitter * torch.randn(x.shape)
        return x.T.contiguous() if x.dim() == 2 else x

    @property
    def draws_alone(self) -> bool:
        """Whether `many` can vary samples: it does not, unless there is nothing to vary."""
        return not self.settings.augment

    def many(self, raws: Tensor | Sequence[NDArray[Any]], seeds: Sequence[int] | None) -> Tensor:
        """Return ``(n, c, t) float32`` of several series, or ``(n, d)`` of rows, unvaried."""
        stacked = raws if isinstance(raws, Tensor) else torch.from_numpy(np.stack(raws))
        x = (stacked - self.mean) / self.std
        return x.transpose(1, 2).contiguous() if x.dim() == 3 else x


def warp_time(x: Tensor, most: float, knots: int = 4) -> Tensor:
    """Let time run faster and slower; begin and end stay where they are.

    Args:
        x: ``(t, c) float32``.
        most: Largest share by which it runs faster or slower, 0 to below 1.
        knots: Places where its speed is drawn; between them it changes evenly.

    References:
        Um et al. 2017, "Data augmentation of wearable sensor data for Parkinson's disease monitoring".
    """
    count = len(x)
    if count < 3:
        return x
    drawn = 1 + most * (2 * torch.rand(1, 1, knots) - 1)
    speed = torch.nn.functional.interpolate(drawn, count - 1, mode="linear", align_corners=True).flatten()
    passed = torch.cat([torch.zeros(1), speed.cumsum(0)])
    places = passed / passed[-1] * (count - 1)
    low = places.floor().clamp(max=count - 2).long()
    share = (places - low)[:, None]
    return torch.lerp(x[low], x[low + 1], share)
