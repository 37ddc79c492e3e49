"""Zero-shot by class embeddings: against the closed form and its objective, and on planted worlds."""

import itertools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from acclimate.edge.transfer.class_embeddings import ClassEmbeddingMap
from acclimate.errors import InputError, LabelError, NotEnoughSamplesError

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
# Every mixture of two of five attributes is a class; some are never seen.
ATTRIBUTES = np.array([[float(i in pair) for i in range(5)] for pair in itertools.combinations(range(5), 2)])
SEEN, UNSEEN = np.array([0, 1, 4, 5, 7, 9]), np.array([2, 3, 6, 8])


def draw(classes: Int64, of_each: int, seed: int, noise: float = 0.3, width: int = 40) -> tuple[Float64, Int64]:
    """Return latents in which each attribute is a direction, orthogonal to the others, and their classes."""
    axes = np.linalg.qr(np.random.default_rng(99).normal(size=(width, 5)))[0]
    rng, y = np.random.default_rng(seed), np.repeat(classes, of_each)
    return 4 * ATTRIBUTES[y] @ axes.T + noise * rng.normal(size=(len(y), width)) + 7, y


def test_the_matrix_is_the_closed_form_and_the_minimum_of_its_objective() -> None:
    """By explicit inverses; and the objective rises in every direction that is tried, as finite differences see it."""
    x, y = draw(SEEN, 6, 0)
    found = ClassEmbeddingMap.fit(x, y, ATTRIBUTES, latent_penalty=0.5, embedding_penalty=2.0)
    centred, seen = x - x.mean(axis=0), ATTRIBUTES[SEEN] / np.sqrt(2)
    targets = 2.0 * (y[:, None] == SEEN) - 1
    g = 0.5 * (np.linalg.svd(centred, compute_uv=False) ** 2).mean()
    e = 2.0 * (np.linalg.svd(seen, compute_uv=False) ** 2).mean()
    left, right = np.linalg.inv(centred.T @ centred + g * np.eye(40)), np.linalg.inv(seen.T @ seen + e * np.eye(5))
    np.testing.assert_allclose(found.matrix, left @ centred.T @ targets @ seen @ right, atol=1e-10)

    def objective(w: Float64) -> float:
        parts = (centred @ w @ seen.T - targets, w @ seen.T, centred @ w, w)
        return float(sum(c * (part**2).sum() for c, part in zip((1, g, e, g * e), parts, strict=True)))

    least, rng = objective(found.matrix), np.random.default_rng(1)
    for _ in range(10):
        step = 1e-4 * rng.normal(size=found.matrix.shape)
        up, down = objective(found.matrix + step), objective(found.matrix - step)
        assert up > least < down
        assert abs(up - down) < 1e-6 * (up - least + down - least)


def test_orthogonal_attributes_tell_every_unseen_class() -> None:
    """100 % of four classes without a sample, for more samples than dimensions and for fewer; among all ten, too."""
    fresh, truth = draw(UNSEEN, 25, 1)
    for of_each in (3, 20):
        x, y = draw(SEEN, of_each, 0)
        found = ClassEmbeddingMap.fit(x, y, ATTRIBUTES)
        assert (UNSEEN[found.predict(fresh, ATTRIBUTES[UNSEEN])] == truth).all()
        assert (found.predict(fresh, ATTRIBUTES) == truth).mean() > 0.9


def test_permuted_attributes_give_chance() -> None:
    """Over all orders of the four unseen classes' attributes the mean is a quarter, and none of it where all moved.

    With attributes that were dealt to the seen classes at random, about chance over 40 deals: what is learnt is the
    relation of latents to attributes, and nothing else tells an unseen class.
    """
    x, y = draw(SEEN, 10, 0)
    fresh, truth = draw(UNSEEN, 25, 1)
    found = ClassEmbeddingMap.fit(x, y, ATTRIBUTES)
    orders = [np.array(order) for order in itertools.permutations(range(4))]
    scores = [(UNSEEN[found.predict(fresh, ATTRIBUTES[UNSEEN[order]])] == truth).mean() for order in orders]
    assert np.mean(scores) == pytest.approx(0.25)
    assert all(score == 0 for order, score in zip(orders, scores, strict=True) if (order != np.arange(4)).all())
    rng, dealt = np.random.default_rng(0), []
    for _ in range(40):
        attributes = ATTRIBUTES.copy()
        attributes[SEEN] = rng.permutation(ATTRIBUTES)[: len(SEEN)]
        blind = ClassEmbeddingMap.fit(x, y, attributes, latent_penalty=1.0, embedding_penalty=1.0)
        dealt.append((UNSEEN[blind.predict(fresh, ATTRIBUTES[UNSEEN])] == truth).mean())
    assert np.mean(dealt) == pytest.approx(0.25, abs=0.12)


def test_penalties_are_chosen_by_classes_that_are_held_out() -> None:
    """Those under which maps that never saw a third of the classes tell these apart best; of equals, nearest to 1."""
    grid = (1e-2, 1e-1, 1.0, 1e1, 1e2)
    for seed in range(4):
        x, y = draw(SEEN, 5, seed, noise=2.5)
        right = {}
        for g, e in itertools.product(grid, grid):
            told = []
            for held in (SEEN[::3], SEEN[1::3], SEEN[2::3]):
                asked = np.isin(y, held)
                other = ClassEmbeddingMap.fit(x[~asked], y[~asked], ATTRIBUTES, latent_penalty=g, embedding_penalty=e)
                told.append((held[other.predict(x[asked], ATTRIBUTES[held])] == y[asked]).mean())
            right[g, e] = round(float(np.mean(told)), 9)
        found = ClassEmbeddingMap.fit(x, y, ATTRIBUTES)
        best = [pair for pair, score in right.items() if score == max(right.values())]
        far = {pair: np.abs(np.log(pair)).sum() for pair in best}
        chosen = (found.latent_penalty, found.embedding_penalty)
        assert chosen in best
        assert far[chosen] == pytest.approx(min(far.values()))
    few = ClassEmbeddingMap.fit(*draw(SEEN[:3], 5, 0), ATTRIBUTES)
    assert (few.latent_penalty, few.embedding_penalty) == (1.0, 1.0)


