"""Statistics: exact to the bit, additive, forgetful; and the forms in which the source's travel."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from acclimate.edge.statistics import FULL_WIDTH, RANK, SourceStatistics, Statistics
from acclimate.errors import BundleFormatError, InputError
from acclimate.tensors import Arrays, pack

Sample = tuple[NDArray[np.uint8], NDArray[np.int64], int]


@st.composite
def labelled_codes(draw: st.DrawFn) -> Sample:
    """Draw codes, extremes among them, with classes of which some may have no sample."""
    n, d, k = draw(st.integers(0, 30)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    codes = rng.choice(np.array([0, 1, 127, 128, 129, 254, 255], np.uint8), (n, d))
    return codes, rng.integers(0, k, n), k


def same(a: Statistics, b: Statistics) -> bool:
    """Whether two statistics are equal bit for bit."""
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("count", "sum", "moment"))


def world(n: int = 400, d: int = 10, k: int = 3, seed: int = 0) -> Sample:
    """Draw correlated codes with class means of their own."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    values = 128 + rng.normal(size=(k, d))[y] * 20 + rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * 10
    return np.clip(np.rint(values), 0, 255).astype(np.uint8), y, k


@given(labelled_codes())
def test_sums_are_those_of_whole_numbers(sample: Sample) -> None:
    """Counts, sums and products equal those computed in 64-bit integers."""
    codes, y, k = sample
    found, whole = Statistics.of(codes, y, k), codes.astype(np.int64)
    assert found.count.tolist() == [int((y == c).sum()) for c in range(k)]
    assert found.sum.tolist() == [whole[y == c].sum(axis=0).tolist() for c in range(k)]
    assert found.moment.tolist() == (whole.T @ whole).tolist()


@pytest.mark.parametrize("code", [0, 255])
def test_extreme_codes_are_exact_over_many_rows(code: int) -> None:
    """Rows that fill what float32 holds exactly, more than one block of them, lose nothing."""
    n = 7_777
    found = Statistics.of(np.full((n, 4), code, np.uint8), np.zeros(n, np.int64), 1)
    assert (found.moment == n * code**2).all()
    assert (found.sum == n * code).all()


@given(labelled_codes(), st.integers(0, 2**32), st.integers(0, 30))
def test_neither_order_nor_blocks_leave_a_trace(sample: Sample, seed: int, cut: int) -> None:
    """Any order of the rows, and any split into two sets that are added, gives the same bits."""
    codes, y, k = sample
    order = np.random.default_rng(seed).permutation(len(y))
    parts = [Statistics.of(codes[rows], y[rows], k) for rows in (order[:cut], order[cut:])]
    assert same(parts[0] + parts[1], Statistics.of(codes, y, k))


@given(labelled_codes(), st.integers(0, 30))
def test_subtracting_samples_leaves_no_trace(sample: Sample, cut: int) -> None:
    """Statistics less those of some samples equal, bit for bit, statistics that never had them."""
    codes, y, k = sample
    forgotten = Statistics.of(codes[:cut], y[:cut], k)
    assert same(Statistics.of(codes, y, k) - forgotten, Statistics.of(codes[cut:], y[cut:], k))


@given(labelled_codes(), st.lists(st.tuples(st.booleans(), st.integers(0, 29)), max_size=12))
def test_any_history_of_changes_leaves_no_trace(sample: Sample, moves: list[tuple[bool, int]]) -> None:
    """After samples came and went in place, statistics equal, bit for bit, those of the samples that are left."""
    codes, y, k = sample
    found, left = Statistics.of(codes, y, k), list(range(len(y)))
    for comes, place in moves:
        if comes and len(y):
            row = place % len(y)
            found.include(codes[[row]], y[[row]])
            left.append(row)
        elif left:
            row = left.pop(place % len(left))
            found.exclude(codes[[row]], y[[row]])
    assert same(found, Statistics.of(codes[left], y[left], k))


@given(labelled_codes(), st.integers(0, 30))
def test_samples_left_out_leave_no_trace(sample: Sample, cut: int) -> None:
    """`without` equals, bit for bit, statistics that never had the samples, and leaves those it started from alone."""
    codes, y, k = sample
    whole = Statistics.of(codes, y, k)
    assert same(whole.without(codes[:cut], y[:cut]), Statistics.of(codes[cut:], y[cut:], k))
    assert same(whole, Statistics.of(codes, y, k))


