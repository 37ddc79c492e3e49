"""NCE: what is left to know of the target's classes once a source's answers are known.

Tran, Nguyen and Hassner 2019, "Transferability and Hardness of Supervised Classification Tasks".
"""

import numpy as np
from numpy.typing import ArrayLike

from ...errors import LabelError
from .checks import check_classes


def nce(answers: ArrayLike, labels: ArrayLike) -> float:
    """Return the negative conditional entropy ``-H(labels | answers)`` of the samples' own distribution, in nats.

    At most 0, where each answer goes with one class; higher is better. It is the mutual information less the entropy of
    the labels. Answers that are all of one class are allowed: nothing is known then.

    Args:
        answers: ``n`` whole numbers or texts: the class that the source's own head sees in each sample.
        labels: ``n`` whole numbers or texts, at least two classes.

    Raises:
        LabelError: If labels or answers do not fit, or labels are all of one class.
    """
    given = np.asarray(labels)
    y, k = check_classes(given, given.size if given.ndim == 1 else -1)
    found = np.asarray(answers)
    if found.shape != y.shape or found.dtype.kind not in "iuU":
        raise LabelError(
            f"expected one answer, a whole number or a text, per sample ({len(y)}), found {found.dtype} of shape "
            f"{found.shape}. Pass the class that the source's head gives the most probability."
        )
    z = np.unique(found, return_inverse=True)[1]
    pairs, counts = np.unique(z * k + y, return_counts=True)
    of_answer = np.bincount(z)[pairs // k]
    return float((counts * np.log(counts / of_answer)).sum() / len(y))
