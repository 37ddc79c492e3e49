"""Fisher information of a shipped head: the closed form, and the way into the coordinates of a problem."""

from dataclasses import replace

import numpy as np
import pytest

from acclimate.bundle import LinearLayer
from acclimate.edge.adaptation import fisher as module
from acclimate.edge.adaptation.coordinates import Coordinates, fit_coordinates
from acclimate.edge.adaptation.fisher import Fisher
from acclimate.edge.heads import ABSENT
from acclimate.edge.statistics import SourceStatistics, Statistics
from acclimate.latent import LatentCode

K, D = 3, 6
PLACES = np.arange(K)


def head(seed: int = 0, d: int = D, k: int = K) -> LinearLayer:
    """Draw a head that is sure of some samples and not of others."""
    rng = np.random.default_rng(seed)
    return LinearLayer(rng.normal(size=(k, d)).astype(np.float32), rng.normal(size=k).astype(np.float32))


def source(n: int = 200, d: int = D, seed: int = 1) -> tuple[np.ndarray, np.ndarray, LatentCode]:
    """Draw correlated codes with their classes, and their quantization."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(d) + rng.normal(size=(d, d)) / np.sqrt(d)
    codes = np.clip(120 + 25 * rng.normal(size=(n, d)) @ mixing, 0, 255).astype(np.uint8)
    code = LatentCode(rng.uniform(0.01, 0.05, d).astype(np.float32), rng.normal(size=d).astype(np.float32) - 3)
    return codes, np.arange(n) % K, code


def computed(codes: np.ndarray, layer: LinearLayer, code: LatentCode) -> Fisher:
    """Compute the information about the mean of the codes."""
    return Fisher.of(codes, codes.mean(axis=0), layer, code)


def test_it_is_the_mean_squared_gradient_of_single_samples() -> None:
    """With autograd, sample by sample, each possible class counted with its probability."""
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    codes, _, code = source(12)
    layer = head()
    weight = torch.tensor(layer.weight * code.scale, dtype=torch.float64, requires_grad=True)
    shift = layer.weight.astype(np.float64) @ (code.offset + code.scale * codes.mean(axis=0)) + layer.bias
    bias = torch.tensor(shift, requires_grad=True)
    expected = np.zeros((K, D + 1))
    for row in torch.tensor(codes - codes.mean(axis=0)):
        shares = torch.log_softmax(weight @ row + bias, 0)
        for label in range(K):
            parts = torch.autograd.grad(-shares[label], (weight, bias), retain_graph=True)
            squares = np.hstack([parts[0].numpy() ** 2, parts[1].numpy()[:, None] ** 2])
            expected += float(shares[label].detach().exp()) * squares / len(codes)
    np.testing.assert_allclose(computed(codes, layer, code).diagonal, expected, rtol=1e-4)


def test_it_is_the_diagonal_of_the_hessian() -> None:
    """Central differences of the mean cross-entropy of weights on centred codes, whatever the labels are."""
    codes, y, code = source(40)
    layer, centre, step = head(), codes.mean(axis=0), 1e-3
    weight = layer.weight.astype(np.float64) * code.scale
    bias = layer.bias + layer.weight.astype(np.float64) @ (code.offset + code.scale * centre)
    found = computed(codes, layer, code).diagonal

    def loss(theta: np.ndarray) -> float:
        logits = (codes - centre) @ theta[:, :-1].T + theta[:, -1]
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(40), y]))

    theta = np.hstack([weight, bias[:, None]])
    for index in np.ndindex(theta.shape):
        away = np.zeros_like(theta)
        away[index] = step
        bent = (loss(theta + away) - 2 * loss(theta) + loss(theta - away)) / step**2
        assert found[index] == pytest.approx(bent, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_the_batch_size_does_not_matter(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Samples are squared one by one, not their mean gradients."""
    codes, _, code = source()
    expected = computed(codes, head(), code).diagonal
    monkeypatch.setattr(module, "_BLOCK", block)
    np.testing.assert_allclose(computed(codes, head(), code).diagonal, expected, rtol=1e-5)


