"""LEEP: how well a source's own head tells the target's classes, without any training.

Nguyen, Hassner, Seeger and Archambeau 2020, "LEEP: A New Measure to Evaluate Transferability of Learned
Representations".
"""

import numpy as np
from numpy.typing import ArrayLike

from .checks import check_classes, check_probabilities, one_hot


def leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean log-likelihood of the labels under the empirical predictor of a source's head, in nats.

    With ``p(z|x)`` what the head says of its own classes, and ``P(y, z) = 1/n sum_i p(z|x_i) [y_i = y]``, the empirical
    predictor is ``P(y|x) = sum_z P(y|z) p(z|x)``. At most 0; higher is better. Where each row is certain of one class,
    it is `nce`. Classes of the source that no sample gets any probability of are left out.

    Args:
        probabilities: ``(n, z)`` of the source's classes; rows add up to 1.
        labels: ``n`` whole numbers or texts, at least two classes.

    Raises:
        InputError: If probabilities are none.
        LabelError: If labels do not fit, or are all of one class.
    """
    p = check_probabilities(probabilities)
    y, k = check_classes(labels, len(p))
    shown = p[:, p.sum(axis=0) > 0]
    joint = one_hot(y, k).T @ shown
    likely = shown @ (joint / joint.sum(axis=0)).T
    return float(np.log(likely[np.arange(len(y)), y]).mean())
