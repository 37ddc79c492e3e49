"""The published feature files, which are not part of the project: read as what they may be, files of anybody."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...edge.transfer.checks import check_labels, check_rows
from ...errors import InputError
from ...numpy_files import open_npz

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Domain = tuple[Float64, Int64]


def read_domains(path: Path, shapes: dict[str, tuple[int, int]]) -> dict[str, Domain]:
    """Read the samples and labels of several domains.

    Args:
        path: An ``.npz`` file with the arrays ``NAME_x`` and ``NAME_y``.
        shapes: What the samples' shape is, by domain.

    Returns:
        Samples ``(n, d) float64`` and labels ``(n,) int64``, by domain.

    Raises:
        InputError: If it is no such file, or its arrays are others than the published ones.
    """
    wanted = [f"{name}_{part}" for name in shapes for part in "xy"]
    with open_npz(path, wanted) as arrays:
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise InputError(
                f"{path.name}: expected the arrays {', '.join(wanted)}, found none named {', '.join(missing)}. Give "
                f"the published file."
            )
        given = {name: arrays[name] for name in wanted}
    found = {}
    for name, shape in shapes.items():
        x, y = given[f"{name}_x"], given[f"{name}_y"]
        if x.shape != shape:
            raise InputError(
                f"{path.name}: expected {name}_x of shape {shape}, as published, found {x.shape}. Give the published "
                f"file."
            )
        try:
            found[name] = check_rows(x, name), check_labels(y, shape[0], name)
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from error
    return found


def normalised(domain: Domain, path: Path, order: int) -> Domain:
    """Divide each row by its sum (order 1) or length (order 2).

    Raises:
        InputError: If a row is all 0.
    """
    x, y = domain
    length = np.linalg.norm(x, order, axis=1, keepdims=True)
    if not length.all():
        raise InputError(
            f"{path.name}: expected rows that are not all 0, found row {int(length.argmin())} so. Give the published "
            f"file."
        )
    return x / length, y
