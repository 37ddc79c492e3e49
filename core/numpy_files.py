"""Read NumPy files that may be damaged or hostile: pickled objects are never loaded, as reading them could run code."""

import os
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

# How NumPy begins when a sound file holds objects.
_OBJECTS = "Object arrays cannot be loaded"


def read_npy(path: Path) -> NDArray[Any]:
    """Read the array of an ``.npy`` file.

    Raises:
        InputError: If it is no such file, damaged, of pickled objects, or larger than memory.
    """
    with _reading(path), path.open("rb") as file:
        found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return found


@contextmanager
def open_npz(path: Path, names: Collection[str] | None = None) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open an ``.npz`` file for a block; arrays are read as they are asked for.

    Args:
        path: The file.
        names: The arrays that will be asked for, which must fit into memory together; by default all.

    Yields:
        The arrays by name.

    Raises:
        InputError: If it is no such file, damaged, of pickled objects, or larger than memory; in the block too.
    """
    with _reading(path):
        with zipfile.ZipFile(path) as archive:
            # Before anything is unpacked: a file of megabytes may say that it holds terabytes.
            sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
        size, memory = sum(sizes[name] for name in sizes if names is None or name in names), _memory()
        if size > memory:
            raise InputError(
                f"{path.name}: expected arrays that fit into {memory / 2**30:.1f} GiB of memory, found "
                f"{size / 2**30:.1f} GiB. Split it."
            )
        with np.load(path, allow_pickle=False) as loaded:
            yield _Arrays(loaded, path)


class _Arrays(Mapping[str, NDArray[Any]]):
    """The arrays of an open file; one of Python objects is refused by its name."""

    def __init__(self, loaded: Mapping[str, NDArray[Any]], path: Path) -> None:
        self._loaded, self._path = loaded, path

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._loaded:
            raise KeyError(name)
        with _reading(self._path, f"{name!r}"):
            return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._loaded

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)


@contextmanager
def _reading(path: Path, name: str = "an array") -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path.name}: expected arrays that fit into memory, found that {error}. Split it.") from error
    except Exception as error:
        if str(error).startswith(_OBJECTS):
            raise InputError(
                f"{path.name}: expected a NumPy file without pickled objects, found {name} of Python objects (dtype "
                f"object), which are never read: that could run code. Give it a type before it is saved: names with "
                f"y.astype(str), numbers with x.astype('float32')."
            ) from error
        # A damaged file makes NumPy, zipfile and zlib raise what they like. What NumPy advises, to allow pickles, would
        # run whatever code the file holds.
        raise InputError(
            f"{path.name}: expected a NumPy file without pickled objects, found that it is none, or damaged "
            f"({type(error).__name__}). Write it with numpy.save or numpy.savez from plain arrays."
        ) from error


def _memory() -> int:
    """Return the bytes of memory of this machine; where it does not tell, a bound that no machine reaches."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 2**44
