"""Heads from statistics alone: of one learner, or of several added up."""

import numpy as np

from ...bundle import LinearLayer
from ...latent import LatentCode
from ..heads.closed import ClosedForm, solve_sums
from ..heads.problem import Float64, Setting
from ..heads.sums import Sums
from ..statistics import Statistics
from .coordinates import LEAST_SPREAD, Coordinates


def standardise_statistics(statistics: Statistics) -> tuple[Coordinates, Sums, Float64]:
    """Express statistics in the coordinates that their own samples would be standardised to.

    Args:
        statistics: Exact statistics, of one learner or added up over several.

    Returns:
        The coordinates, without a basis, the class sums in them, and the ``(d, d)`` second moment, not centred.
    """
    n, total = max(float(statistics.count.sum()), 1.0), statistics.sum.sum(axis=0)
    centre = total / n
    spread = np.maximum(np.sqrt(np.maximum(np.diag(statistics.moment) / n - centre**2, 0)), LEAST_SPREAD)
    sums = (statistics.sum - statistics.count[:, None] * centre) / spread
    moment = statistics.moment - n * np.outer(centre, centre)
    return (
        Coordinates(centre, spread, None),
        Sums(statistics.count, statistics.count, np.zeros(len(sums)), sums),
        moment / np.outer(spread, spread),
    )


def solve_statistics(head: ClosedForm, statistics: Statistics, setting: Setting, code: LatentCode) -> LinearLayer:
    """Fit a head in closed form on statistics alone: no sample is needed, and learners' statistics may be added up.

    Args:
        head: `Prototype`, `LDA` or `Ridge`.
        statistics: Exact statistics.
        setting: What to fit; its source weight is not looked at.
        code: Quantization of the latents.

    Returns:
        The head on latents. Equal statistics give an equal head.
    """
    coordinates, sums, moment = standardise_statistics(statistics)
    (weights,) = solve_sums(head, sums, moment, (setting,))
    return coordinates.layer(weights, code)
