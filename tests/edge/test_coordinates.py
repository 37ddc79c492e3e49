"""Coordinates: an affine map with an orthonormal basis that loses nothing of what a head can depend on."""

import numpy as np
import pytest

from acclimate.bundle import LinearLayer
from acclimate.edge.adaptation.coordinates import LEAST_SPREAD, WIDEST_ROTATION, Coordinates, fit_coordinates
from acclimate.edge.heads import ABSENT, Weights
from acclimate.edge.statistics import SourceStatistics, Statistics
from acclimate.latent import LatentCode

D = 60


def codes_of(n: int, d: int = D, seed: int = 0) -> np.ndarray:
    """Draw correlated codes."""
    rng = np.random.default_rng((seed, n, d))
    values = 128 + rng.normal(size=(n, 8)) @ rng.normal(size=(8, d)) * 10 + rng.normal(size=(n, d)) * 5
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def code_of(d: int = D) -> LatentCode:
    """Return a quantization with a scale of its own per dimension."""
    rng = np.random.default_rng(1)
    return LatentCode(rng.uniform(0.001, 0.1, d).astype(np.float32), rng.normal(size=d).astype(np.float32))


def prior_of(k: int = 3, d: int = D, size: float = 1.0) -> LinearLayer:
    """Return a head on latents."""
    rng = np.random.default_rng(2)
    return LinearLayer((rng.normal(size=(k, d)) * size).astype(np.float32), rng.normal(size=k).astype(np.float32))


def low_rank(n: int, d: int = D, rank: int = 5) -> SourceStatistics:
    """Return source statistics in their low-rank form."""
    return SourceStatistics.compress(Statistics.of(codes_of(n, d, seed=5), np.arange(n) % 3, 3), rank)


CASES = {
    "samples": (codes_of(20), None, None),
    "duplicates": (np.repeat(codes_of(6), 4, axis=0), None, None),
    "samples and prior": (codes_of(20), None, prior_of()),
    "samples and source": (codes_of(20), low_rank(200), None),
    "all": (codes_of(20), low_rank(200), prior_of()),
    "a prior of tiny weights": (codes_of(20), low_rank(20_000), prior_of(size=1e-5)),
    "a prior of huge weights": (codes_of(20), low_rank(200), prior_of(size=1e5)),
}


@pytest.mark.parametrize("case", CASES)
def test_basis_is_orthonormal_and_holds_what_is_known(case: str) -> None:
    """Samples, means, factor and prior lie in the span of the basis, whose columns are orthonormal."""
    codes, source, prior = CASES[case]
    found = fit_coordinates(codes, source, prior, code_of())
    assert found.basis is not None
    assert found.width < D
    np.testing.assert_allclose(found.basis.matrix.T @ found.basis.matrix, np.eye(found.width), atol=1e-8)
    rows = [found.standardise(codes)]
    if source is not None:
        assert source.factor is not None
        rows += [found.standardise(source.mean()), source.factor / found.spread]
    if prior is not None:
        rows.append(prior.weight * code_of().scale * found.spread)
    for row in np.vstack(rows):
        np.testing.assert_allclose(
            found.basis.out(found.basis.into(row[None]))[0], row, atol=1e-6 * float(np.linalg.norm(row))
        )


def test_a_source_of_millions_does_not_hide_a_small_prior() -> None:
    """The basis keeps a prior of small weights beside a factor of 300 million samples."""
    rng, d = np.random.default_rng(0), 300
    count, factor = np.full(3, 1e8), (rng.normal(size=(20, d)) * 1e5).astype(np.float32)
    source = SourceStatistics(count, count[:, None] * rng.uniform(60, 200, (3, d)), None, factor, np.full(d, 1e10))
    prior, code = prior_of(3, d, size=1e-4), LatentCode(np.full(d, 0.01, np.float32), np.zeros(d, np.float32))
    found = fit_coordinates(codes_of(20, d), source, prior, code)
    assert found.basis is not None
    np.testing.assert_allclose(found.basis.matrix.T @ found.basis.matrix, np.eye(found.width), atol=1e-7)
    rows = prior.weight * code.scale * found.spread
    np.testing.assert_allclose(found.basis.out(found.basis.into(rows)), rows, atol=1e-6 * np.abs(rows).max())


@pytest.mark.parametrize(
    ("codes", "source", "prior"),
    [
        (codes_of(D), None, None),
        (codes_of(D - 2), None, prior_of()),
        (codes_of(20), SourceStatistics.compress(Statistics.of(codes_of(50), np.arange(50) % 3, 3)), None),
    ],
    ids=["samples span everything", "samples and prior span everything", "whole second moment"],
)
def test_the_space_is_only_turned_where_no_basis_is_narrower(
    codes: np.ndarray, source: SourceStatistics | None, prior: LinearLayer | None
) -> None:
    """Where the known spans everything, or a whole moment is given, coordinates are turned to principal axes."""
    found = fit_coordinates(codes, source, prior, code_of())
    assert found.basis is not None
    assert found.width == D
    np.testing.assert_allclose(found.basis.matrix @ found.basis.matrix.T, np.eye(D), atol=1e-8)
    total = found.of(codes).T @ found.of(codes)
    if source is not None:
        term = found.source(source, np.arange(3), 3)
        total += term.scatter + (term.mean * term.count[:, None]).T @ term.mean
    np.testing.assert_allclose(total, np.diag(np.diagonal(total)), atol=1e-8 * np.abs(total).max())


