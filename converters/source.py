"""What of the source domain travels in a variant: statistics of its latents, and the shipped head."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..bundle import LinearLayer
from ..edge.adaptation.adapt import Shipped, adapt
from ..edge.adaptation.fisher import Fisher
from ..edge.adaptation.folds import assign_folds
from ..edge.heads import ABSENT
from ..edge.statistics import SourceStatistics, Statistics
from ..edge.store.store import StoredSamples
from ..edge.unknown.fit import fit_novelty
from ..latent import LatentCode
from ..tensors import Arrays
from .quantization.fresh_head import judged_rows
from .source_latents import SourceLatents

HeadChoice = Literal["keep", "fit"]
Float32 = NDArray[np.float32]
# Cross-validation of the head needs no more; statistics take every sample.
_FITTED_ON = 4_000
# Samples that are held at a time for what no sums can tell: a head, and what is unknown.
MOST_DRAWN = 20_000


@dataclass(frozen=True)
class Labelled:
    """Latents of the source domain with their classes.

    Args:
        latents: ``(n, d) float32``, from the variant's own backbone.
        classes: ``(n,) int64`` places in the list of shipped classes.
        names: The shipped classes.
    """

    latents: Float32
    classes: NDArray[np.int64]
    names: tuple[str, ...]


def drawn(source: SourceLatents, names: tuple[str, ...]) -> Labelled:
    """Return the samples of a source, or of many 20,000: as many of each class where there are enough."""
    rows = np.arange(len(source)) if len(source) <= MOST_DRAWN else judged_rows(source.labels, MOST_DRAWN)
    return Labelled(source.take(rows), source.labels[rows], names)


def source_arrays(source: SourceLatents, k: int, code: LatentCode, head: LinearLayer | None) -> Arrays:
    """Return the statistics of the source's latent codes and the shipped head's Fisher information, as they travel.

    Args:
        source: Latents, labelled with places in the list of shipped classes.
        k: Number of shipped classes.
        code: Quantization of the latents.
        head: The shipped head, or None.
    """
    statistics = source_statistics(source, source.labels, k, code)
    arrays = SourceStatistics.compress(statistics).arrays()
    if head is None:
        return arrays
    centre = statistics.sum.sum(axis=0) / len(source)
    diagonal = np.zeros((len(head.weight), source.width + 1))
    for latents, labels in source.blocks():
        diagonal += len(labels) * Fisher.of(code.encode(latents), centre, head, code).diagonal.astype(np.float64)
    return {**arrays, "fisher": (diagonal / len(source)).astype(np.float32)}


def source_statistics(source: SourceLatents, classes: NDArray[np.int64], k: int, code: LatentCode) -> Statistics:
    """Add up the statistics of latent codes, block by block: sums of integers, exact in any order.

    Args:
        source: The latents.
        classes: ``(n,)`` class of each, 0 to k - 1.
        k: Number of classes.
        code: Quantization of the latents.
    """
    total, start = Statistics.empty(k, source.width), 0
    for latents, _ in source.blocks():
        total = total + Statistics.of(code.encode(latents), classes[start : start + len(latents)], k)
        start += len(latents)
    return total


def novelty_arrays(source: Labelled, code: LatentCode) -> Arrays | None:
    """Fit what the shipped head calls unknown on the source's latent codes, its threshold on samples held out.

    Returns:
        The arrays as they travel; None where nothing may be called unknown (`fit_novelty`), for one where `source`
        shows no sample of a class.
    """
    fold = assign_folds(source.classes)
    found = fit_novelty(code.encode(source.latents), source.classes, fold, len(source.names), code)
    return None if found is None else found.to_arrays()


def fit_head(source: Labelled, code: LatentCode, seed: int = 0) -> LinearLayer:
    """Fit a head on the source's latent codes, as a device would fit one.

    Args:
        source: The source; at least two classes.
        code: Quantization of the latents.
        seed: Fixes which samples are taken where there are more than 4,000.

    Returns:
        The head, on the whole latent.

    Raises:
        LabelError: If fewer than two classes are labelled.
        NotEnoughSamplesError: If there are fewer samples than classes.
    """
    n = len(source.latents)
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:_FITTED_ON])
    samples = StoredSamples(np.arange(len(rows)), source.classes[rows], code.encode(source.latents[rows]))
    names = dict(enumerate(source.names))
    found = adapt(samples, Shipped(np.arange(len(names)), code, None, None), None, names).head
    weight = np.zeros((len(names), found.layer.weight.shape[1]), np.float32)
    # A class without samples is never predicted until the device adds some.
    bias = np.full(len(names), ABSENT, np.float32)
    weight[found.classes], bias[found.classes] = found.layer.weight, found.layer.bias
    return LinearLayer(weight, bias)


def accuracy(head: LinearLayer, source: SourceLatents, code: LatentCode) -> float:
    """Return the share of source samples that a head classifies right from their stored codes."""
    right = 0
    for latents, classes in source.blocks():
        logits = code.decode(code.encode(latents)) @ head.weight.T + head.bias
        right += int((logits.argmax(axis=1) == classes).sum())
    return right / len(source)
