"""Temperatures: what logits must be divided by for the probabilities of held-out samples to be right."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..heads.problem import ABSENT, Float64, Setting

# Greatest cross-entropy of a sample, in nats: one that is wrong and sure must not decide alone.
WORST = 10.0
# Of a free softmax head, the temperature at a regularisation of 1e-4 and the power of the regularisation that it falls
# with; as many held-out samples as that knowledge is worth. From seven collections, none of them one that is reported.
_AT, _POWER, _WORTH = 1e-4, 0.4, 8.0
# So many samples more are taken to be right, and as many to be of the runner-up. From draws that are not reported.
_MORE = 0.25
# The search is over the logarithm of the inverse temperature, in units of the median range of a sample's logits.
_SPAN, _ENOUGH, _MOST = 6.0, 1e-4, 40
# Logits looked at together.
_TOGETHER = 1 << 20
Slope = Callable[[Float64], tuple[Float64, Float64]]


def best_temperature(logits: Float64, y: NDArray[np.int64], weight: Float64) -> tuple[float, Float64]:
    """Find the temperature that makes probabilities of held-out samples most likely.

    Args:
        logits: ``(n, k)`` of held-out samples.
        y: ``(n,)`` their classes.
        weight: ``(n,)`` their weights.

    Returns:
        The temperature and the ``(n,)`` cross-entropies at it, as of `best_temperatures`.
    """
    temperature, each = best_temperatures(logits[None], y, weight[None])
    return float(temperature[0]), each[0]


def usual_temperature(setting: Setting) -> float:
    """Return the temperature to expect before any sample was held out; NaN where nothing is known of it.

    A penalty that holds weights back makes probabilities too even by about as much everywhere, since it is in units of
    the samples' norm. Of the closed forms, and of heads drawn to a shipped one, the scale is the data's.
    """
    if setting.head != "softmax" or setting.prior != "none":
        return float("nan")
    return float((_AT / setting.regularisation) ** _POWER)


def best_temperatures(
    logits: Float64, y: NDArray[np.int64], weight: Float64, usual: Float64 | None = None
) -> tuple[Float64, Float64]:
    """Find the temperatures that make probabilities of held-out samples most likely, of several sets of logits at once.

    Guo et al. 2017, "On Calibration of Modern Neural Networks". The loss is convex in the inverse temperature; Newton's
    method on its slope finds the minimum, bisection where Newton's steps do not shrink.

    Few samples tell a temperature badly, and one that was lucky with them is too sure: where all are right, no
    probability short of 1 is most likely. So half a sample more is taken to be as likely right as of the runner-up,
    as Platt 1999, "Probabilistic Outputs for Support Vector Machines", smooths targets: among n samples a share of a
    quarter in n + 1/2, which has a meaning at any scale of logits. Where a usual temperature is known besides,
    what is found is the mode of the posterior under a gamma prior of the inverse temperature around it, worth eight
    samples.

    Args:
        logits: ``(r, n, k)`` of held-out samples, by each of r settings.
        y: ``(n,)`` their classes.
        weight: ``(r, n)`` or ``(1, n)`` their weights.
        usual: ``(r,)`` the temperatures to expect, NaN where unknown; None where none is known.

    Returns:
        ``(r,)`` temperatures, and the ``(r, n)`` cross-entropy of each sample at it in nats, at most 10. A class that a
        fold's training did not show cannot be predicted: it has no say in the temperature and costs every setting the
        same.
    """
    r, n, k = logits.shape
    weight = np.broadcast_to(weight, (r, n))
    usual = np.full(r, np.nan) if usual is None else usual
    some = max(1, _TOGETHER // (n * k))
    found = [_search(logits[i : i + some], y, weight[i : i + some], usual[i : i + some]) for i in range(0, r, some)]
    return np.concatenate([t for t, _ in found]), np.concatenate([each for _, each in found])


def probabilities(logits: Float64, temperature: Float64) -> Float64:
    """Return the probabilities of the classes.

    Args:
        logits: ``(n, k)``.
        temperature: ``(n, 1)`` or one number.
    """
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    result: Float64 = powers / powers.sum(axis=1, keepdims=True)
    return result


def _search(logits: Float64, y: NDArray[np.int64], weight: Float64, usual: Float64) -> tuple[Float64, Float64]:
    # Classes first: sums over a few classes are then sums of long rows, which is several times faster.
    below = np.array(logits.transpose(2, 0, 1), np.float64, order="C")
    below -= below.max(axis=0)
    unknown = below <= ABSENT / 2
    lacking = bool(unknown.any())
    own = below[y, :, np.arange(len(y))].T
    shown = own > ABSENT / 2
    if lacking:
        own, weight = np.where(shown, own, 0), np.where(shown, weight, 0)
        below[unknown] = -np.inf
    # Samples of unequal weights are worth fewer (Kish); without any, the usual temperature stands.
    whole, squares = weight.sum(axis=1), (weight**2).sum(axis=1)
    sample = np.divide(squares, whole, out=np.ones_like(whole), where=whole > 0)
    aim = _smoothed(below, y, own, whole / sample)
    if lacking:
        below[unknown] = 0
    # The median; numpy's own loads its masked arrays first.
    scale = np.partition(-below.min(axis=0), len(y) // 2, axis=1)[:, len(y) // 2, None]
    scale[scale == 0] = 1
    below /= scale
    own, aim = own / scale, aim / scale
    prior, centre = np.where(np.isnan(usual), 0, _WORTH * sample), np.nan_to_num(usual, nan=1.0) / scale[:, 0]

    def shares(power: Float64) -> Float64:
        result: Float64 = np.exp(below * np.exp(power)[:, None])
        if lacking:
            result[unknown] = 0
        return result

    def slope(power: Float64) -> tuple[Float64, Float64]:
        share = shares(power)
        whole = share.sum(axis=0)
        share *= below
        mean = share.sum(axis=0) / whole
        share *= below
        spread = share.sum(axis=0) / whole - mean**2
        drawn, inverse = prior * (centre - np.exp(-power)), prior * np.exp(-power)
        return ((mean - aim) * weight).sum(axis=1) + drawn, np.exp(power) * (spread * weight).sum(axis=1) + inverse

    power = _root(slope, len(logits))
    losses = np.log(shares(power).sum(axis=0)) - own * np.exp(power)[:, None]
    return scale[:, 0] / np.exp(power), np.where(shown, np.minimum(losses, WORST), WORST)


def _smoothed(below: Float64, y: NDArray[np.int64], own: Float64, samples: Float64) -> Float64:
    """Return the ``(r, n)`` logits to aim at: of the sample's class, and for a small share of the runner-up."""
    rows = np.arange(len(y))
    below[y, :, rows] = -np.inf
    other = below.max(axis=0)
    below[y, :, rows] = own.T
    share = (_MORE / (samples + 2 * _MORE))[:, None]
    # Where there is but one class, nothing is wrong.
    result: Float64 = own + share * np.where(np.isfinite(other), other - own, 0)
    return result


def _root(slope: Slope, r: int) -> Float64:
    """Return where r rising slopes are 0, or the end of the span that is nearest to it."""
    low, high, power = np.full(r, -_SPAN), np.full(r, _SPAN), np.zeros(r)
    # Samples that are all right want ever lower temperatures: the usual case where no minimum is inside.
    beyond = slope(high)[0] <= 0
    power[beyond] = low[beyond] = _SPAN
    before = np.full(r, np.inf)
    for _ in range(_MOST):
        value, rise = slope(power)
        low, high = np.where(value < 0, power, low), np.where(value > 0, power, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = -value / rise
        aim = power + step
        newton = (aim > low) & (aim < high) & (np.abs(step) < before / 2)
        aim = np.where(newton, aim, (low + high) / 2)
        aim[beyond] = _SPAN
        before = np.abs(aim - power)
        power = aim
        if before.max() < _ENOUGH:
            break
    return power