def test_length_and_offset_of_what_is_given_do_not_matter() -> None:
    """Longer embeddings, latents in another unit or moved: the same answers."""
    x, y = draw(SEEN, 5, 0, noise=2.0)
    fresh, _ = draw(UNSEEN, 25, 1, noise=2.0)
    expected = ClassEmbeddingMap.fit(x, y, ATTRIBUTES).scores(fresh, ATTRIBUTES)
    lengths = np.random.default_rng(0).uniform(0.1, 9, (10, 1))
    found = ClassEmbeddingMap.fit(1e3 * x + 5, y, lengths * ATTRIBUTES).scores(1e3 * fresh + 5, ATTRIBUTES / lengths)
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"latents": np.full((12, 4), np.nan)}, InputError, "NaN or infinity in row 0"),
        ({"latents": np.ones((1, 4)), "classes": [0]}, NotEnoughSamplesError, "at least 2 rows of latents"),
        ({"classes": np.zeros(12, np.int64)}, LabelError, "at least 2 classes, found 1"),
        ({"classes": np.arange(12) % 3 + 8}, LabelError, "rows of the 10 embeddings, 0 to 9, found 8 to 10"),
        ({"classes": np.arange(12) % 3 - 1}, LabelError, "found -1 to 1"),
        ({"classes": np.array(["a", "b"] * 6)}, LabelError, "Give each class an embedding"),
        ({"classes": np.arange(11) % 3}, LabelError, r"per sample \(12\)"),
        ({"embeddings": np.zeros((10, 5))}, InputError, "all 0 in row 0"),
        ({"embeddings": np.full((10, 5), np.inf)}, InputError, "finite class embeddings"),
        ({"latent_penalty": 0.0}, InputError, "penalties above 0"),
        ({"embedding_penalty": float("nan")}, InputError, "penalties above 0"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], error: type[InputError], said: str) -> None:
    """Each with what was found and what to do."""
    latents, classes = np.random.default_rng(0).normal(size=(12, 4)), np.arange(12) % 3
    given = {"latents": latents, "classes": classes, "embeddings": ATTRIBUTES, **changes}
    with pytest.raises(error, match=said):
        ClassEmbeddingMap.fit(given.pop("latents"), given.pop("classes"), given.pop("embeddings"), **given)


def test_other_widths_are_refused_when_predicting() -> None:
    """Latents of another backbone, embeddings of another encoder."""
    found = ClassEmbeddingMap.fit(*draw(SEEN, 3, 0), ATTRIBUTES)
    with pytest.raises(InputError, match="latents of width 40, found 4"):
        found.predict(np.ones((2, 4)), ATTRIBUTES)
    with pytest.raises(InputError, match="class embeddings of width 5, found 3"):
        found.predict(np.ones((2, 40)), np.ones((4, 3)))


def test_constant_and_repeated_latents_get_an_answer() -> None:
    """Nothing to tell the classes by: whatever is answered is a class, without a warning of numpy."""
    for latents in (np.ones((12, 4)), np.repeat(np.eye(4)[:2], 6, axis=0)):
        found = ClassEmbeddingMap.fit(latents, np.arange(12) % 3, ATTRIBUTES)
        assert set(found.predict(latents, ATTRIBUTES)) <= set(range(10))
        assert found.predict(latents[0], ATTRIBUTES).shape == (1,)


def test_names_of_classes_through_a_text_encoder() -> None:
    """Latents that follow the meaning of words: unseen classes are told by their names alone, and not by others' names.

    The encoder is the mean of the static word vectors of the package wordllama, which is read and not imported.
    """
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("wordllama 0.4, a text encoder, is not installed")
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    folder = Path(next(iter(spec.submodule_search_locations)))
    (table,) = load_file(folder / "weights" / "l2_supercat_256.safetensors").values()
    read = tokenizers.Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    names = ["cat", "dog", "wolf", "lion", "tiger", "horse", "car", "truck", "bus", "train", "bicycle", "tractor"]
    words = np.stack([table[read.encode(name, add_special_tokens=False).ids].mean(axis=0) for name in names])
    words = (words / words.std()).astype(np.float64)
    unseen = np.array([0, 4, 8, 11])
    seen, rng = np.setdiff1d(np.arange(12), unseen), np.random.default_rng(0)
    mix = rng.normal(size=(256, 60)) / 16
    y, truth = np.repeat(seen, 20), np.repeat(unseen, 20)
    x, fresh = (words[each] @ mix + 0.3 * rng.normal(size=(len(each), 60)) for each in (y, truth))
    found = ClassEmbeddingMap.fit(x, y, words)
    assert (unseen[found.predict(fresh, words[unseen])] == truth).mean() > 0.5
    turned = unseen[[1, 2, 3, 0]]
    assert (turned[found.predict(fresh, words[unseen])] == truth).mean() < 0.25
