"""Looks for the layers that have to stay in float where corrected biases are not enough, and weighs their time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..parity import GOOD_COSINE
from .sensitivity import LayerCost, Quantized, fewest_in_float, layer_costs
from .trial import Judge, Trial
from .wish import Wish

Progress = Callable[[int, int], None]
# Rungs of "ladder". The first convolutions see few channels of very different ranges, so often most of the loss is
# theirs.
_RUNGS = (0, 3, 6)
# What layers in float may cost: a share of the time that 8 bits save, or of the time that they take, or less than the
# clock's own unrest. Each goes from 8 bits to float and back: a quarter of the layers can cost all that 8 bits save.
_OF_SAVED, _OF_TAKEN, _LEAST_SECONDS = 0.25, 0.1, 2e-4


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    Args:
        kept: Names of the layers that stay in float.
        trial: The model with them in float.
        costs: What each layer costs, where that was measured; those in float with a cost of nan where it was not.
        note: In words what corrected biases gained, and what closer latents would have cost in time.
    """

    kept: tuple[str, ...]
    trial: Trial
    costs: tuple[LayerCost, ...]
    note: str = ""


class Search:
    """Looks for the fewest layers in float that bring the latents close enough.

    Args:
        quantized: The model in float and in 8 bits.
        judge: Judges files.
        wish: What is asked.
        progress: Called with the number of steps done and of all.
    """

    def __init__(self, quantized: Quantized, judge: Judge, wish: Wish, progress: Progress) -> None:
        self._quantized, self._judge, self._wish, self._progress = quantized, judge, wish, progress
        self._costs: tuple[LayerCost, ...] = ()
        self._tried: list[tuple[tuple[str, ...], Trial]] = []
        self._enough: tuple[str, ...] | None = None
        self._uncorrected: dict[tuple[str, ...], float] = {}

    def run(self, settled: Sequence[int]) -> Found:
        """Return the model that serves best.

        Args:
            settled: Places of layers that another runtime's conversion kept in float: tried first.
        """
        asked = self._wish.float_convolutions
        names, convolutions = self._quantized.layers, self._quantized.convolutions
        if asked == "ladder":
            ladder = [tuple(convolutions[:rung]) for rung in _RUNGS if 4 * rung <= len(convolutions)]
            next((kept for kept in ladder if self._good(kept)), None)
        elif asked != "auto":
            self._good(tuple(convolutions[:asked]))
        else:
            elsewhere = tuple(names[i] for i in settled if i < len(names))
            enough = self._good(elsewhere)
            if self._wish.every_layer or not enough:
                self._costs = layer_costs(self._quantized, self._judge.quick_cosine, self._progress)
            if not enough:
                fewest_in_float(self._costs, self._good)
            if self._closest()[0]:
                return self._affordable()
        return self._found(*self._closest())

    def _good(self, kept: Sequence[str]) -> bool:
        trial, good = self._trial(self._quantized.content(kept))
        if not good and (content := self._quantized.corrected(trial.content)) is not None:
            other, good = self._trial(content)
            if good or other.parity.whole.cosine > trial.parity.whole.cosine:
                self._uncorrected[tuple(kept)] = trial.parity.whole.cosine
                trial = other
        self._tried.append((tuple(kept), trial))
        if good:
            self._enough = tuple(kept)
        return good

    def _trial(self, content: bytes) -> tuple[Trial, bool]:
        """Return a trial, and whether it is good enough."""
        trial = self._judge.trial(content)
        if trial.parity.whole.cosine < max(GOOD_COSINE, self._wish.least_cosine):
            return trial, False
        trial = self._judge.with_head(trial)
        return trial, trial.head is None or trial.head.within(self._wish.most_lost)

    def _closest(self) -> tuple[tuple[str, ...], Trial]:
        """Return what was good enough, or else the closest."""
        return max(self._tried, key=lambda one: (one[0] == self._enough, one[1].parity.whole.cosine))

    def _affordable(self) -> Found:
        """Return the closest that leaves most of what 8 bits save; where none such is as asked, the cheapest."""
        closest = self._closest()
        if all(kept for kept, _ in self._tried):
            self._good(())
        files = {kept: trial.content for kept, trial in self._tried}
        seconds = self._judge.seconds({None: self._judge.float_content, **files})
        whole = seconds[()]
        most = whole + max(_OF_SAVED * (seconds[None] - whole), _OF_TAKEN * whole, _LEAST_SECONDS)
        ranked = sorted(self._tried, key=lambda one: (one[0] != self._enough, -one[1].parity.whole.cosine))
        within = [one for one in ranked if seconds[one[0]] <= most]
        cheapest = sorted(self._tried, key=lambda one: seconds[one[0]])
        found = next(self._as_asked([*within, *cheapest]), closest)
        note = ""
        if found[0] != closest[0]:
            note = (
                f"{len(closest[0])} layers in float would bring the centred cosine from "
                f"{found[1].parity.whole.cosine:.4f} to {closest[1].parity.whole.cosine:.4f}, but take "
                f"{1e3 * seconds[closest[0]]:.2f} ms for one sample instead of {1e3 * seconds[found[0]]:.2f}."
            )
        return self._found(*found, note)

    def _as_asked(self, candidates: Sequence[tuple[tuple[str, ...], Trial]]) -> Iterator[tuple[tuple[str, ...], Trial]]:
        for kept, trial in candidates:
            if trial.parity.whole.cosine >= self._wish.least_cosine:
                judged = self._judge.with_head(trial)
                if judged.head is None or judged.head.within(self._wish.most_lost):
                    yield kept, judged

    def _found(self, kept: tuple[str, ...], trial: Trial, note: str = "") -> Found:
        unknown = float("nan")
        before = self._uncorrected.get(kept)
        if before is not None:
            after = trial.parity.whole.cosine
            told = f"Corrected biases bring the centred cosine from {before:.4f} to {after:.4f}."
            note = f"{told} {note}".rstrip()
        costs = self._costs or tuple(LayerCost(name, unknown) for name in self._quantized.layers if name in kept)
        return Found(kept, trial, costs, note)
