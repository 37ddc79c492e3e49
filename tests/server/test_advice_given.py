"""What advice does with bad input: a clear error, or an answer that says what was done."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch, which the server side needs, is not installed")

from acclimate.errors import InputError, LabelError, NotEnoughSamplesError
from acclimate.server.advice import advise
from acclimate.server.advice.given import check_given, label_names
from acclimate.server.advice.space import MOST_AXES, common_space

pytestmark = pytest.mark.needs_torch

RNG = np.random.default_rng(0)
MEANS = RNG.normal(size=(3, 6)) * 2
Y, OWN = np.arange(60) % 3, np.arange(30) % 3
X, HERE = MEANS[Y] + RNG.normal(size=(60, 6)), MEANS[OWN] + RNG.normal(size=(30, 6))


def test_sides_that_do_not_fit_are_refused_by_name() -> None:
    """Widths, classes, numbers, lengths: what was found and what to do."""
    with pytest.raises(InputError, match="one width, found 6 and 5 features"):
        advise(X, Y, HERE[:, :5], OWN)
    with pytest.raises(LabelError, match="share classes, found '0', '1', '2' and '7', '8', '9'"):
        advise(X, Y, HERE, OWN + 7)
    holed = X.copy()
    holed[4, 2] = np.nan
    with pytest.raises(InputError, match=r"finite source samples, found 1 .* the first in row 4"):
        advise(holed, Y, HERE, OWN)
    with pytest.raises(InputError, match="finite target samples"):
        advise(X, Y, np.where(HERE > 2, np.inf, HERE), OWN)
    with pytest.raises(InputError, match="features that vary, found that all are constant"):
        advise(np.ones((60, 6)), Y, np.ones((30, 6)) + 1, OWN)
    with pytest.raises(NotEnoughSamplesError, match="two classes or more, found 1"):
        advise(X, np.zeros(60, int), HERE, OWN)
    with pytest.raises(NotEnoughSamplesError, match="two classes or more, found 0"):
        advise(X, np.full(60, -1), HERE, OWN)
    with pytest.raises(LabelError, match="each of 60 source samples, found 59"):
        advise(X, Y[:59], HERE, OWN)
    with pytest.raises(LabelError, match="as a list or an array, found NoneType"):
        advise(X, None, HERE, OWN)  # type: ignore[arg-type]
    with pytest.raises(LabelError, match="as a list or an array, found set"):
        advise(X, {1, 2}, HERE, OWN)  # type: ignore[arg-type]
    for seed in (-1, 1.5, "a", True):
        with pytest.raises(InputError, match="whole number from 0 as the seed"):
            advise(X, Y, HERE, OWN, seed=seed)  # type: ignore[arg-type]
    with pytest.raises(LabelError, match=r"found bytes\. Decode them first"):
        advise(X, Y.astype("S"), HERE, OWN)
    with pytest.raises(InputError, match="group for each of 30 target samples"):
        advise(X, Y, HERE, OWN, groups=np.arange(4))
    with pytest.raises(InputError, match="a level above 0"):
        advise(X, Y, HERE, OWN, level=0)


def test_source_rows_that_are_the_targets_are_told_and_left_out() -> None:
    """Left in, they would be held-out samples that were seen; a source that is only these is refused."""
    given = check_given(np.concatenate([X, HERE[:10]]), np.concatenate([Y, OWN[:10]]), HERE, OWN)
    assert any(note.startswith("leakage: 10 of 70 source samples") for note in given.notes)
    assert len(given.pair.source_y) == 60
    np.testing.assert_allclose(given.pair.source_x, given.space.apply(X))
    with pytest.raises(InputError, match="beside the target, found that 30 of its 30 samples are the target's"):
        advise(HERE, OWN, HERE, OWN)


def test_target_rows_that_repeat_are_held_out_together() -> None:
    """They get one group; labels that contradict are told."""
    here, own = np.concatenate([HERE, HERE[:5]]), np.concatenate([OWN, [2, *OWN[1:5]]])
    given = check_given(X, Y, here, own)
    assert given.groups[:5].tolist() == given.groups[30:].tolist()
    assert any("5 labelled target samples repeat others" in note for note in given.notes)
    assert any("different labels" in note for note in given.notes)
    assert len(set(given.groups.tolist())) == 30


def test_a_class_that_one_side_lacks_is_told_and_the_others_are_judged() -> None:
    """Advice comes all the same, either way round."""
    for home, here, told in (
        (Y < 2, OWN >= 0, "the source has no sample of '2'"),
        (Y >= 0, OWN > 0, "the target has no labelled sample of '0'"),
    ):
        found = advise(X[home], Y[home], HERE[here], OWN[here])
        assert any(told in note for note in found.notes)
        assert found.classes == ("0", "1", "2")
        assert found.basis == "labels"


def test_fewer_samples_than_features_constant_features_and_few_labels_get_an_answer() -> None:
    """Each is told, and figures are finite."""
    wide = np.random.default_rng(1).normal(size=(3, 400))
    noise = np.random.default_rng(2).normal(size=(50, 400))
    x, here = wide[Y[:30]] + noise[:30], wide[OWN[:20]] + noise[30:]
    x[:, 0], here[:, 0] = 1.0, 2.0
    found = advise(x, Y[:30], here, OWN[:20])
    assert any("1 of 400 features are constant within both sides" in note for note in found.notes)
    assert any("fewer source samples (30) than features (399)" in note for note in found.notes)
    assert found.gain is not None
    assert np.isfinite(found.gain)
    for count in (0, 1, 2, 5):
        few = advise(X, Y, HERE, np.where(np.arange(30) < count, OWN, -1))
        assert few.basis == "validators"
        assert sum(few.target_counts) == count
    alone = advise(X, Y, HERE[:1], OWN[:1])
    assert alone.shift is None
    assert any("too few to tell" in line for line in alone.why)


def test_labels_may_be_texts_or_numbers_and_may_be_missing() -> None:
    """Whole numbers in any type name the same classes; nothing, -1 and empty texts are no labels."""
    assert label_names([1, 1.0, "1", np.int64(1)], 4, "target") == ["1"] * 4
    assert label_names([None, -1, "", "-1", float("nan"), " "], 6, "target") == [None] * 6
    texts = advise(X, Y.astype(str), HERE, [str(one) if i < 20 else "" for i, one in enumerate(OWN)])
    numbers = advise(X, Y, HERE, np.where(np.arange(30) < 20, OWN, -1))
    assert texts.to_dict() == numbers.to_dict()


def test_the_space_is_the_features_up_to_a_turn() -> None:
    """Distances between standardised samples stay; many features come down to few axes."""
    space, notes = common_space(X, HERE)
    assert notes == []
    spread = (space.apply(X).var(axis=0) + space.apply(HERE).var(axis=0)) / 2
    np.testing.assert_allclose(spread, 1)
    rng = np.random.default_rng(0)
    few, other = rng.normal(size=(20, 90)), rng.normal(size=(10, 90))
    turned, notes = common_space(few, other)
    plain = (few - turned.centre) / turned.scale
    np.testing.assert_allclose(turned.apply(few) @ turned.apply(few).T, plain @ plain.T, atol=1e-8)
    assert "100.0% of their variance" in notes[-1]
    other = rng.normal(size=(20, 150))
    assert common_space(rng.normal(size=(300, 150)), other)[0].apply(other).shape == (20, MOST_AXES)


def test_names_that_print_alike_are_one_class() -> None:
    """Blanks around a name, and letters composed otherwise, are slips and not other classes."""
    assert label_names(["ash ", " ash", "caf\u00e9", "cafe\u0301"], 4, "source") == [
        "ash",
        "ash",
        "caf\u00e9",
        "caf\u00e9",
    ]


def test_where_all_rows_are_alike_no_number_of_samples_is_asked_for() -> None:
    """Sixty labelled samples of three kinds are not forty too many."""
    found = advise(X, Y, np.repeat(HERE[:3], 20, axis=0), np.repeat(OWN[:3], 20))
    assert "Label samples that are not like each other" in " ".join(found.why)


@pytest.mark.parametrize("count", [10, 40])
def test_where_all_labels_are_of_one_class_others_are_asked_for(count: int) -> None:
    """More labels of that class tell nothing; and nothing says that there are no labels."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = 2.0 * np.eye(3, 6)[y] + rng.normal(size=(90, 6))
    here = 2.0 * np.eye(3, 6)[np.ones(60, int)] + rng.normal(size=(60, 6))
    found = advise(x, y, here, np.where(np.arange(60) < count, 1, -1))
    said = " ".join(found.why)
    assert found.basis == "validators"
    assert "Label samples of other classes, too, and ask again" in said
    assert f"Target: {count} labelled samples of 1 class, " in said
    assert "not like each other" not in said
    assert "samples more" not in said
    why_not = next(one.why_not for one in found.candidates if one.name == "target only")
    assert why_not is not None
    assert "that can be judged" in why_not
