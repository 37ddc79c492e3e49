"""Feature augmentation: what its products are, and what a model of it learns."""

import numpy as np
import pytest

from acclimate.edge.transfer.augmentation import augment, augment_unlabelled, domain_layer
from acclimate.errors import InputError

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3))


@pytest.mark.parametrize("domains", [2, 4])
def test_kernel_is_twice_within_and_once_across(domains: int) -> None:
    """Products of augmented samples are 2K within each domain, K across, and K with a domain that is unknown."""
    for one in range(domains):
        for other in range(domains):
            products = augment(A, one, domains) @ augment(B, other, domains).T
            np.testing.assert_allclose(products, (2 if one == other else 1) * A @ B.T, rtol=1e-12)
        np.testing.assert_allclose(augment(A, one, domains) @ augment(B, None, domains).T, A @ B.T, rtol=1e-12)


def test_samples_without_labels_ask_for_agreement() -> None:
    """A linear model's answer on them is the difference of its answers in the two domains."""
    weight = RNG.normal(size=(2, 12))
    expected = A @ domain_layer(weight, 2, 3).T - A @ domain_layer(weight, 0, 3).T
    np.testing.assert_allclose(augment_unlabelled(A, 2, 0, 3) @ weight.T, expected, atol=1e-12)


def test_a_layer_folds_back_to_plain_features() -> None:
    """A layer on augmented features, folded for a domain, answers alike on plain ones."""
    weight = RNG.normal(size=(2, 9))
    for domain in (0, 1, None):
        np.testing.assert_allclose(A @ domain_layer(weight, domain).T, augment(A, domain) @ weight.T, atol=1e-12)


def test_ridge_regression_learns_what_is_shared_and_what_is_not() -> None:
    """Two domains that differ in one coefficient: with four target samples it beats either domain alone and both."""
    truth = RNG.normal(size=20)
    apart = truth.copy()
    apart[0] += 3

    def solve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.linalg.solve(x.T @ x + 0.1 * np.eye(x.shape[1]), x.T @ y)

    errors = np.zeros(3)
    for seed in range(10):
        draw = np.random.default_rng(seed)
        source, target = draw.normal(size=(200, 20)), draw.normal(size=(10, 20))
        y, z = source @ truth, target @ apart
        both = solve(np.concatenate([augment(source, 0), augment(target, 1)]), np.concatenate([y, z]))
        candidates = [
            domain_layer(both[None], 1)[0],
            solve(target, z),
            solve(np.concatenate([source, target]), np.concatenate([y, z])),
        ]
        errors += [np.linalg.norm(one - apart) for one in candidates]
    assert errors[0] < 0.9 * errors[1:].min()


def test_bad_input_is_refused() -> None:
    """A domain that is none, one twice, and layers of another width."""
    for bad in (-1, 2):
        with pytest.raises(InputError, match="a domain from 0 to 1"):
            augment(A, bad)
    for part in (0.5, 1.0):
        with pytest.raises(InputError, match=f"a domain from 0 to 1, found {part}"):
            augment(A, part)  # type: ignore[arg-type]  # on purpose
    for count in (0, 2.5):
        with pytest.raises(InputError, match="at least one domain"):
            augment(A, None, count)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InputError, match="found domain 1 twice"):
        augment_unlabelled(A, 1, 1)
    with pytest.raises(InputError, match="3 copies of the features"):
        domain_layer(np.zeros((2, 8)), 0)
    with pytest.raises(InputError, match="finite"):
        augment(np.full((1, 2), np.nan), 0)
