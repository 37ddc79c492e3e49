"""`Learner.shift`: stored samples against the source, or against other stored samples."""

from collections.abc import Sequence

import numpy as np

from ...errors import InputError, NotEnoughSamplesError
from ..adaptation.groups import sample_groups
from ..checks import check_ids
from ..head import Ids
from ..session import Session
from ..store.samples import StoredSamples
from ..transfer.shift_test import shift_test
from .run import LEAST_SAMPLES, LEAST_UNITS, look_at
from .shift import ShiftTest

_TOO_FEW = (
    "expected at least {} samples in {} pieces of evidence {}, found {} in {}: near-duplicates and samples of one tag "
    "count once. Observe more, on several occasions."
)


def shift(
    session: Session,
    ids: Sequence[int] | Ids | None,
    reference: Sequence[int] | Ids | None,
    level: float,
    seed: int,
) -> ShiftTest:
    """Test for a shift. See `Learner.shift`."""
    if isinstance(level, bool) or not isinstance(level, float | int) or not 0 < level < 1:
        raise InputError(f"expected a level above 0 and below 1, found {level!r:.40}. The default is 0.05.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"expected a seed of 0 or more, found {seed!r:.40}.")
    if reference is None:
        return look_at(session, ids, level=level, seed=seed).shift
    store = session.store
    with store.reading():
        before = sorted(set(check_ids(reference)))
        after = np.setdiff1d(store.ids(), before).tolist() if ids is None else sorted(set(check_ids(ids)))
        if both := set(before) & set(after):
            raise InputError(f"expected other samples than those referred to, found {sorted(both)[:5]} in both.")
        sides = store.samples(before), store.samples(after)
    groups = tuple(_units(side, name) for side, name in zip(sides, ("to refer to", "to test"), strict=True))
    first, second = (side.codes.astype(np.float64) for side in sides)
    # Taps of different scale weigh alike; the scale is that of both together, so that it says nothing of the sides.
    spread = np.maximum(np.concatenate([first, second]).std(axis=0), 1.0)
    found = shift_test(first / spread, second / spread, level=level, groups=(groups[0], groups[1]), seed=seed)
    return ShiftTest(
        found.shifted,
        found.p_value,
        found.statistic,
        len(second),
        int(groups[1].max()) + 1,
        reference="samples",
        level=level,
    )


def _units(samples: StoredSamples, name: str) -> Ids:
    found = sample_groups(samples.codes, np.zeros(len(samples.ids), np.int64), samples.tags)
    units = int(found.max(initial=-1)) + 1
    if len(found) < LEAST_SAMPLES or units < LEAST_UNITS:
        raise NotEnoughSamplesError(_TOO_FEW.format(LEAST_SAMPLES, LEAST_UNITS, name, len(found), units))
    return found
