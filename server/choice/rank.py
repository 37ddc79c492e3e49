"""Rank sources on a target's labelled samples. None is trained: each backbone runs once per sample."""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ...converters.splitting.examine import Taps
from ...edge.checks import Labels
from ...edge.choice.agreement import concordance, kendall_tau, mean_ranks, ranks
from ...edge.choice.expected_accuracy import ExpectedAccuracy, expected_accuracy
from ...edge.choice.scores import transfer_scores
from ...errors import AcclimateError, InputError
from .ranking import MEASURES, Ranked, Ranking
from .source import Look, Source, open_source
from .target import Target, check_target

Given = str | os.PathLike[str] | nn.Module | Source
# Below this, Kendall's W of three measures means that they go together no better than .55 by Spearman's correlation.
LOW_AGREEMENT = 0.7


def rank_sources(
    sources: Mapping[str, Given] | Sequence[str | os.PathLike[str]],
    frames: NDArray[Any],
    labels: Labels,
    *,
    taps: Taps = "all",
    code: str | None = None,
    resize: tuple[int, int] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Rank sources by what their latents, and their heads, tell of a target's classes.

    Measures: the accuracy to expect of a head adapted to the samples (`expected_accuracy`, with its interval), LogME,
    the H-score and, of sources whose head tells classes, LEEP and NCE. The combined rank is the mean of the ranks by
    the measures that every source has. None of them is right everywhere: the ranking says how far they agree.

    Args:
        sources: Bundles, folders of runs or checkpoints, models by name (`acclimate.converters.sources.load`); in a
            mapping from name also torch modules in evaluation mode, and objects with a method `look`.
        frames: ``(n, ...)`` raw samples, as the sources take them. A sample that repeats another is left out.
        labels: ``n`` class names: at least two classes, at least two samples each.
        taps: What the latents of a model are made of; a bundle has its own.
        code: Function that builds the network of a checkpoint, where one does.
        resize: Height and width that a model takes, if frames have another size; by default what its origin knows.
        seed: Deals the samples of cross-validation.
        progress: Called with the number of samples embedded, over all sources, and of all.

    Returns:
        The ranking, the best source first.

    Raises:
        InputError: If there is no source, one twice, or one that does not take such samples.
        LabelError: If labels do not fit, are of one class only, or two of one sample differ.
        NotEnoughSamplesError: If a class has less than two samples.
        AcclimateError: If a source is damaged or cannot be split; the message begins with its name.
    """
    named = _named(sources)
    target = check_target(frames, labels)
    n, found = len(target.y), []
    for place, (name, given) in enumerate(named.items()):

        def done(count: int, before: int = place * n) -> None:
            if progress is not None:
                progress(before + count, len(named) * n)

        try:
            seen = open_source(given, taps=taps, code=code, resize=resize).look(target.frames, done)
            scores = transfer_scores(seen.latents, target.y, seen.probabilities)
            expected = expected_accuracy(seen.latents, target.y, seed=seed)
        except AcclimateError as error:
            said = str(error)
            raise type(error)(said if said.startswith((f"{name} ", f"{name}:")) else f"{name}: {said}") from error
        found.append((name, seen, {"accuracy": expected.accuracy, **scores}, expected))
    return _ranking(found, target)


def _named(sources: Mapping[str, Given] | Sequence[str | os.PathLike[str]]) -> dict[str, Given]:
    if isinstance(sources, str | os.PathLike):
        raise InputError(f"expected a list of sources, found {os.fspath(sources)!r:.80}. Put it into a list.")
    if isinstance(sources, Mapping):
        found = dict(sources)
    else:
        names = [os.fspath(source) for source in sources]
        if not all(names):
            raise InputError(
                "expected the name of a source, found none: an empty text. Name a bundle, a run or a model."
            )
        places = [os.path.realpath(name) for name in names]
        if twice := next((name for name, place in zip(names, places, strict=True) if places.count(place) > 1), None):
            raise InputError(f"expected each source once, found {twice!r} twice. Leave one of them out.")
        found = dict(zip(names, sources, strict=True))
    if not found:
        raise InputError("expected at least one source, found none. Name a bundle, a run or a model.")
    return found


def _ranking(found: Sequence[tuple[str, Look, dict[str, float], ExpectedAccuracy]], target: Target) -> Ranking:
    scores = [each for _, _, each, _ in found]
    counted = tuple(measure for measure in MEASURES if all(measure in each for each in scores))
    by_measure = [_ranked(scores, measure) for measure in MEASURES]
    if len(found) > 1:
        table = [[each[measure] for each in scores] for measure in counted]
        mean, agreement = mean_ranks(table), concordance(table)
    else:
        mean, agreement = np.ones(1), float("nan")
    sources = [
        Ranked(
            name,
            1 + int((mean < mean[place]).sum()),
            float(mean[place]),
            each,
            {measure: row[place] for measure, row in zip(MEASURES, by_measure, strict=True) if place in row},
            expected,
            _as_shipped(seen, target),
            seen.latents.shape[1],
            seen.notes,
        )
        for place, (name, seen, each, expected) in enumerate(found)
    ]
    # Of equal ones, the one that more can be expected of.
    sources.sort(key=lambda source: (source.place, -source.expected.accuracy))
    largest = sources[0].expected.largest_class
    told = _warnings(sources, agreement, largest, target)
    taus = _taus(scores)
    return Ranking(tuple(sources), counted, agreement, taus, len(target.y), target.classes, largest, told)


def _ranked(scores: Sequence[Mapping[str, float]], measure: str) -> dict[int, float]:
    """Return the rank by a measure of each source that has it, by place; nothing where less than two have."""
    places = [place for place, each in enumerate(scores) if measure in each]
    if len(places) < 2:
        return dict.fromkeys(places, 1.0)
    return dict(zip(places, ranks([scores[place][measure] for place in places]).tolist(), strict=True))


def _taus(scores: Sequence[Mapping[str, float]]) -> dict[tuple[str, str], float]:
    found = {}
    for a, b in itertools.combinations(MEASURES, 2):
        both = [each for each in scores if a in each and b in each]
        if len(both) > 1:
            found[a, b] = kendall_tau([each[a] for each in both], [each[b] for each in both])
    return found


def _as_shipped(seen: Look, target: Target) -> float | None:
    """Return how many samples a source's own head gets right, if it knows all their classes."""
    if seen.probabilities is None or seen.classes is None or not set(target.classes) <= set(seen.classes):
        return None
    answers = np.array(seen.classes)[seen.probabilities.argmax(axis=1)]
    return float((answers == np.array(target.classes)[target.y]).mean())


def _warnings(sources: Sequence[Ranked], agreement: float, largest: float, target: Target) -> tuple[str, ...]:
    told, best = [], sources[0]
    if target.repeated:
        told.append(f"{target.repeated} of the samples repeat others, and were left out")
    if agreement < LOW_AGREEMENT:
        told.append(
            f"the measures disagree (Kendall's W {agreement:.2f}): go by the expected accuracy and its interval, or "
            f"adapt with more than one source and compare"
        )
    if len(sources) > 1 and sources[1].expected.high >= best.expected.low:
        level = [source.name for source in sources[1:] if source.expected.high >= best.expected.low]
        told.append(f"these samples cannot tell the first from {', '.join(level)}: the intervals overlap")
    if max(source.expected.low for source in sources) <= largest:
        told.append(
            f"no source is sure to do better than always naming the largest class ({largest:.1%}): collect more "
            f"samples, or transfer from none of them"
        )
    return tuple(told)
