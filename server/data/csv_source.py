"""Samples that a .csv file lists: rows of a table, or images and sounds by their path."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ...errors import InputError
from .arrays import ArrayReader
from .csv_table import CsvTable, read_csv
from .found import UNLABELLED, Found
from .image_files import IMAGES, ImageReader, channels_of
from .settings import UNREAD, DataSettings
from .sounds import SoundReader
from .texts import Texts

_LABEL = "label"


def find_table(path: Path, settings: DataSettings) -> Found:
    """Read a table: each row is a sample.

    Args:
        path: A .csv file with numbers, labels and, optionally, groups.
        settings: Names of the columns.

    Raises:
        InputError: If it cannot be read, lacks a column, or has a cell without a number.
    """
    table = read_csv(path)
    labels, tasks = label_columns(table, settings)
    values = table.numbers(feature_columns(table, tasks, settings))
    names = [table.name(row) for row in range(len(table))]
    source = f"{len(table)} rows of {values.shape[1]} numbers in {path.name}"
    groups, domains = groups_of(table, settings), domains_of(table, settings)
    return Found(ArrayReader(torch.from_numpy(values)), labels, tasks, names, groups, "table", source, domains=domains)


def find_listed_files(path: Path, settings: DataSettings) -> Found:
    """Find images or WAV files that a .csv file lists in the column `path_column`.

    Args:
        path: The file.
        settings: Names of the columns; paths begin at `root`, and may not leave it.

    Raises:
        InputError: If it cannot be read, lacks a column, or lists a path that leaves the root or another kind of file.
    """
    table = read_csv(path)
    labels, tasks = label_columns(table, settings)
    listed = Texts(table.column(settings.path_column or "path", "data.path_column"))
    root = Path(settings.root or path.parent).absolute()
    ends = [_ending(root, text, table.name(row)) for row, text in enumerate(listed)]
    endings = set(ends)
    groups, domains = groups_of(table, settings), domains_of(table, settings)
    if endings == {".wav"}:
        source = f"{len(listed)} WAV files listed in {path.name}"
        return Found(SoundReader(root, listed), labels, tasks, listed, groups, "sound", source, domains=domains)
    if strange := sorted(endings - set(IMAGES)):
        row = ends.index(strange[0])
        raise InputError(
            f"{table.name(row)}: expected images ({', '.join(IMAGES)}), or WAV files alone, found {listed[row]!r}. "
            f"Convert it, or take it out."
        )
    reader = ImageReader(root, listed, settings.channels or channels_of(root, listed), settings.most_pixels)
    source = f"{len(listed)} images listed in {path.name}"
    return Found(reader, labels, tasks, listed, groups, "image", source, domains=domains)


def label_columns(table: CsvTable, settings: DataSettings) -> tuple[tuple[Sequence[str], ...], tuple[str, ...]]:
    """Return the labels of each task and the names of the tasks; an empty cell is unlabelled."""
    wanted = settings.labels or ((_LABEL,) if _LABEL in table.columns else ())
    if not wanted or wanted == UNREAD:
        return ([UNLABELLED] * len(table),), (_LABEL,)
    return tuple(table.column(name, "data.labels") for name in wanted), wanted


def feature_columns(table: CsvTable, tasks: Sequence[str], settings: DataSettings) -> tuple[str, ...]:
    """Return the columns with numbers: those named, or all but labels, group and domain.

    Raises:
        InputError: If none is left.
    """
    apart = {*tasks, settings.group, settings.domain}
    names = settings.features or tuple(name for name in table.columns if name not in apart)
    if not names:
        raise InputError(f"{table.path.name}: expected columns with numbers, found {', '.join(table.columns)}.")
    return names


def with_columns(settings: DataSettings, kind: str) -> DataSettings:
    """Return settings that name the columns of the training table, which may stand in another order in other files.

    Args:
        settings: Of the run.
        kind: What the training data is.

    Raises:
        InputError: If the training data is a table that cannot be read.
    """
    train = Path(settings.train)
    if settings.features or kind not in ("table", "series") or train.suffix.lower() not in (".csv", ".tsv"):
        return settings
    table = read_csv(train)
    return replace(settings, features=feature_columns(table, label_columns(table, settings)[1], settings))


def groups_of(table: CsvTable, settings: DataSettings) -> Sequence[str] | None:
    """Return the group of each row, or None where the settings name no column."""
    return None if settings.group is None else table.column(settings.group, "data.group")


def domains_of(table: CsvTable, settings: DataSettings) -> Sequence[str] | None:
    """Return the source domain of each row, or None where the settings name no column."""
    return None if settings.domain is None else table.column(settings.domain, "data.domain")


def _ending(root: Path, text: str, where: str) -> str:
    """Return the ending of a listed path, which may not leave the root; links in its folders are not followed."""
    if not text or "\0" in text:
        raise InputError(f"{where}: expected a path, found {text!r}. Mend the cell.")
    # Lexically: what ".." leads to does not depend on what is there.
    parts = Path(text).parts
    path = root / text
    if ".." in parts or not path.is_relative_to(root):
        raise InputError(
            f"{where}: expected a path below {root}, found {text!r}. Mend it, or set data.root to the folder that all "
            f"paths lie in."
        )
    return path.suffix.lower()
