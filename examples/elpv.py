"""Photos of solar cells (ELPV): the task, the splits and how their numbers are compared.

2624 electroluminescence photos, 300 x 300, of 1074 monocrystalline and 1550 polycrystalline cells, each with the
probability that it is defective (Buerhop-Lutz et al. 2018; Deitsch et al. 2019). The photos are CC BY-NC-SA 4.0: this
project ships none of them and reads the package that does, without importing it:

    pip install --no-deps elpv-dataset==1.0.0.post1

The expert said whether a cell is defective and whether they were sure. Sure verdicts are 0 and 1; unsure ones are 1/3
for "functional" and 2/3 for "defective". A threshold of 1/2 is therefore the expert's verdict, and that is the task
here: 29 % of the poly cells and 34 % of the mono cells are defective. Deitsch et al. call every probability above 0
defective and weight the unsure ones down, so their figures are not comparable.

Photos of one module stand side by side in the package, and which module it was is not recorded: a random split shares
modules between its parts, for everything compared alike.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PACKAGE = "elpv-dataset==1.0.0.post1"
LICENCE = "CC BY-NC-SA 4.0"
CLASSES = ("functional", "defective")
DEFECTIVE_ABOVE = 0.5
BUDGETS = (20, 50, 200, 750)
SEEDS = (0, 1, 2, 3, 4)
DEVELOPMENT_SHARE = 0.3
DEVELOPMENT_SEED = 20_18

Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """All photos in the order of the package.

    Attributes:
        frames: (2624, 300, 300) uint8 grayscale.
        probability: (2624,) float64 in [0, 1], that the cell is defective.
        poly: (2624,) bool, polycrystalline (the target) or monocrystalline (the source).
    """

    frames: NDArray[np.uint8]
    probability: NDArray[np.float64]
    poly: Bools

    @property
    def defective(self) -> Bools:
        """(2624,) bool: the expert's verdict, sure or not."""
        return self.probability > DEFECTIVE_ABOVE

    @property
    def development(self) -> Bools:
        """(2624,) bool: the poly cells on which methods may be developed; no split ever contains one."""
        poly = np.flatnonzero(self.poly)
        chosen = np.random.default_rng(DEVELOPMENT_SEED).permutation(poly)[: round(DEVELOPMENT_SHARE * len(poly))]
        mask = np.zeros(len(self.poly), bool)
        mask[chosen] = True
        return mask


@dataclass(frozen=True)
class Split:
    """One seed: photos to adapt from, in the order in which they come, and photos to be scored on.

    Attributes:
        arrivals: (750,) indices of poly cells; a budget of n is the first n of them.
        test: (335,) indices of the other poly cells, the same for every budget and everything compared.
    """

    arrivals: Indices
    test: Indices


def load(progress: Callable[[int, int], None] | None = None) -> Cells:
    """Read every photo.

    Args:
        progress: Called with the photos read and their total.

    Raises:
        FileNotFoundError: The package is not installed; the message says how to install it and its licence.
    """
    spec = find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"expected the ELPV photos of solar cells (91 MB), found no package with them. They are licensed {LICENCE} "
            f"(not for commercial use), so they are not part of this project. "
            f"Install them with: pip install --no-deps {PACKAGE}"
        )
    folder = Path(spec.submodule_search_locations[0]) / "data"
    with (folder / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.reader(file, delimiter=" ", skipinitialspace=True) if row]
    frames = np.empty((len(rows), 300, 300), np.uint8)
    for index, row in enumerate(rows):
        with Image.open(folder / row[0]) as photo:
            frames[index] = np.asarray(photo)
        if progress:
            progress(index + 1, len(rows))
    return Cells(frames, np.array([float(row[1]) for row in rows]), np.array([row[2] == "poly" for row in rows]))


def split(cells: Cells, seed: int) -> Split:
    """Draw a split from the poly cells outside the development part.

    The draw is plain random: a budget has as many defective cells as happen to arrive.
    """
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(cells.poly & ~cells.development))
    return Split(arrivals=drawn[: BUDGETS[-1]], test=drawn[BUDGETS[-1] :])


@dataclass(frozen=True)
class Score:
    """How well defective cells are told from functional ones.

    Attributes:
        balanced_accuracy: Mean of the two classes' recalls, in [0, 1].
        auc: Area under the ROC curve, in [0, 1].
    """

    balanced_accuracy: float
    auc: float


def score(defective: Bools, predicted: Bools, confidence: NDArray[np.floating]) -> Score:
    """Score predictions.

    Args:
        defective: (n,) bool, the truth; both classes present.
        predicted: (n,) bool, cells called defective.
        confidence: (n,) float, higher where a cell is more likely to be defective.
    """
    recall = (np.mean(predicted[defective]) + np.mean(~predicted[~defective])) / 2
    bad, good = confidence[defective][:, None], confidence[~defective][None, :]
    auc = np.mean((bad > good) + 0.5 * (bad == good))
    return Score(float(recall), float(auc))


@dataclass(frozen=True)
class Gap:
    """Mean of paired differences and its 95 % interval; a single seed has none."""

    mean: float
    low: float | None
    high: float | None

    def not_worse(self, margin: float) -> bool:
        """Whether the whole interval lies above minus `margin`."""
        return self.low is not None and self.low > -margin


def gap(differences: NDArray[np.float64]) -> Gap:
    """Mean of paired differences and its 95 % interval by Student's t over the seeds.

    The seeds draw from one set of 1085 photos and so are not quite independent.

    Args:
        differences: (seeds,) float64, ours minus theirs on the same split, for 1 to 10 seeds.
    """
    seeds, mean = len(differences), float(np.mean(differences))
    if seeds == 1:
        return Gap(mean, None, None)
    quantile = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}[seeds]
    half = float(quantile * np.std(differences, ddof=1) / np.sqrt(seeds))
    return Gap(mean, mean - half, mean + half)
