"""What is shipped beside a backbone, by task: names, head, statistics of the source."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..bundle import LinearLayer
from ..edge.checks import check_name
from ..edge.regression.adaptation import Fit, ShippedRegression, adapt
from ..edge.regression.source import RegressionSource
from ..edge.regression.targets import check_values
from ..edge.statistics import SourceStatistics
from ..edge.store.samples import StoredSamples
from ..errors import InputError, LabelError
from ..latent import LatentCode
from ..manifest import MAX_TARGETS, Task
from ..tensors import Arrays
from .classes import Labels, class_ids, name_classes
from .source import accuracy, drawn, fit_head, novelty_arrays, source_arrays, source_statistics
from .source_latents import SourceLatents

Float32 = NDArray[np.float32]
# Cross-validation of the head needs no more; statistics take every sample.
_FITTED_ON = 4_000


@dataclass(frozen=True, eq=False)
class Shipment:
    """What of the source travels in a variant.

    Args:
        head: The shipped head, or None.
        source: Statistics, or None.
        novelty: What the head calls unknown, or None.
        score: How well the head does on the source; None without either.
    """

    head: LinearLayer | None
    source: Arrays | None = None
    novelty: Arrays | None = None
    score: float | None = None


class Outputs(Protocol):
    """What the outputs of the model mean."""

    @property
    def task(self) -> Task:
        """The task of the bundle."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs."""

    def labels(self, given: Any, n: int) -> NDArray[Any]:
        """Check the labels of ``n`` source samples, and return one row for each."""

    def ship(self, source: SourceLatents, code: LatentCode, kept: LinearLayer | None, *, fit: bool) -> Shipment:
        """Make what is shipped.

        Args:
            source: Latents of the source, with labels as `labels` gave them.
            code: Quantization of the latents.
            kept: The model's own head where it is kept.
            fit: Whether a head is fitted on the source.
        """


@dataclass(frozen=True)
class ClassOutputs:
    """Logits of classes. See `Outputs`."""

    task: ClassVar[Task] = "classification"
    names: tuple[str, ...]

    def labels(self, given: Labels, n: int) -> NDArray[Any]:
        """Return places in the list of classes."""
        return class_ids(given, self.names, n)

    def ship(self, source: SourceLatents, code: LatentCode, kept: LinearLayer | None, *, fit: bool) -> Shipment:
        """Return head, statistics, Fisher information and the `unknown` verdict."""
        head = fit_head(drawn(source, self.names), code) if fit else kept
        statistics = source_arrays(source, len(self.names), code, head)
        if head is None:
            return Shipment(None, statistics)
        novelty = novelty_arrays(drawn(source, self.names), code)
        return Shipment(head, statistics, novelty, accuracy(head, source, code))


@dataclass(frozen=True)
class TargetOutputs:
    """Values of targets. See `Outputs`."""

    task: ClassVar[Task] = "regression"
    names: tuple[str, ...]

    def labels(self, given: Any, n: int) -> NDArray[Any]:
        """Return ``(n, t) float64`` values."""
        found = check_values(given, n, self.names)
        if np.isnan(found).any():
            raise LabelError("expected a value of each target for every source sample, found some without.")
        return found

    def ship(self, source: SourceLatents, code: LatentCode, kept: LinearLayer | None, *, fit: bool) -> Shipment:
        """Return head and statistics."""
        labels = source.labels
        statistics = _regression_source(source, code).arrays()
        head = kept
        if fit:
            rows = np.sort(np.random.default_rng(0).permutation(len(labels))[:_FITTED_ON])
            samples = StoredSamples(np.arange(len(rows)), np.full(len(rows), -1), code.encode(source.take(rows)))
            head = adapt(samples, labels[rows], ShippedRegression(code, None, None), None).head.layer
        if head is None:
            return Shipment(None, statistics)
        found = [code.decode(code.encode(latents)) @ head.weight.T + head.bias for latents, _ in source.blocks()]
        fit_of_all = Fit.of(labels, np.concatenate(found).astype(np.float64))
        return Shipment(head, statistics, None, float(fit_of_all.r2.mean()))


def _regression_source(source: SourceLatents, code: LatentCode) -> RegressionSource:
    """Add up what `RegressionSource.of` computes, block by block."""
    target = source.labels.mean(axis=0)
    away = source.labels - target
    found = source_statistics(source, np.zeros(len(source), np.int64), 1, code)
    cross, start = np.zeros((away.shape[1], source.width)), 0
    for latents, _ in source.blocks():
        cross += away[start : start + len(latents)].T @ code.encode(latents)
        start += len(latents)
    cross -= np.outer(away.sum(axis=0), found.sum[0] / len(source))
    return RegressionSource(SourceStatistics.compress(found), target, (away**2).sum(axis=0), cross)


def name_outputs(
    task: Task, classes: Sequence[str] | None, targets: Sequence[str] | None, labels: Any, outputs: int | None
) -> Outputs:
    """Settle what the outputs mean.

    Args:
        task: The task.
        classes: Names of the classes, or None.
        targets: Names of the targets, or None.
        labels: Labels of the source data, or None.
        outputs: Outputs of the head that is kept, or None if none is.

    Raises:
        InputError: If the names do not fit the task or the head.
        LabelError: If a name is no name.
    """
    if task == "classification":
        if targets is not None:
            raise InputError("expected no targets for classification, found some. Pass classes, or task='regression'.")
        return ClassOutputs(name_classes(classes, labels, outputs))
    if task != "regression":
        raise InputError(f"expected task 'classification' or 'regression', found {task!r}.")
    if classes is not None:
        raise InputError("expected no classes for regression, found some. Pass targets.")
    wide = None if labels is None else (1 if np.ndim(labels) < 2 else np.shape(labels)[1])
    count = outputs if outputs is not None else wide
    names = None if targets is None else tuple(check_name(name) for name in targets)
    if names is None:
        names = ("value",) if count == 1 else tuple(f"value {i}" for i in range(count or 0))
    if len(set(names)) != len(names) or not 1 <= len(names) <= MAX_TARGETS or count not in (None, len(names)):
        raise InputError(
            f"expected {count or 'at least 1'} different names of targets, one per output or column of the labels, "
            f"found {list(names)[:20]}. Pass targets=[...]."
        )
    return TargetOutputs(names)
