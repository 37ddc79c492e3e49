"""How good a classifier is on a domain without labels: plain functions on features, labels and logits.

All take arrays: features ``(n, d)`` of the source and ``(m, d)`` of the target, labels ``(n,)`` of the source alone,
and logits ``(n, k)`` and ``(m, k)``. None of them sees a label of the target, and none is right everywhere: entropy and
density of neighbourhoods reward a model that puts everything into few classes, importance weights vanish where domains
do not overlap. Samples of different widths or numbers, and values that are not finite, are refused.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from ...edge.transfer.checks import check_domains, check_labels, check_rows
from ...errors import InputError
from ..objectives.linear_probe import fit_linear

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
# Rows whose distances to all others are held at a time.
_BLOCK = 1_024


def probabilities(logits: Float64) -> Float64:
    """Return the softmax of logits ``(n, k)``."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares: Float64 = powers / powers.sum(1, keepdims=True)
    return shares


def entropy(target_logits: Float64) -> float:
    """Return the mean entropy of the answers in nats, from 0 (certain) to ln k; less is taken for better.

    Args:
        target_logits: ``(m, k)``.

    References:
        Morerio et al. 2018, "Minimal-entropy correlation alignment for unsupervised deep domain adaptation".
    """
    shares = probabilities(check_rows(target_logits, "logits of target", least=1))
    return float(-(shares * np.log(np.maximum(shares, 1e-300))).sum(1).mean())


def neighbourhood_density(target_logits: Float64, *, temperature: float = 0.05) -> float:
    """Return the soft neighbourhood density of the answers in nats, from 0 to ln (m - 1); more is taken for better.

    Args:
        target_logits: ``(m, k)``, m at least 2.
        temperature: What cosines of answers are divided by.

    References:
        Saito et al. 2021, "Tune it the right way: unsupervised validation of domain adaptation via soft neighborhood
        density".
    """
    shares = probabilities(check_rows(target_logits, "logits of target", least=1))
    if len(shares) < 2:
        raise InputError(f"expected two target samples or more, found {len(shares)}.")
    directions = shares / np.linalg.norm(shares, axis=1, keepdims=True)
    total = 0.0
    for start in range(0, len(directions), _BLOCK):
        near = directions[start : start + _BLOCK] @ directions.T / temperature
        near[np.arange(len(near)), start + np.arange(len(near))] = -np.inf
        weights = probabilities(near)
        total -= float((weights * np.log(np.maximum(weights, 1e-300))).sum())
    return total / len(directions)


def importance_weights(source_features: Float64, target_features: Float64, *, normalised: bool = True) -> Float64:
    """Return how much more likely each source sample is in the target, ``(n,)``.

    From a logistic regression between the domains: p / (1 - p) n / m with p = P(target).

    Args:
        source_features: ``(n, d)``.
        target_features: ``(m, d)``.
        normalised: Bring their mean to 1, which it is but for chance.
    """
    source, target = check_domains(source_features, target_features, least=1)
    rows = torch.from_numpy(np.concatenate([source, target]))
    domains = torch.cat([torch.zeros(len(source)), torch.ones(len(target))]).long()
    weight, bias = fit_linear(rows, domains, 2, penalty=1e-2)
    logits = (rows[: len(source)] @ weight.T + bias).numpy()
    odds = np.exp(np.clip(logits[:, 1] - logits[:, 0], -30, 30)) * len(source) / len(target)
    found: Float64 = odds / odds.mean() if normalised else odds
    return found


def importance_weighted_risk(
    source_features: Float64, source_labels: Int64, source_logits: Float64, target_features: Float64
) -> float:
    """Return the share of wrong answers to be expected in the target, estimated on held-out source samples.

    Args:
        source_features: ``(n, d)`` of samples that were not trained on.
        source_labels: ``(n,)``.
        source_logits: ``(n, k)``.
        target_features: ``(m, d)``.

    References:
        Sugiyama, Krauledat and Mueller 2007, "Covariate shift adaptation by importance weighted cross validation".
    """
    weights = importance_weights(source_features, target_features)
    return float((weights * _wrong(source_logits, source_labels, len(weights))).mean())