def test_many_wide_rows_in_place_are_exact() -> None:
    """More rows than a block and more dimensions than a strip give the bits of the whole, in place too."""
    rng = np.random.default_rng(0)
    codes, y = rng.integers(0, 256, (2_500, 150)).astype(np.uint8), rng.integers(0, 3, 2_500)
    found = Statistics.empty(3, 150)
    found.include(codes, y)
    assert same(found, Statistics.of(codes, y, 3))
    found.exclude(codes[:2_400], y[:2_400])
    assert same(found, Statistics.of(codes[2_400:], y[2_400:], 3))


def test_samples_that_were_never_there_cannot_be_taken_out() -> None:
    """Taking out more of a class than it has is refused, and changes nothing."""
    codes, y, k = world(9)
    found = Statistics.of(codes, y, k)
    for rows, classes in ((codes[:4], np.zeros(4, np.int64)), (codes[:1], np.array([k]))):
        with pytest.raises(InputError, match=r"expected samples that were included, at most \[3, 3, 3\] .* found"):
            found.exclude(rows, classes)
    assert same(found, Statistics.of(codes, y, k))


def test_no_sample_is_the_zero_of_addition() -> None:
    """Adding the statistics of no samples changes nothing."""
    found = Statistics.of(*world())
    assert same(Statistics.empty(3, 10) + found, found)


def test_threads_leave_no_trace() -> None:
    """Processes with one and with two BLAS threads give the same bits."""
    code = (
        "import hashlib, numpy as np\n"
        "from acclimate.edge.statistics import Statistics\n"
        "r = np.random.default_rng(0)\n"
        "s = Statistics.of(r.integers(0, 256, (2500, 300)).astype('u1'), r.integers(0, 5, 2500), 5)\n"
        "print(hashlib.sha256(s.count.tobytes() + s.sum.tobytes() + s.moment.tobytes()).hexdigest())\n"
    )
    found = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


def test_within_is_the_scatter_that_numpy_finds() -> None:
    """The scatter within the classes equals the sum over classes of n times numpy's covariance."""
    codes, y, k = world()
    expected = sum(np.cov(codes[y == c], rowvar=False, bias=True) * (y == c).sum() for c in range(k))
    np.testing.assert_allclose(Statistics.of(codes, y, k).within(), expected, rtol=1e-10, atol=1e-6)


def test_low_rank_keeps_the_diagonal() -> None:
    """Of the low-rank form, factor and diagonal together have the scatter's own diagonal."""
    exact = Statistics.of(*world())
    shipped = SourceStatistics.compress(exact, rank=3)
    assert shipped.factor is not None
    assert shipped.factor.shape == (3, 10)
    np.testing.assert_allclose(shipped.within_diagonal(), np.diag(exact.within()), rtol=1e-12)


def test_full_rank_is_the_scatter() -> None:
    """With as many directions as dimensions, factor and diagonal give the scatter back, to float32."""
    exact = Statistics.of(*world())
    shipped = SourceStatistics.compress(exact, rank=10)
    assert shipped.factor is not None
    assert shipped.diagonal is not None
    factor = shipped.factor.astype(np.float64)
    expected = exact.within()
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose((factor.T @ factor + np.diag(shipped.diagonal)) / scale, expected / scale, atol=1e-6)


