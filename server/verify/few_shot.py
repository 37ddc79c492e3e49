"""What is known of transfer to classes with few samples, or none."""

import numpy as np

from ...edge.heads import Problem, Prototype, Setting
from ...edge.transfer.class_embeddings import ClassEmbeddingMap
from .check import Check


def few_shot_identities() -> tuple[Check, ...]:
    """Return the checks."""
    return (
        Check(
            "prototypes", "answers of scikit-learn's NearestCentroid, %", "Snell et al. 2017; scikit-learn", _nearest
        ),
        Check("class embeddings", "orthogonal attributes, unseen classes, %", "Romera-Paredes and Torr 2015", _unseen),
    )


def _nearest() -> tuple[float, float]:
    from sklearn.neighbors import NearestCentroid

    draw = np.random.default_rng(0)
    y = np.repeat(np.arange(4), [3, 5, 2, 7]).astype(np.int64)
    means = draw.normal(size=(4, 6))
    x, new = draw.normal(size=(len(y), 6)) + means[y], draw.normal(size=(500, 6))
    (found,) = Prototype().solve(Problem(x, y, 4), (Setting("prototype", 0.0),))
    expected = NearestCentroid().fit(x, y).predict(new)
    return 100.0, 100 * float(np.mean(found.logits(new).argmax(axis=1) == expected))


def _unseen() -> tuple[float, float]:
    draw = np.random.default_rng(0)
    # Attributes of two groups that combine: all that is told of a class is which of each group it has.
    attributes = np.array([[*np.eye(4)[a], *np.eye(4)[b]] for a in range(4) for b in range(4)])
    towards = np.linalg.qr(draw.normal(size=(12, 8)))[0].T
    y = np.repeat(np.arange(16), 20)
    x = attributes[y] @ towards + 0.05 * draw.normal(size=(len(y), 12))
    unseen = np.isin(y, [0, 5, 10, 15])
    rest = np.setdiff1d(np.arange(16), [0, 5, 10, 15])
    fitted = ClassEmbeddingMap.fit(x[~unseen], np.searchsorted(rest, y[~unseen]), attributes[rest])
    held = np.array([0, 5, 10, 15])
    answers = held[fitted.predict(x[unseen], attributes[held])]
    return 100.0, 100 * float(np.mean(answers == y[unseen]))
