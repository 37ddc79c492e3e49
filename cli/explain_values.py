"""`acclimate explain` of a bundle for regression."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .console import progress
from .opening import open_regressor, store_of
from .values import read_measured

if TYPE_CHECKING:
    from ..server.understanding.explanation import Explanation


def explain_values(
    bundle: Path,
    data: Path,
    *,
    target: str | None,
    method: str | None,
    count: int,
    mistakes: bool,
    patch: int | None,
    store: Path | None,
    trust: "list[str] | None",
    runtime: str,
) -> "Explanation":
    """Explain the values of frames spread over the data. See `acclimate explain` for the options.

    Raises:
        InputError: If an option is one of classes alone, or something cannot be read.
    """
    from ..bundle import Bundle
    from ..edge.understanding.occluded_values import column_of
    from ..server.understanding.explain_values import explain_regressor

    if mistakes:
        raise InputError("expected --mistakes with a model of classes, found it with a regressor. Leave it out.")
    if method not in (None, "occlusion"):
        raise InputError(f"expected occlusion for a regressor, found {method}. Leave --method out.")
    with Bundle(bundle) as opened:
        spec = opened.manifest.input
    frames, values, names = read_measured(data, spec, None)
    rows = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int))
    path = store_of(bundle, store, must=store is not None)
    with open_regressor(bundle, path if path.exists() else None, runtime, None, trust) as regressor:
        column = column_of(regressor.targets, target)
        truth = None if values is None else values.reshape(len(frames), -1)
        if truth is not None and truth.shape[1] != len(regressor.targets):
            raise InputError(
                f"{data.name}: expected {len(regressor.targets)} numbers a frame in 'y', of "
                f"{', '.join(regressor.targets)}; found {truth.shape[1]}."
            )
        with progress("explaining") as bar:
            return explain_regressor(
                regressor,
                frames[rows],
                target=target,
                names=[names[i] for i in rows],
                truth=None if truth is None else truth[rows, column],
                patch=patch,
                progress=bar,
            )