def test_more_directions_come_closer() -> None:
    """The error of the low-rank form falls with its rank."""
    exact, errors = Statistics.of(*world(d=20)), []
    for rank in (1, 5, 10, 19):
        shipped = SourceStatistics.compress(exact, rank)
        assert shipped.factor is not None
        assert shipped.diagonal is not None
        errors.append(np.linalg.norm(shipped.factor.T @ shipped.factor + np.diag(shipped.diagonal) - exact.within()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 2


@pytest.mark.parametrize(("width", "whole"), [(FULL_WIDTH, True), (FULL_WIDTH + 1, False)])
def test_the_form_follows_the_width(width: int, whole: bool) -> None:
    """Up to 512 dimensions the moment travels whole, above as 256 directions and the diagonal."""
    shipped = SourceStatistics.compress(Statistics.of(*world(n=600, d=width)))
    assert (shipped.moment is not None) == whole
    if not whole:
        assert shipped.factor is not None
        assert shipped.factor.shape == (RANK, width)


@pytest.mark.parametrize("rank", [None, 4])
def test_means_and_variances_are_numpys(rank: int | None) -> None:
    """Class means and the variance over all samples equal numpy's, in both forms."""
    codes, y, k = world()
    shipped = SourceStatistics.compress(Statistics.of(codes, y, k), rank)
    assert shipped.samples == len(y)
    np.testing.assert_allclose(shipped.mean(), [codes[y == c].mean(axis=0) for c in range(k)], rtol=1e-12)
    np.testing.assert_allclose(shipped.variance(), codes.var(axis=0), rtol=1e-9)


@pytest.mark.parametrize("rank", [None, 4])
def test_a_class_without_samples_has_mean_zero(rank: int | None) -> None:
    """A class that no sample has yields zeros, not NaN."""
    codes, y, k = world()
    shipped = SourceStatistics.compress(Statistics.of(codes, y, k + 1), rank)
    assert not shipped.mean()[k].any()
    assert np.isfinite(shipped.variance()).all()


@pytest.mark.parametrize("rank", [None, 4])
def test_what_is_stored_is_what_is_read(rank: int | None) -> None:
    """Writing and reading the arrays of a bundle changes no bit of any of them."""
    shipped = SourceStatistics.compress(Statistics.of(*world()), rank)
    read = SourceStatistics.from_arrays(shipped.arrays())
    assert pack(read.arrays()) == pack(shipped.arrays())
    for name in ("moment", "factor", "diagonal"):
        ours, theirs = getattr(shipped, name), getattr(read, name)
        assert (ours is None and theirs is None) or np.array_equal(ours, theirs)


@settings(max_examples=50)
@given(labelled_codes(), st.sampled_from([None, 1, 2]))
def test_true_statistics_are_never_refused(sample: Sample, rank: int | None) -> None:
    """Whatever codes there are, what `compress` gives is read back without complaint."""
    codes, y, k = sample
    SourceStatistics.from_arrays(SourceStatistics.compress(Statistics.of(codes, y, k), rank).arrays())


def hostile(rank: int | None, name: str, value: float) -> Arrays:
    """Return the arrays of a source in which one number is replaced."""
    true = SourceStatistics.compress(Statistics.of(*world()), rank).arrays()
    arrays = {key: array.copy() for key, array in true.items()}
    arrays[name].flat[0] = value
    return arrays


@pytest.mark.parametrize(
    ("rank", "name", "value", "complaint"),
    [
        (None, "count", -1.0, "counts from 0"),
        (None, "count", 1e300, "counts from 0"),
        (None, "count", 1.0, "sums of 8-bit codes"),
        (None, "sum", 1e9, "sums of 8-bit codes"),
        (None, "sum", -1.0, "sums of 8-bit codes"),
        (None, "moment", -1.0, "second moment of 8-bit codes"),
        (None, "moment", 1.0, "second moment of 8-bit codes"),
        (None, "moment", 1e300, "second moment of 8-bit codes"),
        (4, "diagonal", -1e-3, "scatter of 8-bit codes"),
        (4, "diagonal", 1e300, "scatter of 8-bit codes"),
        (4, "factor", 1e30, "scatter of 8-bit codes"),
    ],
)
def test_numbers_that_no_codes_give_are_refused(rank: int | None, name: str, value: float, complaint: str) -> None:
    """Counts, sums, moments and factors outside of what 8-bit codes can give never reach a head."""
    with pytest.raises(BundleFormatError, match=rf"expected .*{complaint}.* found others\. Get the bundle again"):
        SourceStatistics.from_arrays(hostile(rank, name, value))


def test_statistics_without_a_moment_cannot_be_written() -> None:
    """A source without any second moment is refused when it is written."""
    with pytest.raises(InputError, match=r"expected a second moment, .* found neither"):
        SourceStatistics(np.ones(1), np.ones((1, 2)), None, None, None).arrays()
