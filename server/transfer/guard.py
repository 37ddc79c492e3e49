"""Whether a model that was adapted without labels is to be kept, or the one trained on the source alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .validators import Float64, Int64, entropy, neighbourhood_density, reverse_answers

# Of the normal distribution, one-sided 5 %.
_QUANTILE = 1.6449


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model makes of source and target.

    Args:
        source_features: ``(n, d)``.
        source_logits: ``(n, k)``.
        target_features: ``(m, d)``.
        target_logits: ``(m, k)``.
    """

    source_features: Float64
    source_logits: Float64
    target_features: Float64
    target_logits: Float64


@dataclass(frozen=True)
class Verdict:
    """What a guard decided.

    Args:
        kept: Whether the adapted model is kept.
        reason: Why, in a sentence.
        scores: What that rests on, of both models by name.
    """

    kept: bool
    reason: str
    scores: Mapping[str, float] = field(default_factory=dict)


def judge_adaptation(
    source_only: Answers,
    adapted: Answers,
    source_labels: Int64,
    *,
    held: tuple[Float64, Float64, Int64] | None = None,
) -> Verdict:
    """Decide between a model trained on the source alone and one adapted to the target.

    With labelled samples of the target, the adapted model is kept if it is right on as many of them or more. Without,
    by the way back: from each model's answers in the target, in its own features, the source's labels are to follow;
    with the adapted model not worse than with the other, beyond chance (McNemar's test, one-sided, 5 %). That sees
    classes which an alignment tore apart or put on top of each other, and not two that it swapped as a whole. Entropy
    and the density of neighbourhoods are told, and decide nothing: on MNIST and UCI digits both ranked adapted models
    that gained 20 points below those trained on the source alone.

    Args:
        source_only: Of that model.
        adapted: Of the other, on the same samples.
        source_labels: ``(n,)``; samples with -1 are left out.
        held: Logits ``(h, k)`` of the first and of the second model on labelled samples of the target, and their
            labels ``(h,)``.

    Raises:
        InputError: If the samples of both models differ in number, or an answer is not finite.

    References:
        See `acclimate.server.transfer.validators`.
    """
    known = np.asarray(source_labels) >= 0
    _check(source_only, adapted, known)
    labels = np.asarray(source_labels)[known]
    scores: dict[str, float] = {}
    right: list[NDArray[np.bool_]] = []
    for name, model in (("source_only", source_only), ("adapted", adapted)):
        scores[f"{name}_entropy"] = entropy(model.target_logits)
        scores[f"{name}_density"] = neighbourhood_density(model.target_logits)
        back = reverse_answers(model.source_features[known], model.target_features, model.target_logits)
        right.append(back == labels)
        scores[f"{name}_way_back"] = float(right[-1].mean())
    if held is not None:
        return _by_labels(held, scores)
    worse = _worse(*right)
    return Verdict(
        not worse,
        f"From the adapted model's answers in the target, {right[1].mean():.1%} of the source's labels follow, from "
        f"those of the model trained on the source alone {right[0].mean():.1%}"
        f"{': adaptation did harm' if worse else ''}.",
        scores,
    )


def _worse(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> bool:
    """Whether one of two models is right on fewer of the same samples than the other, beyond chance."""
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    return lost > won and (lost - won) / math.sqrt(lost + won) > _QUANTILE


def _by_labels(held: tuple[Float64, Float64, Int64], scores: dict[str, float]) -> Verdict:
    first, second, labels = held
    if not len(labels) or len(first) != len(labels) or len(second) != len(labels):
        raise InputError(
            f"expected logits of both models and a label for each held-out sample of the target, found {len(first)}, "
            f"{len(second)} and {len(labels)}."
        )
    before, after = _right(first, labels), _right(second, labels)
    kept = int(after.sum()) >= int(before.sum())
    scores |= {"source_only_accuracy": float(before.mean()), "adapted_accuracy": float(after.mean())}
    told = (
        f"On {len(labels)} labelled samples of the target the adapted model is right on {after.mean():.1%}, the one "
        f"trained on the source alone on {before.mean():.1%}"
    )
    return Verdict(kept, f"{told}{'' if kept else ': adaptation did harm'}.", scores)


def _right(logits: Float64, labels: Int64) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.asarray(logits).argmax(1) == labels
    return found


def _check(first: Answers, second: Answers, known: NDArray[np.bool_]) -> None:
    counts = [
        (len(a.source_features), len(a.source_logits), len(a.target_features), len(a.target_logits))
        for a in (first, second)
    ]
    if len({*counts, (len(known), len(known), counts[0][2], counts[0][2])}) > 1 or not known.any():
        raise InputError(
            f"expected both models on the same samples, with labels of the source, found {counts[0]} and {counts[1]} "
            f"samples and {int(known.sum())} labels."
        )
    for model in (first, second):
        parts = (model.source_features, model.source_logits, model.target_features, model.target_logits)
        if not all(np.isfinite(part).all() for part in parts):
            raise InputError("expected finite features and logits, found NaN or infinity. Train with a lower rate.")
