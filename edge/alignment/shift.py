"""Whether a place differs from the source: a test of latents against what the bundle says of the source."""

import numpy as np

from ...latent import Codes
from ...record import record
from ..head import Ids
from ..statistics import Float64, SourceStatistics

LEVEL = 0.05
# Draws of the bootstrap, and rows compared at most: beyond, every k-th sample is taken.
DRAWS, MOST = 1_999, 2_000
# The mean of squares lives on rare large ones, which fewer samples may lack.
LEAST_FOR_SQUARES = 200
# Below one code of spread a dimension holds little but rounding.
_LEAST_SPREAD = 1.0
_SPAN = 1e-6


@record()
class ShiftTest:
    """What a test for a shift says.

    Args:
        shifted: Whether the latents differ from the source's, or from those referred to, by more than chance explains.
        p_value: Chance of such a difference where there is none.
        statistic: Squared distance between the two, in units of its standard deviation where there is none.
        samples: Number of latents tested.
        units: Pieces of evidence that they are: near-duplicates and samples of one tag are one.
        reference: What they were compared with: ``"source"`` or ``"samples"``.
        beyond: Whether they differ by more than another mix of classes explains; None where that cannot be told: of a
            reference, or where class means span every dimension.
        p_beyond: Chance of that where only the mix of classes differs; NaN where it cannot be told.
        level: Share of false alarms, at most.
    """

    shifted: bool
    p_value: float
    statistic: float
    samples: int
    units: int
    reference: str = "source"
    beyond: bool | None = None
    p_beyond: float = float("nan")
    level: float = LEVEL

    def __str__(self) -> str:
        """One line."""
        other = "the source" if self.reference == "source" else "the samples referred to"
        if not self.shifted:
            return f"no shift from {other} is seen in {self.samples} samples (p = {self.p_value:.3f})"
        more = {
            None: "",
            True: f", by more than another mix of classes explains (p = {self.p_beyond:.3f})",
            False: f", which another mix of classes explains (p = {self.p_beyond:.3f})",
        }[self.beyond]
        return f"{self.samples} samples differ from {other} (p = {self.p_value:.3f}){more}"


def source_test(
    codes: Codes, source: SourceStatistics, groups: Ids, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> ShiftTest:
    """Test latents against the statistics of the source.

    The source's latents are not there, and a sample drawn from Gaussians would differ from real ones by its shape. But
    the mean and the variance of each dimension are known exactly, whatever the distribution is. The statistic is the
    squared distance of the mean of the standardised latents, and with 200 units that of their squares too, from the
    source's: the squared maximum mean discrepancy of a kernel of second degree (Gretton et al. 2012, "A Kernel
    Two-Sample Test"), with one of the means known. What it is by chance comes from a wild bootstrap of the units
    (Leucht and Neumann 2013, "Dependent Wild Bootstrap for Degenerate U- and V-Statistics").

    A second statistic leaves out the squares, and the directions in which class means differ: classes that occur more
    or less often than in the source do not change it.

    Args:
        codes: ``(n, d) uint8``.
        source: The source's statistics.
        groups: ``(n,)`` unit of each sample.
        level: Share of false alarms.
        draws: Draws of the bootstrap.
        seed: Draws them.

    Returns:
        The verdict.
    """
    rows = slice(None, None, -(-len(codes) // MOST))
    codes, groups = codes[rows], np.unique(groups[rows], return_inverse=True)[1]
    total, count = max(source.samples, 1.0), source.count
    centre = source.sum.sum(axis=0) / total
    spread = np.maximum(np.sqrt(np.maximum(source.variance(), 0)), _LEAST_SPREAD)
    z = (codes - centre) / spread
    square = (z**2 - source.variance() / spread**2) / 2**0.5
    ratio = 1 + len(codes) / total
    units = int(groups.max()) + 1
    statistic, p_value = _bootstrap([z, square] if units >= LEAST_FOR_SQUARES else [z], groups, ratio, draws, seed)
    apart = (source.mean()[count > 0] - centre) / spread
    _, values, axes = np.linalg.svd(apart, full_matrices=False)
    axes = axes[values > _SPAN * max(float(values.max(initial=0.0)), 1e-12)]
    beyond, p_beyond = None, float("nan")
    if len(axes) < z.shape[1]:
        # In another mix of classes, the errors of the source's class means weigh otherwise.
        share = _mix(z.mean(axis=0), apart)
        ratio = max(ratio, 1 + len(codes) * float((share**2 / count[count > 0]).sum()))
        _, p_beyond = _bootstrap([z - (z @ axes.T) @ axes], groups, ratio, draws, seed)
        beyond = p_beyond <= level
    return ShiftTest(
        p_value <= level,
        p_value,
        statistic,
        len(codes),
        units,
        beyond=beyond,
        p_beyond=p_beyond,
        level=level,
    )


def _mix(centre: Float64, means: Float64) -> Float64:
    """Return the ``(k,)`` shares of ``(k, d)`` class means whose mean comes closest to ``(d,)``, none below 0."""
    heavy = 1e3 * max(float(np.abs(means).max()), 1.0)
    rows = np.vstack([means.T, np.full(len(means), heavy)])
    share = np.maximum(np.linalg.lstsq(rows, np.append(centre, heavy), rcond=None)[0], 0)
    found: Float64 = share / share.sum() if share.sum() > 0 else np.full(len(means), 1 / len(means))
    return found


def _bootstrap(features: list[Float64], groups: Ids, ratio: float, draws: int, seed: int) -> tuple[float, float]:
    """Return the squared length of the mean of features, in units of its deviation under no shift, and the p-value.

    Args:
        features: ``(n, f)`` each; their mean is 0 where nothing has shifted.
        groups: ``(n,)`` units, which are drawn together.
        ratio: By how much the source's own finite number of samples widens the statistic.
        draws: Number of draws.
        seed: Of the draws.
    """
    units = int(groups.max()) + 1
    if units < 2:
        return 0.0, 1.0
    means, gram = np.zeros((units, units)), np.zeros((units, units))
    order = np.argsort(groups, kind="stable")
    begins = np.flatnonzero(np.diff(groups[order], prepend=-1))
    for feature in features:
        sums = np.add.reduceat(feature[order], begins, axis=0)
        means += sums @ sums.T
        sums -= np.bincount(groups)[:, None] * feature.mean(axis=0)
        gram += sums @ sums.T
    # A unit beside itself says how much it scatters, and nothing of where the mean is. The source's own mean scatters
    # too, as much less as its samples are more.
    own = float(np.trace(gram))
    found = float(means.sum() - np.trace(means)) - (ratio - 1) * own
    np.fill_diagonal(gram, 0)
    gram *= ratio * units / (units - 1)
    width = float(np.linalg.norm(gram)) * 2**0.5
    if not width > 0:
        return (float("inf"), 1 / (draws + 1)) if found > 0 else (0.0, 1.0)
    # The roots of the matrix are what the draws depend on.
    chance = np.random.default_rng(seed).standard_normal((draws, units)) ** 2 @ np.linalg.eigvalsh(gram)
    return found / width, (1 + int((chance >= found).sum())) / (draws + 1)
