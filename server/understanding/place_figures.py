"""What adapting gained at one place, as figures: what a report shows, and what is written as JSON."""

import math
from dataclasses import dataclass
from typing import Any

from ...edge.understanding.fairness import Fairness
from .efficiency import Saving, plain_saving, seconds_of
from .gains import Gains, known
from .transfer_curves import TransferCurves


@dataclass(frozen=True, eq=False)
class PlaceGains:
    """What adapting gained at one place.

    Args:
        gains: The head in use against the shipped one, on held-out samples.
        version: Number of the version in use.
        left_out: Held-out frames that the store holds, and so are none.
        curves: Accuracy against labels, with transfer and without; None where there were too few to tell.
        savings: What transfer saves at each number of labels.
        fairness: Before and after, where groups are known.
        seconds_per_label: What labelling a sample takes, as it was given; 0 where it was not.
        seconds_per_look: Measured wall time of one frame through the backbone.
        remarks: What a reader should know.
    """

    gains: Gains
    version: int
    left_out: int
    curves: TransferCurves | None
    savings: tuple[Saving, ...]
    fairness: tuple[Fairness, Fairness] | None
    seconds_per_label: float
    seconds_per_look: float
    remarks: tuple[str, ...]

    @property
    def headline(self) -> Saving:
        """What is saved with the fewest labels: what transfer is for. Where it ends, `in_vain` says."""
        return self.savings[0]

    @property
    def in_vain(self) -> int | None:
        """The labels from which on transfer saves none, by the medians; None where it does to the end."""
        found = None
        for one in reversed(self.savings):
            if one.typical > one.labels:
                break
            found = one.labels
        return found

    def seconds(self, saving: Saving) -> tuple[float, float]:
        """Return what labelling, looking and fitting take with transfer, and without for the same accuracy."""
        if self.curves is None:
            return math.nan, math.nan
        each = self.seconds_per_label + self.seconds_per_look
        return seconds_of(saving, self.curves.transferred, self.curves.scratch, each)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON; what is not known, or not reached, is None."""
        curves = None
        if self.curves is not None:
            named = {"with": self.curves.transferred, "guarded": self.curves.guarded, "without": self.curves.scratch}
            curves = {
                "shipped": self.curves.shipped,
                **{
                    name: {"labels": c.labels, "accuracy": c.accuracy, "seconds": c.seconds}
                    for name, c in named.items()
                },
            }
        saved = [plain_saving(one, ("accuracy", one.accuracy), self.seconds(one)) for one in self.savings]
        fairness = None
        if self.fairness is not None:
            fairness = dict(zip(("before", "after"), map(_plain, self.fairness), strict=True))
        plain: dict[str, Any] = known(
            {
                "version": self.version,
                "left_out": self.left_out,
                **self.gains.to_dict(),
                "curves": curves,
                "savings": saved,
                "fairness": fairness,
                "remarks": list(self.remarks),
            }
        )
        return plain


def _plain(found: Fairness) -> dict[str, Any]:
    def gap(one: Any) -> dict[str, Any]:
        names = ("difference", "ratio", "chance", "unknown")
        return {name: getattr(one, name) for name in names}

    def rates(shares: Any) -> list[dict[str, Any]]:
        return [{"value": one.value, "interval": one.interval, "samples": one.samples} for one in shares]

    return {
        "groups": found.groups,
        "accuracy": rates(found.accuracy),
        "accuracy_gap": gap(found.accuracy_gap),
        "classes": [
            {
                "class": part.label,
                "selection": rates(part.selection),
                "recall": rates(part.recall),
                "false_positive": rates(part.false_positive),
                **{
                    name: gap(getattr(part, name))
                    for name in ("demographic_parity", "equal_opportunity", "equalized_odds")
                },
            }
            for part in found.classes
        ],
    }
