"""Where `acclimate convert` may write: nowhere that it reads, and where it can, known before minutes of work."""

import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from ..files import refuse_overwrite


def check_paths(written: Mapping[str, Path | None], read: Mapping[str, str | Path | None], *, overwrite: bool) -> None:
    """Refuse places to write that cannot be written, or hold what is read.

    Args:
        written: What is written, by the name of its option.
        read: What is read, likewise; of a source as it was typed.
        overwrite: Whether files that are there may be replaced: never those that are read.

    Raises:
        InputError: If two are the same file, or a folder is missing.
        OutputExistsError: If a file is there and may not be replaced, or something else than a file is.
    """
    places = {option: path for option, path in written.items() if path is not None}
    taken = {option: _files(place) for option, place in read.items() if place is not None}
    for option, path in places.items():
        for other, files in taken.items():
            if any(_same(path, file) for file in files):
                raise InputError(
                    f"expected {option} to be another file than {other}, found {path} for both. Choose another name."
                )
        taken[option] = [path]
    for path in places.values():
        refuse_overwrite(path, overwrite=overwrite)
        if not path.absolute().parent.is_dir():
            raise InputError(
                f"expected a folder to write {path.name} into, found none at {path.parent}. Make it first."
            )
        if not os.access(path.absolute().parent, os.W_OK):
            raise InputError(
                f"expected a folder to write {path.name} into, found that {path.parent} may not be written. Choose "
                f"another."
            )


def _files(place: str | Path) -> list[Path]:
    """Return the files that a place may be: of a source also behind `hf-config:` and before `:function`."""
    if isinstance(place, Path):
        return [place]
    return [Path(part) for part in (place, place.partition(":")[2], place.rpartition(":")[0]) if part]


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        # One of them is not there.
        return os.path.realpath(one) == os.path.realpath(other)
