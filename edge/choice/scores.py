"""All measures of a source on the samples of a target."""

from numpy.typing import ArrayLike

from .checks import check_latents, check_probabilities
from .h_score import h_score
from .leep import leep
from .logme import logme
from .nce import nce

# Higher is better in each. Those of the head need one that tells classes.
OF_LATENTS, OF_HEAD = ("logme", "h_score"), ("leep", "nce")


def transfer_scores(latents: ArrayLike, labels: ArrayLike, probabilities: ArrayLike | None = None) -> dict[str, float]:
    """Return what each measure says of a source: ``logme``, ``h_score`` and, with a head, ``leep`` and ``nce``.

    Args:
        latents: ``(n, d)`` of the target's samples through the source's backbone.
        labels: ``n`` whole numbers or texts, at least two classes.
        probabilities: ``(n, z)`` of the source's own classes; None where it has no head.

    Raises:
        InputError: If latents or probabilities are none.
        LabelError: If labels do not fit, or are all of one class.
    """
    x = check_latents(latents)
    found = {"logme": logme(x, labels), "h_score": h_score(x, labels)}
    if probabilities is not None:
        p = check_probabilities(probabilities, len(x))
        found |= {"leep": leep(p, labels), "nce": nce(p.argmax(axis=1), labels)}
    return found