def deep_embedded_risk(
    source_features: Float64, source_labels: Int64, source_logits: Float64, target_features: Float64
) -> float:
    """Return the importance-weighted risk with the weights, whose mean would be 1, as a control variate.

    Args:
        source_features: ``(n, d)`` of samples that were not trained on.
        source_labels: ``(n,)``.
        source_logits: ``(n, k)``.
        target_features: ``(m, d)``.

    References:
        You et al. 2019, "Towards accurate model selection in deep unsupervised domain adaptation", algorithm 1.
    """
    weights = importance_weights(source_features, target_features, normalised=False)
    weighted = weights * _wrong(source_logits, source_labels, len(weights))
    spread = float(weights.var())
    slope = (
        0.0 if spread < 1e-12 else -float(np.mean((weighted - weighted.mean()) * (weights - weights.mean()))) / spread
    )
    return float(weighted.mean() + slope * (weights.mean() - 1))


def reverse_answers(
    source_features: Float64, target_features: Float64, target_logits: Float64, *, neighbours: int = 3
) -> Int64:
    """Return the answer that most of the nearest target samples of each source sample got, ``(n,) int64``.

    Args:
        source_features: ``(n, d)``.
        target_features: ``(m, d)`` in the same space.
        target_logits: ``(m, k)``.
        neighbours: How many of the nearest vote; of equal votes the class of the nearest among them wins.

    References:
        Zhong et al. 2010, "Cross validation framework to choose amongst models and datasets for transfer learning".
    """
    source, target = check_domains(source_features, target_features, least=1)
    logits = _as_many(check_rows(target_logits, "logits of target", least=1), len(target), "target")
    answers, count = logits.argmax(1), min(neighbours, len(target))
    lengths = np.square(target).sum(1)
    found: list[Int64] = []
    for start in range(0, len(source), _BLOCK):
        block = source[start : start + _BLOCK]
        nearest = np.argsort(lengths - 2 * block @ target.T, axis=1, kind="stable")[:, :count]
        votes = np.zeros((len(block), logits.shape[1]))
        for place in range(count):
            # The nearer one decides where votes are equal.
            votes[np.arange(len(block)), answers[nearest[:, place]]] += 1 + 1e-6 * 2.0**-place
        found.append(votes.argmax(1))
    return np.concatenate(found) if found else np.empty(0, np.int64)


def reverse_accuracy(
    source_features: Float64,
    source_labels: Int64,
    target_features: Float64,
    target_logits: Float64,
    *,
    neighbours: int = 3,
) -> float:
    """Return how well the source's labels follow from what a model answers in the target, 0 to 1; more is better.

    Where an alignment has put classes on top of others, the way back ends at the wrong ones. Used to choose among
    models of DANN by Ganin et al. 2016, section 5.1.2.

    Args:
        source_features: ``(n, d)``.
        source_labels: ``(n,)``.
        target_features: ``(m, d)`` in the same space.
        target_logits: ``(m, k)``.
        neighbours: As for `reverse_answers`.
    """
    found = reverse_answers(source_features, target_features, target_logits, neighbours=neighbours)
    return float((found == check_labels(source_labels, len(found), "source")).mean())


def _wrong(logits: Float64, labels: Int64, n: int) -> Float64:
    given = _as_many(check_rows(logits, "logits of source", least=1), n, "source")
    found: Float64 = (given.argmax(1) != check_labels(labels, n, "source")).astype(np.float64)
    return found


def _as_many(logits: Float64, n: int, side: str) -> Float64:
    if len(logits) != n:
        raise InputError(f"expected logits of each of {n} {side} samples, found those of {len(logits)}.")
    return logits
