"""What speaks for an alignment without a label: likelihood on held-out samples, agreement, and what is plausible."""

from collections.abc import Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from ...record import record
from ..distinct import distinct
from ..head import Ids
from ..statistics import Float64
from .mixture import Mixture, scaled
from .space import HeadSpace
from .ways import Way, fit_ways, none

# Chance, at most, that an alignment which explains the samples no better passes for one that does.
RISK = 0.05
# Share of the samples that all ways must give one class.
AGREEMENT = 0.8
# Class-balanced accuracy that it may cost at most, but for a chance of `RISK`: the guard's bound.
MOST_LOSS = 0.01
# With fewer classes in use than this share of what the shipped head uses, they have run together.
COLLAPSE = 0.5
# Of one class alone, a step of all classes cannot be told from one to another class.
LEAST_VARIETY = 1.1
# Further than this many times the greatest distance between two classes of the source, nothing can have moved.
FURTHEST = 4.0
FOLDS = 5
_NORMAL = 1.6448536269514722


@record()
class Evidence:
    """What speaks for an alignment, and against it.

    Args:
        rise: How much likelier held-out samples are under the aligned mixture than under the source's, in natural
            logarithms a sample; the least of the ways that must explain them.
        low: Lower bound of it, wrong once in twenty times.
        agreement: Share of the samples that all ways give the same class.
        gain: Class-balanced accuracy that the aligned head is expected to gain on the shipped one, if the way by which
            it gains least is right.
        gain_low: Lower bound of it, wrong once in twenty times.
        changed: Share of the samples whose class is another than the shipped head's.
        distance: How far the classes have moved together, in units of the greatest distance between two of them.
        kept: Effective number of classes predicted, over that of the shipped head.
        variety: Effective number of classes predicted.
    """

    rise: float
    low: float
    agreement: float
    gain: float
    gain_low: float
    changed: float
    distance: float
    kept: float
    variety: float

    @property
    def against(self) -> str | None:
        """What speaks against it, in words; None where nothing does."""
        if self.distance > FURTHEST:
            return (
                f"The samples lie {self.distance:.1f} times as far from the source as its classes from each other: "
                f"look whether the sensor works."
            )
        if self.variety < LEAST_VARIETY:
            return "It takes all samples for one class: what moved cannot be told from what occurs."
        if self.kept < COLLAPSE:
            return f"It would leave {100 * self.kept:.0f} % of the variety of classes that the shipped head predicts."
        if not self.low > 0:
            return f"It explains samples held out no better ({self.rise:+.2f} nats a sample, at least {self.low:+.2f})."
        if self.agreement < AGREEMENT:
            return (
                f"Ways of aligning that assume different things agree on {100 * self.agreement:.0f} % of the samples, "
                f"where {100 * AGREEMENT:.0f} % are asked: without labels it is open which is right."
            )
        if not self.gain > 0:
            return "It gains nothing in class-balanced accuracy by one of the ways of aligning at least."
        if not self.gain_low > -MOST_LOSS:
            return (
                f"It may cost more than it gains: {100 * self.gain:+.1f} points of class-balanced accuracy are likely, "
                f"but {100 * self.gain_low:+.1f} are not excluded, where {-100 * MOST_LOSS:.0f} is allowed."
            )
        return None


def weigh(
    space: HeadSpace, u: Float64, ways: dict[str, Way], chosen: Sequence[str], head: Way, groups: Ids, seed: int = 0
) -> Evidence:
    """Weigh an alignment.

    Args:
        space: What the head sees.
        u: ``(n, m)`` samples in it.
        ways: Every way, fitted to all samples.
        chosen: Names of those whose explanation must be better than the source's.
        head: The aligned head.
        groups: ``(n,)`` samples of one group are one piece of evidence, and are held out together.
        seed: Draws the folds.

    Returns:
        The evidence.
    """
    likely = [_likely(space, way, u) for way in ways.values()]
    labels = np.stack([each.argmax(axis=1) for each in likely])
    shipped, after = (_likely(space, one, u).argmax(axis=1) for one in (none(space), head))
    # What follows each other and is one class may be one occasion, whether it was tagged or not.
    occasions = np.cumsum(np.diff(after, prepend=after[0]) != 0)
    rises = held_out(space, u, chosen, groups, seed).values()
    bounds = [lower_bound(rise, units) for rise in rises for units in (groups, occasions)]
    gains = [lower_bound(worth(p, shipped, after, units), units) for p in likely for units in (groups, occasions)]
    rise, gain = (min(both, key=itemgetter(1)) for both in (bounds, gains))
    apart = space.mean[:, None] - space.mean
    greatest = max(float(np.sqrt((apart**2).sum(axis=2).max())), 1e-12)
    return Evidence(
        rise=rise[0],
        low=rise[1],
        agreement=float((labels == labels[0]).all(axis=0).mean()),
        gain=gain[0],
        gain_low=gain[1],
        changed=float((after != shipped).mean()),
        distance=float(np.linalg.norm(ways["balanced shift"].offset)) / greatest,
        kept=variety(after) / variety(shipped),
        variety=variety(after),
    )


