"""Without enough labels in the target: validators rank methods, and little is certain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...edge.adaptation.folds import assign_folds
from ...errors import AcclimateError
from ..transfer.validators import entropy, importance_weighted_risk, neighbourhood_density, reverse_accuracy
from .head import fit_linear
from .method import SOURCE_ONLY, TransferMethod
from .pair import Float64, Pair

Progress = Callable[[int, int], None]
_TINY = 1e-12


@dataclass(frozen=True)
class Validated:
    """What validators say.

    Args:
        way_back: By method: share of the source's labels that follow from its answers in the target.
        chance: Share of the source's largest class, which the way back reaches without knowing anything.
        expected: Accuracy of the source's classifier in the target, importance-weighted.
        entropy: Of its answers, in nats.
        density: Soft neighbourhood density of its answers, in nats.
        refused: Why other methods could not be fitted.
    """

    way_back: dict[str, float]
    chance: float
    expected: float
    entropy: float
    density: float
    refused: dict[str, str]


def home_answers(pair: Pair) -> Float64:
    """Return the ``(n, k)`` held-out probabilities of the source's classifier on the source itself."""
    order = np.random.default_rng(pair.seed).permutation(len(pair.source_y))
    fold = np.empty(len(order), np.int64)
    fold[order] = assign_folds(pair.source_y[order])
    found = np.zeros((len(order), pair.k))
    for one in np.unique(fold):
        held = fold == one
        found[held] = fit_linear(pair.source_x[~held], pair.source_y[~held], pair.k)(pair.source_x[held])
    return found


def validate(
    pair: Pair, methods: Sequence[TransferMethod], home: Float64, progress: Progress | None = None
) -> Validated:
    """Fit methods on all samples, and see whether the source's labels follow from their answers.

    Args:
        pair: Both sides.
        methods: What is compared; the source alone is among them.
        home: What `home_answers` returned.
        progress: Told after each method.
    """
    back, refused = {}, {}
    target = pair.target
    logits = np.log(np.maximum(fit_linear(pair.source_x, pair.source_y, pair.k)(target), _TINY))
    for number, method in enumerate(methods):
        if method.family == "none":
            refused[method.name] = "nothing tells how good it is without labelled target samples that can be judged"
        elif said := method.why_not(pair):
            refused[method.name] = said
        else:
            try:
                answers = np.log(np.maximum(method.fit(pair)(target), _TINY))
                back[method.name] = reverse_accuracy(pair.source_x, pair.source_y, target, answers)
            except AcclimateError as error:
                refused[method.name] = str(error)
        if progress is not None:
            progress(number + 1, len(methods))
    if SOURCE_ONLY not in back:
        raise AssertionError("the source alone can always be fitted")
    known = np.log(np.maximum(home, _TINY))
    return Validated(
        back,
        float(np.bincount(pair.source_y).max() / len(pair.source_y)),
        1 - importance_weighted_risk(pair.source_x, pair.source_y, known, target),
        entropy(logits),
        neighbourhood_density(logits) if len(logits) > 1 else 0.0,
        refused,
    )
