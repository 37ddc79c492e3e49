"""Labels: which samples to label next, which are likely wrong, and how the application finds its own frames."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.suggest import STRATEGIES
from acclimate.errors import InputError, LabelError

from .learners import Opening, fresh

Dump = Callable[[], list[str]]
N = 120


@pytest.fixture
def half(opening: Opening, scenes: ModuleType) -> Learner:
    """Return a learner of forty labelled and eighty unlabelled samples with keys."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = opening("device.db")
    learner.observe(x, [*y[:40], *[None] * 80], keys=[f"photo {i}" for i in range(N)])
    learner.adapt(on_insufficient="apply")
    return learner


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_suggestions_are_unlabelled_samples(half: Learner, strategy: str) -> None:
    """Every strategy names so many different unlabelled ids, the same ones again, and all where there are no more."""
    found = half.suggest(10, strategy)  # type: ignore[arg-type]
    assert found.dtype == np.int64
    assert len(set(found.tolist())) == 10
    assert found.min() > 40
    assert half.suggest(10, strategy).tolist() == found.tolist()  # type: ignore[arg-type]
    assert half.suggest(np.int64(3), strategy).tolist() == found[:3].tolist()  # type: ignore[arg-type]
    assert sorted(half.suggest(10**6, strategy).tolist()) == list(range(41, 121))  # type: ignore[arg-type]
    assert half.suggest(0, strategy).tolist() == []  # type: ignore[arg-type]
    assert half.keys(found) == [f"photo {i - 1}" for i in found]


def test_doubt_is_asked_first(half: Learner, scenes: ModuleType) -> None:
    """The margin strategy begins where the two best classes are closest, as the stored latents are predicted."""
    store = half._session.store.unlabelled()
    now = half._session.in_use()
    assert now is not None
    two = np.sort(now.head.probabilities(half._session.code.decode(store.codes)), axis=1)[:, -2:]
    expected = store.ids[np.argsort(two[:, 1] - two[:, 0], kind="stable")[:10]]
    assert half.suggest(10).tolist() == expected.tolist()


def test_labelled_ones_are_not_suggested_again(half: Learner, scenes: ModuleType) -> None:
    """What was suggested and labelled makes way; nothing is left in the end; what loses its label comes back."""
    _, y = scenes.frames(N, 2, 1.0)
    for _ in range(8):
        chosen = half.suggest(10, "k-centre")
        half.label(chosen, y[chosen - 1])
    assert half.samples == (N, N)
    for strategy in STRATEGIES:
        assert half.suggest(5, strategy).tolist() == []
    half.label([7], [None])
    assert half.suggest(5).tolist() == [7]
    half.forget([7])
    assert half.suggest(5).tolist() == []


def test_without_a_head_the_spread_is_asked(opening: Opening, remake: Callable[..., Path], scenes: ModuleType) -> None:
    """Before the first head only k-centre can choose, and the others say so."""
    learner = opening("device.db", remake(head=None, source=None, classes=()))
    learner.observe(scenes.frames(20, 2)[0])
    assert len(learner.suggest(4, "k-centre")) == 4
    with pytest.raises(InputError, match=r"expected a head in use to suggest by 'margin', found none.*Label and adapt"):
        learner.suggest(4)


@pytest.mark.parametrize("n", [-1, True, 1.0, "3", None, [1]])
def test_numbers_that_are_none(adapted: Learner, n: object) -> None:
    """Only a whole number from 0 on is a number of samples."""
    with pytest.raises(InputError, match="expected a number of samples from 0 on, found"):
        adapted.suggest(n)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", ["", "Margin", None, 3])
def test_strategies_that_are_none(adapted: Learner, strategy: object) -> None:
    """A strategy that there is not is refused with those that there are."""
    with pytest.raises(InputError, match="expected a strategy of least-confidence, margin, entropy, k-centre, found"):
        adapted.suggest(1, strategy)  # type: ignore[arg-type]


def test_planted_flips_come_first(opening: Opening, scenes: ModuleType, dump: Dump) -> None:
    """Of twelve labels turned to the next class nine are found, before honest ones; asking changes nothing."""
    x, y = scenes.frames(N, 2, 1.0)
    flipped = np.arange(3, N, 10)
    labels = y.copy()
    labels[flipped] = [scenes.CLASSES[(scenes.CLASSES.index(name) + 1) % 4] for name in y[flipped]]
    learner = fresh(opening("device.db"), x, labels)
    before = dump()
    found = learner.suspects()
    assert dump() == before
    planted = [suspect.id - 1 in flipped for suspect in found]
    assert sum(planted) >= 9
    assert all(planted[:8])
    assert [suspect.confidence for suspect in found] == sorted((s.confidence for s in found), reverse=True)
    for suspect in found:
        assert suspect.label == labels[suspect.id - 1] != suspect.suggested
        assert 0 <= suspect.confidence <= 1
    right = [suspect for suspect, wrong in zip(found, planted, strict=True) if wrong]
    assert sum(suspect.suggested == y[suspect.id - 1] for suspect in right) >= len(right) - 1
    learner.label([suspect.id for suspect in right], [suspect.suggested for suspect in right])
    assert not {suspect.id for suspect in right} & {suspect.id for suspect in learner.suspects()}


def test_honest_labels_are_hardly_suspected(opening: Opening, scenes: ModuleType) -> None:
    """Where every label is right, few are named."""
    learner = opening("device.db")
    learner.observe(*scenes.frames(N, 2))
    assert len(learner.suspects()) <= 3


def test_suspects_follow_the_classes(opening: Opening, scenes: ModuleType) -> None:
    """They answer by new names, leave frozen classes out, and need labels of two classes."""
    x, y = scenes.frames(N, 2, 1.0)
    labels = np.where(np.arange(N) % 11 == 3, "moss", y)
    learner = opening("device.db")
    with pytest.raises(LabelError, match="expected labelled samples of at least two classes, found none"):
        learner.suspects()
    learner.observe(x, labels)
    learner.classes.rename("moss", "lichen")
    assert {suspect.label for suspect in learner.suspects()} >= {"lichen"}
    learner.classes.freeze("lichen")
    assert "lichen" not in {suspect.label for suspect in learner.suspects()}


def test_keys_lead_back(opening: Opening, scenes: ModuleType) -> None:
    """Keys come back in the order asked for, None where there is none; an id that is not stored is refused."""
    x, _ = scenes.frames(4, 2)
    learner = opening("device.db")
    ids = learner.observe(x, keys=["a", None, "ü", "a"])
    assert learner.keys(ids[[2, 0, 3, 1, 0]]) == ["ü", "a", "a", None, "a"]
    assert learner.keys([]) == []
    learner.forget(ids[:1])
    with pytest.raises(InputError, match=r"expected ids that observe\(\) returned, found 1"):
        learner.keys(ids)


def test_labels_are_all_set_or_none(adapted: Learner, dump: Dump) -> None:
    """One id or label of a call that does not fit refuses the call, with the class that it would have added."""
    before = dump()
    with pytest.raises(InputError):
        adapted.label([1, 2, 999], ["crack", "moss", "moss"])
    with pytest.raises(LabelError):
        adapted.label([1, 2], ["crack", ""])
    with pytest.raises(LabelError):
        adapted.label([1, 2], iter(["crack", "moss"]))  # type: ignore[arg-type]
    assert dump() == before