def _likely(space: HeadSpace, way: Way, u: Float64) -> Float64:
    """Return the ``(n, c)`` probabilities of the classes by one way; rows of merged classes are one class."""
    rows = way.probabilities(u)
    return np.stack([rows[:, space.classes == label].sum(axis=1) for label in distinct(space.classes)], axis=1)


def worth(likely: Float64, before: Ids, after: Ids, groups: Ids) -> Float64:
    """Return what each sample adds to the class-balanced accuracy that a head gains, if the probabilities are right.

    Args:
        likely: ``(n, c)`` probabilities of the classes.
        before: ``(n,)`` class that is predicted now.
        after: ``(n,)`` class that would be.
        groups: ``(n,)`` each group counts once; one more of each class keeps rare ones from deciding.

    Returns:
        ``(n,)`` gains; the mean of the groups' means is the accuracy gained.
    """
    count, rows = np.bincount(groups), np.arange(len(likely))
    share = ((likely / count[groups][:, None]).sum(axis=0) + 1) / len(count)
    found: Float64 = (likely[rows, after] / share[after] - likely[rows, before] / share[before]) / likely.shape[1]
    return found


def held_out(
    space: HeadSpace, u: Float64, chosen: Sequence[str], groups: Ids, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return by how much likelier each of ``(n,)`` samples is under each way fitted on the others than under none."""
    folds, home = fold_groups(groups, seed), Mixture(space.mean, space.prior)
    found = {name: np.zeros(len(u)) for name in chosen}
    for fold in range(FOLDS):
        held = folds == fold
        if not held.any() or held.all():
            continue
        ways = fit_ways(space, u[~held])
        before = _density(none(space), u, held, home)
        for name in chosen:
            found[name][held] = _density(ways[name], u, held, home) - before
    return found


def _density(way: Way, u: Float64, held: NDArray[np.bool_], home: Mixture) -> Float64:
    there = u @ way.matrix.T + way.offset
    fitted = scaled(there[~held], way.mean, home)
    # A map that shrinks makes densities larger, and no sample likelier.
    found: Float64 = fitted.look(there[held])[1] + np.linalg.slogdet(way.matrix)[1]
    return found


def fold_groups(groups: Ids, seed: int) -> Ids:
    """Return the ``(n,)`` fold of each sample; groups stay together, and folds differ by one group at most."""
    count = int(groups.max()) + 1
    found: Ids = (np.random.default_rng(seed).permutation(count) % FOLDS)[groups]
    return found


def lower_bound(values: Float64, groups: Ids) -> tuple[float, float]:
    """Return the mean of the groups' means, and its lower bound at `RISK` by Student's t distribution.

    The quantile comes from the normal one by the expansion of Cornish and Fisher, right to 1 % from five groups on.
    """
    count = np.bincount(groups)
    each = np.bincount(groups, values) / count
    freedom = len(each) - 1
    if freedom < 1:
        return float(each.mean()), float("-inf")
    z = _NORMAL
    quantile = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    mean = float(each.mean())
    return mean, mean - quantile * float(each.std(ddof=1)) / len(each) ** 0.5


def variety(labels: Ids) -> float:
    """Return the effective number of classes among ``(n,)`` labels: the exponential of their entropy."""
    share = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(np.exp(-(share * np.log(share)).sum()))