def test_a_class_that_the_head_does_not_have_has_none() -> None:
    """Its probability is 0."""
    codes, _, code = source()
    layer = head()
    layer = replace(layer, bias=np.array([0, ABSENT, 0], np.float32))
    found = computed(codes, layer, code).diagonal
    assert not found[1].any()
    assert (found[[0, 2]] > 0).all()


def test_it_is_read_with_the_mean_of_the_statistics() -> None:
    """From the arrays of a bundle; None where they hold none."""
    codes, y, code = source()
    made = computed(codes, head(), code)
    arrays = SourceStatistics.compress(Statistics.of(codes, y, K)).arrays()
    found = Fisher.from_arrays({**arrays, "fisher": made.diagonal})
    assert found is not None
    np.testing.assert_allclose(found.centre, made.centre)
    np.testing.assert_array_equal(found.diagonal, made.diagonal)
    assert Fisher.from_arrays(arrays) is None


def test_merged_classes_add_up_and_removed_ones_go() -> None:
    """In the order of the ids that they have become."""
    made = Fisher(np.zeros(2), np.arange(12, dtype=np.float32).reshape(4, 3))
    found = made.merged(np.array([5, -1, 2, 5]))
    np.testing.assert_array_equal(found.diagonal, [made.diagonal[2], made.diagonal[0] + made.diagonal[3]])


def exact(codes: np.ndarray, layer: LinearLayer, code: LatentCode, coordinates: Coordinates) -> np.ndarray:
    """Compute the diagonal directly in coordinates, from the samples there."""
    logits = code.decode(codes) @ layer.weight.T + layer.bias
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    spread = share * (1 - share)
    x = np.hstack([coordinates.of(codes), np.ones((len(codes), 1))])
    return np.asarray(spread.T @ x**2 / len(codes))


def into(coordinates: Coordinates, codes: np.ndarray, y: np.ndarray, made: Fisher) -> np.ndarray:
    """Express it in coordinates."""
    statistics = SourceStatistics.compress(Statistics.of(codes, y, K))
    return made.into(coordinates, statistics, coordinates.source(statistics, PLACES, K), PLACES, K)


def test_scaling_is_exact() -> None:
    """Around the source's own mean, in the units of the coordinates."""
    codes, y, code = source()
    layer = head()
    coordinates = Coordinates(codes.mean(axis=0), codes.std(axis=0), None)
    found = into(coordinates, codes, y, computed(codes, layer, code))
    np.testing.assert_allclose(found, exact(codes, layer, code, coordinates), rtol=1e-4)


@pytest.mark.parametrize("d", [D, 40])
def test_turned_axes_are_near_the_truth(d: int) -> None:
    """In the coordinates of local samples elsewhere; without regard to the source's moment it would be far off."""
    codes, y, code = source(400, d)
    layer = head(d=d)
    layer = replace(layer, weight=layer.weight * np.float32(0.2))
    local = np.clip(source(30, d, seed=1)[0].astype(int) + 8, 0, 255).astype(np.uint8)
    statistics = SourceStatistics.compress(Statistics.of(codes, y, K))
    coordinates = fit_coordinates(local, statistics, layer, code)
    assert coordinates.basis is not None
    found = into(coordinates, codes, y, computed(codes, layer, code))
    truth = exact(codes, layer, code, coordinates)
    kept = truth > 0.01 * truth.max()
    ratio = found[kept] / truth[kept]
    assert 0.5 < ratio.min() <= ratio.max() < 2
    np.testing.assert_allclose(found[:, -1], truth[:, -1], rtol=1e-4)


def test_other_classes_have_none() -> None:
    """Rows of classes that the device added are 0, the others where the problem has them."""
    codes, y, code = source()
    made = computed(codes, head(), code)
    statistics = SourceStatistics.compress(Statistics.of(codes, y, K))
    coordinates = Coordinates(codes.mean(axis=0), codes.std(axis=0), None)
    places = np.array([0, 2, 4])
    found = made.into(coordinates, statistics, coordinates.source(statistics, places, 5), places, 5)
    assert not found[[1, 3]].any()
    np.testing.assert_allclose(found[places], into(coordinates, codes, y, made))