def test_a_very_wide_space_is_left_as_it_is() -> None:
    """Above the width where turning costs more than it saves there is no basis."""
    wide = WIDEST_ROTATION + 1
    codes = np.random.default_rng(0).integers(0, 256, (wide, wide), np.uint8)
    code = LatentCode(np.ones(wide, np.float32), np.zeros(wide, np.float32))
    assert fit_coordinates(codes, None, None, code).basis is None


def test_samples_are_centred_with_unit_variance() -> None:
    """Without a source every dimension has mean 0 and variance 1; one that does not move keeps its scale."""
    codes = codes_of(100)
    codes[:, 7] = 42
    found = fit_coordinates(codes, None, None, code_of())
    x = found.standardise(codes)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.delete(x.var(axis=0), 7), 1, rtol=1e-12)
    assert found.spread[7] == LEAST_SPREAD
    assert not x[:, 7].any()


@pytest.mark.parametrize(("n", "share"), [(10, 50), (80, 80)])
def test_the_source_counts_as_much_as_the_samples(n: int, share: int) -> None:
    """A large source weighs in the spread like as many samples as there are, or like 50."""
    codes, source = codes_of(n), low_rank(2_000)
    found = fit_coordinates(codes, source, None, code_of())
    expected = (n * codes.var(axis=0) + share * source.variance()) / (n + share)
    np.testing.assert_allclose(found.spread, np.sqrt(expected), rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_layer_and_weights_are_inverse(case: str) -> None:
    """A head in coordinates written as one on latents, and read back, is the same head."""
    codes, source, prior = CASES[case]
    found, rng = fit_coordinates(codes, source, prior, code_of()), np.random.default_rng(3)
    weights = Weights(rng.normal(size=(4, found.width)), rng.normal(size=4))
    back = found.weights(found.layer(weights, code_of()), code_of())
    np.testing.assert_allclose(back.weight, weights.weight, atol=1e-5)
    np.testing.assert_allclose(back.bias, weights.bias, atol=1e-3)


def test_the_prior_survives_the_basis() -> None:
    """A shipped head taken into the coordinates and back is the same head: the basis holds its rows."""
    prior = prior_of()
    found = fit_coordinates(codes_of(20), None, prior, code_of())
    assert found.basis is not None
    back = found.layer(found.weights(prior, code_of()), code_of())
    np.testing.assert_allclose(back.weight, prior.weight, atol=1e-5)
    np.testing.assert_allclose(back.bias, prior.bias, atol=1e-3)


@pytest.mark.parametrize("n", [20, 200])
def test_logits_on_latents_are_logits_in_coordinates(n: int) -> None:
    """A head gives a sample the same logits, from its latent and from its coordinates."""
    codes, rng = codes_of(n), np.random.default_rng(4)
    found = fit_coordinates(codes, None, None, code_of())
    weights = Weights(rng.normal(size=(3, found.width)), rng.normal(size=3))
    layer, latents = found.layer(weights, code_of()), code_of().decode(codes)
    expected = weights.logits(found.of(codes))
    np.testing.assert_allclose(latents @ layer.weight.T + layer.bias, expected, atol=1e-3 * np.abs(expected).max())


def test_an_absent_class_stays_absent() -> None:
    """The bias of a class that cannot be predicted is passed on as it is."""
    found = fit_coordinates(codes_of(20), None, None, code_of())
    layer = found.layer(Weights(np.full((2, found.width), 1e4), np.array([0.0, ABSENT])), code_of())
    assert layer.bias[1] == ABSENT
    assert layer.bias[0] != ABSENT


@pytest.mark.parametrize("n", [30, 200])
def test_the_source_in_coordinates_is_that_of_its_samples(n: int) -> None:
    """Means and scatter expressed in coordinates equal those of the source's samples taken there one by one."""
    source, y = codes_of(n, seed=5), np.arange(n) % 3
    for rank in (None, D):
        shipped = SourceStatistics.compress(Statistics.of(source, y, 3), rank)
        narrow = fit_coordinates(codes_of(8), None, None, code_of())
        for found in (narrow, Coordinates(narrow.centre, narrow.spread, None)):
            term = found.source(shipped, np.array([0, 1, 3]), 4)
            x = found.of(source)
            means = np.stack([x[y == c].mean(axis=0) for c in range(3)])
            assert term.count.tolist() == [*np.bincount(y)[:2], 0, np.bincount(y)[2]]
            np.testing.assert_allclose(term.mean[[0, 1, 3]], means, atol=1e-9)
            assert not term.mean[2].any()
            scatter = (x - means[y]).T @ (x - means[y])
            np.testing.assert_allclose(term.scatter, scatter, atol=1e-5 * np.abs(scatter).max())
