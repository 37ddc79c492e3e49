"""What is told where a text names nothing: names that are close to it."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

_LONGEST = 200


def near_names(name: str, names: Iterable[str], most: int = 5) -> list[str]:
    """Return the names that are spelt most like one, the nearest first; none where all are far from it."""
    spelt = {one.lower(): one for one in names}
    return [spelt[one] for one in get_close_matches(name.lower()[:_LONGEST], spelt, most)]


def absent_path(source: str) -> str:
    """Return what to tell of a text that could only be a path, and names no model.

    Args:
        source: The text; it names no function, and no model of a package.
    """
    path = Path(source)
    try:
        if path.is_dir():
            return (
                "a folder without checkpoint.json: no run of acclimate pretrain that came to its end. For a folder of "
                "Hugging Face write hf:FOLDER."
            )
        if path.is_file():
            return "a file of another kind. Of a Python file name the function as well: file.py:function."
        beside = near_names(path.name, os.listdir(path.parent))
    # A text may be too long for a path, or hold what none may; its folder may be missing as well.
    except (OSError, ValueError):
        beside = []
    near = f" Close to it: {', '.join(str(path.parent / one) for one in beside)}." if beside else ""
    return f"neither a file nor a folder there. Check the path.{near}"
