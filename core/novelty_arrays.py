"""The arrays of an `unknown` verdict, as they lie in a bundle and beside a head in a store: names, types, shapes."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from .errors import BundleFormatError
from .tensors import Arrays, Spec

_ADVICE = "Get the file again from where it came from, or adapt again."


def novelty_spec(width: int) -> Spec:
    """Return the arrays of a verdict on latents of a width, for `unpack`; see `acclimate.edge.unknown.novelty`.

    Args:
        width: Number of dimensions ``d`` of the latent.

    Returns:
        Name to dtype and shape; `check_novelty` says which of the free axes must be alike.
    """
    row, table = ("f4", (width,)), ("f4", (-1, -1))
    return {
        "novelty.centre": row,
        "novelty.scale": row,
        "novelty.weight": ("f4", (-1, width)),
        "novelty.span": table,
        "novelty.mean": table,
        "novelty.offset": ("f4", (-1,)),
        "novelty.numbers": ("f8", (3,)),
    }


def check_novelty(arrays: Arrays, where: str, classes: int | None = None) -> None:
    """Check that arrays of `novelty_spec` fit together; `unpack` has checked the rest.

    Args:
        arrays: ``centre (d,)``, ``scale (d,)``, ``weight (m, d)``, ``span (m, m)``, ``mean (c, m)`` and
            ``offset (c,) float32``, and ``numbers (3,) float64``: threshold, stated rate, number of held-out samples.
        where: What they were read from, for messages.
        classes: How many classes there must be; None for any number.

    Raises:
        BundleFormatError: If they do not.
    """
    scale, weight, span, mean, offset = (arrays[f"novelty.{n}"] for n in ("scale", "weight", "span", "mean", "offset"))
    _, rate, samples = (float(number) for number in cast(NDArray[np.float64], arrays["novelty.numbers"]))
    (m, d), c = weight.shape, len(mean) if classes is None else classes
    if not (1 <= m <= d and c > 0 and span.shape == (m, m) and mean.shape == (c, m) and offset.shape == (c,)):
        found = f"weight {weight.shape}, span {span.shape}, mean {mean.shape} and offset {offset.shape}"
        classes_too = "" if classes is None else f" of {classes} classes"
        raise BundleFormatError(f"{where}: expected a score of novelty{classes_too}, found {found}. {_ADVICE}")
    least = float(cast(NDArray[np.float32], scale).min())
    if least <= 0:
        raise BundleFormatError(f"{where}: expected a score of novelty with scales above 0, found {least:g}. {_ADVICE}")
    if not 0 < rate < 1 or samples < 0 or samples != int(samples):
        raise BundleFormatError(
            f"{where}: expected a score of novelty with a rate between 0 and 1 and a number of samples, found "
            f"{rate:g} and {samples:g}. {_ADVICE}"
        )
