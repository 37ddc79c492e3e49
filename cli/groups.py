"""The group of each frame, from a file: what fairness is asked between."""

from pathlib import Path

from ..errors import InputError
from ..numpy_files import open_npz, read_npy
from .console import many

_MOST_BYTES = 2**24


def read_groups(path: Path | None, data: Path, n: int) -> list[str] | None:
    """Read the group of each frame.

    Args:
        path: Where it stands; None for ``group`` in the data, where that is a .npz file that has it.
        data: The data.
        n: Number of frames.

    Raises:
        InputError: If there are others than one for each frame, or the file cannot be read.
    """
    if path is None:
        if data.suffix.lower() != ".npz":
            return None
        with open_npz(data, ("group",)) as loaded:
            if "group" not in loaded:
                return None
            found, name = loaded["group"], data.name
    elif path.suffix.lower() == ".npy":
        found, name = read_npy(path), path.name
    else:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise InputError(
                f"{path.name}: expected a line for each of {many(n, 'frame')}, at most {_MOST_BYTES >> 20} MB, found "
                f"more. Number the groups."
            )
        try:
            # Some editors begin a file with a mark of its encoding.
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{path.name}: expected a text file in UTF-8, found that {error}.") from error
        if not all(line.strip() for line in lines):
            empty = next(i for i, line in enumerate(lines, 1) if not line.strip())
            raise InputError(f"{path.name}: expected a group in every line, found none in line {empty}. Name it.")
        if len(lines) != n:
            raise InputError(
                f"{path.name}: expected a line for each of {many(n, 'frame')}, found {len(lines)}. Name the group "
                f"of each, in the order of the frames."
            )
        return lines
    if found.shape != (n,) or found.dtype.kind not in "iuUb":
        raise InputError(
            f"{name}: expected groups as texts, whole numbers or booleans, one for each of {many(n, 'frame')}, found "
            f"{found.dtype} {found.shape}."
        )
    # A flag is the same group as true or false and as 1 or 0.
    return [str(one) for one in (found.astype(int) if found.dtype.kind == "b" else found).tolist()]
