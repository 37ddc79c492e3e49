"""Samples in memory: an .npz file, or what a function returns."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...edge.checks import DECODE, holds_bytes
from ...errors import InputError, LabelError
from ...numpy_files import open_npz
from .fingerprint import Fingerprint, fingerprint
from .found import UNLABELLED, Form, Found
from .settings import UNREAD, DataSettings

_LARGEST = float(np.finfo(np.float32).max)


class RowNames(Sequence[str]):
    """Names of samples that have none: ``data.npz[17]``."""

    def __init__(self, prefix: str, count: int) -> None:
        self.prefix, self.rows = prefix, count

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(self.rows)[index]]
        return f"{self.prefix}[{range(self.rows)[index]}]"


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """Gives the samples of one array; all workers share its memory, and no copy is made.

    Args:
        tensor: ``(n, ...)``.
    """

    tensor: Tensor

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.tensor)

    def read(self, row: int) -> NDArray[Any]:
        """Return one sample."""
        found: NDArray[Any] = self.tensor[row].numpy()
        return found

    def many(self, rows: NDArray[np.int64]) -> Tensor:
        """Return several samples, ``(rows, ...)``."""
        return self.tensor[torch.from_numpy(rows)]

    def fingerprint(self, row: int) -> Fingerprint:
        """Return a hash of its numbers."""
        return fingerprint(self.read(row), str(row))


def find_npz(path: Path, settings: DataSettings) -> Found:
    """Read samples and labels of an .npz file.

    Args:
        path: The file: ``x (n, ...)``, labels as `DataSettings.labels` names them (``y``), and groups.
        settings: Names of labels and groups, and what the samples are.

    Raises:
        InputError: If it is no such file, holds pickled objects, does not fit into memory, or lacks an array.
    """
    return find_arrays(read_npz(path), path.name, settings)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an .npz file; pickled objects are refused, as reading them could run code.

    Raises:
        InputError: If it is no such file, damaged, or larger than the memory of this machine.
    """
    if not path.is_file():
        raise InputError(f"expected an .npz file, found none at {path}. Check the path.")
    with open_npz(path) as loaded:
        return dict(loaded)


def find_arrays(arrays: Mapping[str, Any], source: str, settings: DataSettings) -> Found:
    """Take samples from arrays by name: ``x``, labels, groups.

    Args:
        arrays: Arrays; labels as whole numbers (-1 for unlabelled) or texts (empty for unlabelled).
        source: Where they are from, for messages.
        settings: As for `find_npz`.

    Raises:
        InputError: If an array is missing or does not fit.
    """
    if "x" not in arrays:
        raise InputError(f"{source}: expected an array 'x' with samples, found {sorted(arrays)}. Name it x.")
    x = np.asarray(arrays["x"])
    if x.ndim < 2 or not x.size:
        raise InputError(f"{source}: expected x as (n, ...) with samples along the first axis, found {x.shape}.")
    if x.dtype.kind not in "uif":
        raise InputError(f"{source}: expected x as numbers, found {x.dtype}. Convert it.")
    x, form = _formed(x, source, settings)
    wanted = () if settings.labels == UNREAD else settings.labels or (("y",) if "y" in arrays else ())
    labels = tuple(text_labels(array_of(arrays, name, len(x), source), f"{source}: {name}") for name in wanted)
    groups = None if settings.group is None else _texts(array_of(arrays, settings.group, len(x), source))
    domains = None if settings.domain is None else _texts(array_of(arrays, settings.domain, len(x), source))
    return Found(
        ArrayReader(_shared(x)),
        labels or ([UNLABELLED] * len(x),),
        wanted or ("label",),
        RowNames(source, len(x)),
        groups,
        form,
        f"{len(x)} samples in {source}",
        domains=domains,
    )


def array_of(arrays: Mapping[str, Any], name: str, n: int, source: str) -> NDArray[Any]:
    """Return an array with one value per sample.

    Raises:
        InputError: If there is none, or it has another length.
    """
    if name not in arrays:
        raise InputError(
            f"{source}: expected an array {name!r}, found {sorted(arrays)}. Mend the setting that names it: "
            f"data.labels, group or domain."
        )
    found = np.asarray(arrays[name])
    if found.shape != (n,):
        raise InputError(f"{source}: expected {name!r} with one value for each of {n} samples, found {found.shape}.")
    return found


def text_labels(values: NDArray[Any], where: str) -> list[str]:
    """Return labels as texts, `UNLABELLED` for -1.

    Raises:
        LabelError: If they are neither texts nor whole numbers of -1 or more.
    """
    if values.dtype.kind in "f" and bool((values == np.round(values)).all()):
        values = values.astype(np.int64)
    if holds_bytes(values):
        raise LabelError(f"{where}: expected labels as texts or whole numbers, found bytes. {DECODE}")
    if values.dtype.kind not in "uiUb":
        raise LabelError(f"{where}: expected labels as texts or whole numbers, found {values.dtype}. Name the classes.")
    if values.dtype.kind == "i" and values.min(initial=0) < -1:
        row = int(values.argmin())
        raise LabelError(
            f"{where}[{row}]: expected a label of 0 or more, or -1 for none, found {int(values[row])}. Mend it."
        )
    return [UNLABELLED if text == "-1" else text for text in _texts(values)]


def _texts(values: NDArray[Any]) -> list[str]:
    return [str(value) for value in values.tolist()]


def _formed(x: NDArray[Any], source: str, settings: DataSettings) -> tuple[NDArray[Any], Form]:
    """Return samples in their form's own layout and type; whole numbers of 8 bits stay as they are."""
    if x.dtype == np.uint8 and x.ndim in (3, 4) and settings.kind in ("auto", "images", "arrays", "function"):
        return _images(x, source), "image"
    if settings.kind == "images":
        raise InputError(f"{source}: expected images as uint8 (n, h, w) or (n, h, w, c), found {x.dtype} {x.shape}.")
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))[0])
        raise InputError(f"{source}[{row}]: expected finite numbers, found NaN or infinity. Take such samples out.")
    # float64 would double what is held. What float32 does not hold becomes infinite.
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(x, np.float32)
    if values is not x and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values.reshape(len(x), -1)).all(axis=1))[0])
        raise InputError(
            f"{source}[{row}]: expected numbers that float32 holds (up to {_LARGEST:.2g}), found larger ones. Scale "
            f"them."
        )
    if settings.kind == "series" or settings.window is not None:
        return values, "series"
    if x.ndim == 2:
        return values, "table"
    return values, "series" if x.ndim == 3 and settings.kind == "auto" else "tensor"


def _images(x: NDArray[Any], source: str) -> NDArray[Any]:
    if x.ndim == 3:
        return x[..., None]
    if x.shape[3] in (1, 3):
        return x
    if x.shape[1] in (1, 3):
        return x.transpose(0, 2, 3, 1)
    raise InputError(f"{source}: expected images of 1 or 3 channels, (n, h, w, c), found {x.shape}. Convert them.")


def _shared(x: NDArray[Any]) -> Tensor:
    """Return a tensor in the array's own memory, which may be that of a file, mapped to be read only."""
    with warnings.catch_warnings():
        # Nothing writes to it.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(x)
