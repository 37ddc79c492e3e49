"""One task of training: which samples, which classes, and the rows of the head that each fold begins with."""

from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ...bundle import LinearLayer
from ..adaptation.folds import can_judge
from ..adaptation.trial import Candidate
from ..head import ABSENT
from .courses import courses
from .fit import BATCH, Lesson, Parameters, balanced, fit_tail
from .forward import Forward
from .graphs import Float32
from .ground import Ground
from .held_out import FOLDS, HeldOut, hold_out, merged_folds, run_rows
from .range_test import STEPS, learning_rate
from .rows import rows_of, shipped_rows, warm_rows, with_rows
from .stepper import Stepper

Progress = Callable[[int, int], None]
# How far logits of the shipped tail may be from those that the last tap gives, of their spread, where it is what the
# head takes in: codes of maps and latents are rounded.
_ALIKE = 0.1


class Task:
    """The samples and classes of one training, by place.

    Args:
        ground: The samples.
        candidate: The best head on them.

    Raises:
        BackendError: If the tail's models do not run.
    """

    def __init__(self, ground: Ground, candidate: Candidate) -> None:
        self.ground, self.candidate = ground, candidate
        samples, self.ids = ground.samples, candidate.head.classes
        trained = np.isin(samples.ids, candidate.head.judged)
        # Samples of frozen classes are judged on, not trained on.
        self.rows, self.frozen = np.flatnonzero(trained), np.flatnonzero(~trained)
        self.places = np.searchsorted(self.ids, samples.classes)
        self.y = self.places[self.rows]
        self.present, self.own = np.unique(self.y, return_inverse=True)
        self.head = np.searchsorted(self.ids, candidate.head.predicted)
        self.head[candidate.head.predicted < 0] = -1
        self.shipped, self.fisher = shipped_rows(ground.content, ground.became, self.ids)
        self.fold = merged_folds(candidate.selection.fold)
        self.fold[~can_judge(self.y, self.fold, self.shipped.bias > ABSENT)] = -1
        self.weight = balanced(self.y, len(self.ids), ground.weights(self.rows))
        self.forward = Forward(ground.content, ground.threads)
        self.stepper = Stepper(ground.content, len(self.present), BATCH, ground.threads)
        self.warm = self._is_warm()
        self.layer = self.shipped

    def hold_out(self, progress: Progress | None) -> HeldOut:
        """Find how to train, and predict every sample without it."""
        everything = self.lesson(np.arange(len(self.rows)))
        begun = perf_counter()
        rate = learning_rate(self.stepper, everything)
        each = (perf_counter() - begun) / STEPS
        whole = len(self.present) == len(self.ids)
        tried = courses(rate, each, everything.steps, FOLDS, self.ground.deadline, everything=whole)
        self.total = len(tried) * FOLDS * tried[0].rounds + tried[0].rounds
        self.told = self._tell(progress)
        return hold_out(
            self.stepper,
            self.lesson,
            self.logits,
            self.y,
            self.fold,
            self.weight.astype(np.float64),
            tried,
            self.told,
        )

    def train(self, found: HeldOut) -> dict[str, Float32]:
        """Train on all samples as was found best; the temperature is part of the last layer."""
        course, done = found.course, self.total - found.course.rounds

        def after(rounds: int, _: Parameters) -> bool:
            self.told(done + rounds)
            return True

        everything = self.lesson(np.arange(len(self.rows)))
        whole = self.whole(fit_tail(self.stepper, everything, course, found.rounds, after))
        self.told(self.total)
        scale = np.float32(1 / found.temperature)
        return {n: values * scale if n in self.ground.content.spec.head else values for n, values in whole.items()}

    def lesson(self, rows: NDArray[np.int64]) -> Lesson:
        """Return the lesson of some of the samples that are trained on."""
        ground, content, own = self.ground, self.ground.content, self.own[rows]
        self.layer = self._first_rows(rows)
        layer = LinearLayer(self.layer.weight[self.present], self.layer.bias[self.present])
        fisher = {n: v[self.present] if n in content.spec.head else v for n, v in self.fisher.items()}
        start = with_rows(content, content.parameters, layer)
        return Lesson(
            ground.maps, self.rows[rows], own, self.weight[rows], start, fisher or None, ground.seed, ground.deadline
        )

    def whole(self, parameters: Parameters) -> dict[str, Float32]:
        """Return parameters with a row for every class: those without samples keep what the last lesson began with.

        They are not trained against: a loss over all classes would only push what has no samples down.
        """
        trained = rows_of(self.ground.content, parameters)
        weight, bias = self.layer.weight.copy(), self.layer.bias.copy()
        weight[self.present], bias[self.present] = trained.weight, trained.bias
        return with_rows(self.ground.content, parameters, LinearLayer(weight, bias))

    def logits(self, parameters: Parameters, rows: NDArray[np.int64]) -> Float32:
        """Run a tail on some of the samples that are trained on, for all classes."""
        return run_rows(self.forward, self.ground.maps, self.whole(parameters), self.rows[rows])

    def _first_rows(self, rows: NDArray[np.int64]) -> LinearLayer:
        """Return the rows of all classes that a lesson begins with."""
        if not self.warm:
            return self.shipped
        ground, own = self.ground, self.rows[rows]
        x, y, weight = ground.inputs(own), self.y[rows], ground.weights(own)
        if ground.replay is not None:
            drawn = ground.replay
            x, y = np.concatenate([x, drawn.x]), np.concatenate([y, np.searchsorted(self.ids, drawn.ids)])
            weight = None if weight is None else np.concatenate([weight, np.ones(len(drawn.ids))])
        shown, y = np.unique(y, return_inverse=True)
        # What no sample shows keeps its row: a frozen class too.
        layer = LinearLayer(self.shipped.weight[shown], self.shipped.bias[shown])
        fitted = warm_rows(x, y, len(shown), layer, weight)
        found, offset = self.shipped.weight.copy(), self.shipped.bias.copy()
        found[shown], offset[shown] = fitted.weight, fitted.bias
        return LinearLayer(found, offset)

    def _is_warm(self) -> bool:
        """Return whether the last tap of the latents is what the tail's head takes in: by what the shipped one says."""
        ground, shipped = self.ground, rows_of(self.ground.content, self.ground.content.parameters)
        last, rows = ground.last, self.rows[: 4 * BATCH]
        if last is None or ground.content.spec.bias is None or shipped.weight.shape[1] != last.width:
            return False
        if not len(shipped.bias):
            return True
        found = run_rows(self.forward, ground.maps, ground.content.parameters, rows)
        expected = ground.inputs(rows) @ shipped.weight.T + shipped.bias
        apart = np.sqrt(np.mean((found - expected) ** 2)) / (found.std() + 1e-12)
        return bool(apart < _ALIKE)

    def _tell(self, progress: Progress | None) -> Callable[[int], None]:
        total = self.total
        return lambda done: None if progress is None else progress(min(done, total), total)
