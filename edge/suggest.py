"""Which samples to label next."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..latent import Codes

Float32 = NDArray[np.float32]
Strategy = Literal["least-confidence", "margin", "entropy", "k-centre"]
STRATEGIES: tuple[Strategy, ...] = ("least-confidence", "margin", "entropy", "k-centre")
# Values worked on at a time, and points that distances are taken to at a time.
_BLOCK_VALUES, _TOGETHER = 2**22, 64


def suggest(
    n: int,
    *,
    probabilities: NDArray[np.floating] | None = None,
    codes: Codes | None = None,
    labelled: Codes | None = None,
    strategy: Strategy = "margin",
) -> NDArray[np.int64]:
    """Choose unlabelled samples whose labels would help most, most helpful first. Equal ones in the order of rows.

    | strategy | first | needs |
    |---|---|---|
    | `least-confidence` | the least probability of the most probable class | probabilities |
    | `margin` | the least gap between the two most probable classes | probabilities |
    | `entropy` | the greatest entropy of the probabilities | probabilities |
    | `k-centre` | the one farthest from all that is labelled or chosen | codes |

    The first three ask about what the head is unsure of, and may choose many alike; `k-centre` asks about what is
    unlike anything labelled, and needs no head. Settles 2009, "Active Learning Literature Survey"; Sener and Savarese
    2018, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", with the greedy choice of Gonzalez
    1985, which leaves no sample more than twice as far from the nearest centre as the best choice would.

    Args:
        n: How many; fewer are returned where there are fewer.
        probabilities: ``(m, k)`` of the unlabelled samples.
        codes: ``(m, d) uint8`` of the unlabelled samples.
        labelled: ``(l, d) uint8`` of the labelled ones; None or empty for none.
        strategy: How to choose.

    Returns:
        ``(n,) int64`` rows.

    Raises:
        InputError: If the strategy is unknown, or what it needs is missing or does not fit.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"expected a strategy of {', '.join(STRATEGIES)}, found {strategy!r}.")
    if n < 0:
        raise InputError(f"expected a number of samples from 0 on, found {n}.")
    if strategy == "k-centre":
        if codes is None or codes.ndim != 2:
            raise InputError("expected (m, d) codes for strategy 'k-centre', found none. Pass them or choose 'margin'.")
        return _spread_out(n, codes, labelled)
    if probabilities is None or probabilities.ndim != 2 or not probabilities.shape[1]:
        raise InputError(
            f"expected (m, k) probabilities for strategy {strategy!r}, found none. "
            f"Pass those of a head, or choose 'k-centre', which needs none."
        )
    order = np.argsort(_doubt(probabilities, strategy), kind="stable")
    return order[:n].astype(np.int64)


def _doubt(probabilities: NDArray[np.floating], strategy: Strategy) -> NDArray[np.floating]:
    """Return ``(m,)`` numbers, the less the more doubtful."""
    if strategy == "least-confidence":
        result: NDArray[np.floating] = probabilities.max(axis=1)
    elif strategy == "margin":
        if probabilities.shape[1] == 1:
            return np.ones(len(probabilities))
        two = np.partition(probabilities, -2, axis=1)[:, -2:]
        result = two[:, 1] - two[:, 0]
    else:
        # At 0 the product is 0; the least number above keeps the logarithm finite.
        tiny = np.finfo(probabilities.dtype).tiny
        result = np.einsum("mk,mk->m", probabilities, np.log(np.maximum(probabilities, tiny)))
    return result


def _spread_out(n: int, codes: Codes, labelled: Codes | None) -> NDArray[np.int64]:
    m, d = codes.shape
    labelled = np.empty((0, d), np.uint8) if labelled is None else labelled
    if labelled.ndim != 2 or labelled.shape[1] != d:
        raise InputError(f"expected labelled codes (l, {d}), found {labelled.shape}. Pass those of the same latents.")
    if not m or not n:
        return np.empty(0, np.int64)
    centre, scale = _standard(codes, labelled)
    nearest = np.full(m, np.inf, np.float32)
    if len(labelled):
        for i in range(0, len(labelled), _TOGETHER):
            _approach(nearest, codes, (labelled[i : i + _TOGETHER] - centre) * scale, centre, scale)
        chosen = [int(nearest.argmax())]
    else:
        # Nothing is labelled: begin in the middle, with the sample nearest to the mean.
        middle = np.full(m, np.inf, np.float32)
        _approach(middle, codes, np.zeros((1, d), np.float32), centre, scale)
        chosen = [int(middle.argmin())]
    while len(chosen) < min(n, m):
        _approach(nearest, codes, (codes[chosen[-1:]] - centre) * scale, centre, scale)
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return np.array(chosen, np.int64)


def _standard(codes: Codes, labelled: Codes) -> tuple[Float32, Float32]:
    """Return the ``(d,)`` mean of all codes and what centred ones are multiplied with to have unit variance."""
    n, d = len(codes) + len(labelled), codes.shape[1]
    total, squares = np.zeros(d), np.zeros(d)
    for part in (codes, labelled):
        for i in range(0, len(part), _rows(d)):
            rows = part[i : i + _rows(d)].astype(np.float64)
            total += rows.sum(axis=0)
            squares += np.einsum("nd,nd->d", rows, rows)
    variance = np.maximum(squares / n - (total / n) ** 2, 0)
    # Below one code of spread a dimension holds little but rounding.
    return (total / n).astype(np.float32), (1 / np.maximum(np.sqrt(variance), 1)).astype(np.float32)


def _approach(nearest: Float32, codes: Codes, points: Float32, centre: Float32, scale: Float32) -> None:
    """Lower the ``(m,)`` squared distances of codes to the nearest point by those to ``(p, d)`` standardised points."""
    lengths = np.einsum("pd,pd->p", points, points)
    step = _rows(codes.shape[1])
    for i in range(0, len(codes), step):
        rows = (codes[i : i + step] - centre) * scale
        both = np.einsum("nd,nd->n", rows, rows)[:, None] + lengths
        far = both - 2 * (rows @ points.T)
        # Of equal rows rounding leaves a little, which must not make one of them look new.
        far[far < 1e-5 * both] = 0
        np.minimum(nearest[i : i + step], far.min(axis=1), out=nearest[i : i + step])


def _rows(d: int) -> int:
    """Return how many rows are worked on at a time."""
    return max(_BLOCK_VALUES // d, 1)
