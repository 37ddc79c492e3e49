"""What adapting a regression head costs, told beforehand: seconds, working memory, bytes on disk.

The terms follow from the algorithms; the constants of time were fitted to measurements on an x86-64 processor.
"""

from ...record import record
from ..adaptation import costs
from ..adaptation.budget import Estimate, Need, reckon
from ..statistics import RANK
from .left_out import TOGETHER
from .ridge import SOURCE_WEIGHTS, STRENGTHS
from .task import RegressionSession

# Operations that a step costs, in those of a product of matrices; a step over errors is slower than that.
_EIGEN, _PRODUCT, _ERROR, _CODES, _START = 9.0, 3.0, 1_500.0, 4_500.0, 3e8
# Measured peaks lie above the sum of the arrays by less; what a process takes for anything at all.
_SLACK, _LEAST = 1.1, 4e6


@record()
class Size:
    """How large an adaptation is.

    Args:
        samples: Labelled samples.
        width: Dimensions of the latent.
        targets: Targets.
        source: Whether the bundle ships source statistics.
        head: Whether it ships a head.
    """

    samples: int
    width: int
    targets: int
    source: bool
    head: bool

    @property
    def space(self) -> costs.Size:
        """How large the coordinates are: as for so many classes, whose rows span them likewise."""
        return costs.Size(self.samples, self.width, self.targets + 1, self.source or self.head)

    @property
    def weights(self) -> int:
        """Weights of the source that are tried."""
        return len(SOURCE_WEIGHTS) if self.source else 1

    @property
    def settings(self) -> int:
        """Settings that are tried."""
        return self.weights * (1 + self.head) * len(STRENGTHS)


def memory(size: Size) -> int:
    """Return an upper bound of the working memory in bytes: what is held throughout, and the greatest step."""
    space = size.space
    n, d, t, m, rows = size.samples, size.width, size.targets, space.coordinates, min(size.samples, 4_096)
    x, square = 8 * n * m, 8 * m * m
    held = n * d + x + 8 * n * (5 * t + 40)
    held += 8 * space.rows * d + square if space.spanned else 8 * d * d * space.rotated
    if size.source:
        held += square + (16 * d * d if space.whole else 8 * RANK * d)
    if space.spanned:
        finding = x + 8 * space.rows * d + 4 * square
    else:
        finding = x + 16 * rows * d + (32 * d * d if space.rotated else 0)
    # Each system that is kept holds the second moment and its axes; decomposing takes three more.
    kept = 2 * square * size.weights
    decomposed = 3 * square + x
    held_out = x + 8 * n * (t * (len(STRENGTHS) + 1) + 1) + 16 * rows * (m + t * len(STRENGTHS))
    # What is left of a unit's samples, or of their second moment where they are more than coordinates.
    side = min(n, m + 1)
    held_out += 24 * max(side * side, TOGETHER) + 16 * side * m
    search = kept + 8 * size.settings * (n + t * m) + max(decomposed, held_out)
    return int(_SLACK * (held + max(finding, search, 4 * n * d)) + _LEAST)


def seconds(size: Size) -> float:
    """Return about how many seconds a search takes here, from how fast this machine multiplies now."""
    # What forgets the source is searched once more, and before that fitted at every setting.
    again = 3 if size.source and size.head else 1
    return (_fixed(size) + again * size.weights * _system(size, 1 + size.head)) / costs.speed()


def least_seconds(size: Size) -> float:
    """Return a lower bound of how many seconds it takes at least, whatever is left out of the search."""
    return costs.surely(_fixed(size) + _system(size, 1), size.samples, size.width)


def _system(size: Size, priors: int) -> float:
    """Return the operations of one weight of the source: its decomposition, and every strength for each prior."""
    n, m, t = size.samples, size.space.coordinates, size.targets
    held_out = 2.0 * n * m * m + len(STRENGTHS) * n * (t + 1) * (_PRODUCT * m + _ERROR)
    return 2.0 * n * m * m + _EIGEN * m**3 + priors * held_out


def _fixed(size: Size) -> float:
    """Return the operations of what is done in any case: the coordinates."""
    space, n, d = size.space, size.samples, size.width
    m = space.coordinates
    finding = 2.0 * space.rows**2 * d if space.spanned else 4.0 * n * d * d * space.rotated
    eigen = _EIGEN * m**3 if space.spanned or space.rotated else 0.0
    if space.spanned and size.source:
        # Once more, to hold what the source says of the targets.
        finding, eigen = 2 * finding, 2 * eigen
    return _CODES * n * d + finding + eigen + _START


def estimate(session: RegressionSession, samples: int | None = None) -> Estimate:
    """Tell what adapting will cost. See `Regressor.estimate`."""
    return reckon(session, samples, lambda n: need(session, n))


def need(session: RegressionSession, samples: int) -> Need:
    """Return what adapting an opened regressor to so many samples takes."""
    manifest = session.bundle.manifest
    source = f"{session.runtime}/source.safetensors" in session.bundle.sizes
    size = Size(samples, manifest.width, len(manifest.classes), source, session.shipped_head is not None)
    return Need(samples, size.width, memory(size), lambda: seconds(size), lambda: least_seconds(size))
