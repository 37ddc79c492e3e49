"""A head in use: probabilities, what it says of samples it was fitted on, and how it is stored."""

import numpy as np
import pytest

from acclimate.bundle import LinearLayer
from acclimate.edge.head import LinearHead
from acclimate.edge.heads import ABSENT
from acclimate.errors import StoreCorruptError
from acclimate.tensors import pack, unpack


def head(k: int = 3, d: int = 4) -> LinearHead:
    """Return a head of classes 0, 2, 4, ..., judged on samples 3 and 8."""
    rng = np.random.default_rng(0)
    layer = LinearLayer(rng.normal(size=(k, d)).astype(np.float32), rng.normal(size=k).astype(np.float32))
    return LinearHead(layer, np.arange(k) * 2, np.array([3, 8]), np.array([4, -1]))


def latents(n: int = 6, d: int = 4) -> np.ndarray:
    """Draw latents."""
    return np.random.default_rng(1).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_probabilities_are_the_softmax_of_the_logits(scale: float) -> None:
    """Rows are finite, add up to 1 and follow the definition, for logits of any size."""
    x = latents() * np.float32(scale)
    made = head()
    logits = x.astype(np.float64) @ made.layer.weight.T.astype(np.float64) + made.layer.bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found = made.probabilities(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found, powers / powers.sum(axis=1, keepdims=True), atol=1e-6 * max(1, scale))


def test_an_absent_class_has_probability_zero() -> None:
    """A class with bias `ABSENT` is neither predicted nor known."""
    made = head()
    bias = np.array([0, ABSENT, 0], np.float32)
    made = LinearHead(LinearLayer(np.zeros_like(made.layer.weight), bias), made.classes)
    np.testing.assert_array_equal(made.probabilities(latents())[0], np.array([0.5, 0, 0.5], np.float32))
    assert made.knows(np.array([0, 1, 2, 4, 6])).tolist() == [True, False, False, True, False]


@pytest.mark.parametrize("classes", [[0, 2, 4], [0, 4, 0]])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_one_latent_has_the_probabilities_that_it_has_among_others(classes: list[int], scale: float) -> None:
    """For one latent the softmax is worked out by other calls: merged classes and absent ones are as in a batch."""
    made, x = head(), latents(50) * np.float32(scale)
    bias = np.array([0.5, ABSENT, 0], np.float32)
    for layer in (made.layer, LinearLayer(made.layer.weight, bias)):
        made = LinearHead(layer, np.array(classes))
        found = np.array([made.probabilities_of_one(row) for row in x])
        assert found.dtype == np.float32
        assert found.shape == (50, len(set(classes)))
        np.testing.assert_allclose(found, made.probabilities(x), atol=1e-6 * max(1, scale))
        np.testing.assert_array_equal(found.argmax(axis=1), made.probabilities(x).argmax(axis=1))


def test_samples_it_was_fitted_on_are_predicted_as_if_they_were_new() -> None:
    """For those the stored held-out prediction stands, for all others what the head says now."""
    made, x = head(), latents(4)
    now = made.classes[made.logits(x).argmax(axis=1)]
    assert made.held_out(np.array([1, 3, 8, 9]), x).tolist() == [now[0], 4, -1, now[3]]
    assert LinearHead(made.layer, made.classes).held_out(np.array([1, 3, 8, 9]), x).tolist() == now.tolist()


def test_what_is_stored_is_what_is_read() -> None:
    """Writing and reading changes no bit."""
    made = head()
    read = LinearHead.from_bytes(made.to_bytes(), 4, "version 1")
    assert read.to_bytes() == made.to_bytes()
    assert read.layer.weight.tobytes() == made.layer.weight.tobytes()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight", np.zeros((3, 5), np.float32)),
        ("weight", np.full((3, 4), np.nan, np.float32)),
        ("weight", np.zeros((2, 4), np.float32)),
        ("bias", np.zeros(3, np.float64)),
        ("bias", np.zeros(2, np.float32)),
        ("classes", np.zeros(2, np.int64)),
        ("judged", np.zeros(1, np.int64)),
    ],
)
def test_parts_that_do_not_fit_are_refused(name: str, value: np.ndarray) -> None:
    """A width, type, length or number that cannot be is found when the head is read."""
    row = ("i8", (-1,))
    spec = {"weight": ("f4", (-1, 4)), "bias": ("f4", (-1,)), "classes": row, "judged": row, "predicted": row}
    arrays = unpack(head().to_bytes(), "head", spec)
    with pytest.raises(StoreCorruptError, match=r"version 1: expected .*, found .*Restore the store from a copy"):
        LinearHead.from_bytes(pack({**arrays, name: value}), 4, "version 1")


@pytest.mark.parametrize("content", [b"", b"nonsense", head().to_bytes()[:-1]])
def test_damaged_bytes_are_refused(content: bytes) -> None:
    """What is no head at all gets the store's error, not the bundle's."""
    with pytest.raises(StoreCorruptError, match=r"version 1: expected .*, found .*Restore the store from a copy"):
        LinearHead.from_bytes(content, 4, "version 1")


def test_no_class_at_all_is_refused() -> None:
    """A head without rows cannot predict, and is not read."""
    empty = LinearHead(LinearLayer(np.zeros((0, 4), np.float32), np.zeros(0, np.float32)), np.zeros(0, np.int64))
    with pytest.raises(StoreCorruptError, match="expected as many rows as classes"):
        LinearHead.from_bytes(empty.to_bytes(), 4, "version 1")
