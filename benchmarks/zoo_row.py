"""One row of `zoo.toml`: `python -m benchmarks.zoo_row NAME [WHEELS]` prints one JSON object a cell."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from acclimate.converters.quiet import quiet

from .zoo import COLUMNS, TABLE
from .zoo_frames import MissingFileError, NoWayError

_REASON = 400


def run(name: str, wheels: Path | None, tell: Callable[[dict[str, Any]], None]) -> None:
    """Run every step of a row that applies.

    Args:
        name: The row.
        wheels: A folder with wheels, or None.
        tell: Takes each cell as it is done.
    """
    row = next(row for row in TABLE["row"] if row["name"] == name)
    left = [*TABLE["not_applicable"][row["source"]], *row.get("not_applicable", [])]
    columns = [column for column in COLUMNS if column not in left]
    try:
        model = _model(row, wheels)
    except (MissingFileError, NoWayError) as error:
        state = "skipped" if isinstance(error, MissingFileError) else "failed"
        for column in columns:
            tell({"column": column, "state": state, "note": str(error), "seconds": 0.0})
        return
    for column in columns:
        began, state = time.perf_counter(), "worked"
        try:
            with quiet():
                note = getattr(model, column)()
        # Every step may fail in ways of its own, which is what is asked here.
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            state, note = "failed", f"{type(error).__name__}: {text}"[:_REASON]
        tell({"column": column, "state": state, "note": note, "seconds": time.perf_counter() - began})


def _model(row: Mapping[str, Any], wheels: Path | None) -> object:
    if row["source"] == "keras":
        from .zoo_keras import KerasRow

        return KerasRow(row)
    import torch

    from .zoo_models import subject
    from .zoo_torch import TorchRow

    torch.set_num_threads(1)
    return TorchRow(subject(row, wheels))


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None, lambda cell: print(json.dumps(cell), flush=True))
