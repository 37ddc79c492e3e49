"""The published rows that are recomputed where the feature files are at hand."""

from pathlib import Path

from ...errors import InputError
from .check import Check
from .office import office_rows
from .oracles import require_oracles
from .usps_mnist import usps_mnist_rows

# By file, what its rows are.
FILES = {
    "office_caltech_surf.npz": office_rows,
    "usps_mnist.npz": usps_mnist_rows,
}


def published_rows(folder: Path) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Return the published rows of the feature files in a folder.

    Args:
        folder: With one of `FILES` or more.

    Returns:
        The rows, and the names of the files that are not there.

    Raises:
        InputError: If it has none of them, or one is not the published file.
        MissingExtraError: If scikit-learn is missing.
    """
    require_oracles()
    if not folder.is_dir():
        raise InputError(f"expected a folder with {' or '.join(FILES)}, found none at {folder}. Check the path.")
    there = [name for name in FILES if (folder / name).is_file()]
    if not there:
        raise InputError(f"expected {' or '.join(FILES)} in {folder}, found neither. Put one of them there.")
    rows = tuple(row for name in there for row in FILES[name](folder / name))
    return rows, tuple(name for name in FILES if name not in there)
