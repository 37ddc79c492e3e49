"""Correcting a head for classes that occur more or less often here: only its biases change."""

import numpy as np

from ...bundle import LinearLayer
from ...errors import InputError
from ...latent import Codes
from ...record import record
from ..adaptation.shipped import Shipped
from ..head import Ids, LinearHead
from ..statistics import Float64
from ..transfer.label_shift import LabelShift, estimate_prior, estimate_prior_black_box
from ..unknown.novelty import Novelty
from .evidence import FOLDS, fold_groups, lower_bound
from .mixture import PRIOR_SAMPLES, Mixture, scaled
from .space import HeadSpace, head_space
from .ways import none

# Share of the samples that two estimates of the mix of classes may place differently.
MOST_APART = 0.15
# Draws of each class that tell how the head takes one for another.
_DRAWS = 200


@record(eq=False)
class Balance:
    """A head with other biases that is not in use yet.

    Args:
        head: The head.
        against: What speaks against it, in words; None where nothing does.
        prior: ``(k,)`` share of each class here.
        home: ``(k,)`` share of each in the source.
        classes: ``(k,)`` their ids.
    """

    head: LinearHead
    against: str | None
    prior: Float64
    home: Float64
    classes: Ids


def rebalance(shipped: Shipped, codes: Codes, groups: Ids, novelty: Novelty | None = None) -> Balance:
    """Estimate the mix of classes here, and correct the shipped head for it.

    Two estimates that go different ways must agree: the likelihood's maximum (`estimate_prior`), and what the head
    predicts, seen through its confusion on draws from the source's statistics (`estimate_prior_black_box`).

    Args:
        shipped: What the bundle brings along, as it was shipped.
        codes: ``(n, d) uint8`` samples.
        groups: ``(n,)`` unit of evidence of each.
        novelty: What tells unknown frames, or None.

    Returns:
        The head.

    Raises:
        InputError: If the bundle does not say enough of its source.
    """
    space = head_space(shipped)
    u = space.of(codes)
    posteriors = none(space).probabilities(u)
    found = _estimate(posteriors, space.prior)
    bias = space.bias + found.correct(np.zeros(len(space.bias)))
    layer = space.fold(space.weight, bias, shipped.code)
    head = LinearHead(LinearLayer(space.layer.weight, layer.bias), space.rows, novelty=novelty)
    return Balance(head, _against(space, u, posteriors, found, groups), found.prior, space.prior, space.classes)


def _estimate(posteriors: Float64, home: Float64) -> LabelShift:
    return estimate_prior(posteriors, home, drawn=PRIOR_SAMPLES * len(home))


def _against(space: HeadSpace, u: Float64, posteriors: Float64, found: LabelShift, groups: Ids) -> str | None:
    folds, rise = fold_groups(groups, 0), np.zeros(len(u))
    for fold in range(FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            rise[held] = np.log(posteriors[held] @ _estimate(posteriors[~held], space.prior).ratio)
    mean, low = lower_bound(rise, groups)
    if not low > 0:
        return f"Another mix of classes explains samples held out no better ({mean:+.2f} nats, at least {low:+.2f})."
    try:
        other = estimate_prior_black_box(_confusion(space, u), posteriors.argmax(axis=1))
    except InputError:
        return "The head hardly tells some classes apart, so that their mix cannot be told from its predictions."
    apart = float(np.abs(other.prior - found.prior).sum()) / 2
    if apart > MOST_APART:
        return (
            f"Two estimates of the mix of classes differ on {100 * apart:.0f} % of the samples, where "
            f"{100 * MOST_APART:.0f} % are allowed."
        )
    return None


def _confusion(space: HeadSpace, u: Float64) -> Float64:
    """Return the ``(k, k)`` shares of the source by predicted and true class, of draws that scatter as samples do."""
    width = scaled(u, space.mean, Mixture(space.mean, space.prior)).variance ** 0.5
    rng, k = np.random.default_rng(0), len(space.mean)
    table = np.zeros((k, k))
    for label, mean in enumerate(space.mean):
        drawn = mean + width * rng.standard_normal((_DRAWS, len(mean)))
        table[:, label] = np.bincount(none(space).logits(drawn).argmax(axis=1), minlength=k) / _DRAWS
    found: Float64 = table * space.prior
    return found
