"""The guard: exact probabilities, a verdict for every case, and the risk that it promises."""

from itertools import product

import numpy as np
import pytest

from acclimate.edge.adaptation.evidence import at_least
from acclimate.edge.adaptation.guard import RISK, judge

ALL = np.ones(2, np.bool_)


def outcomes(both: int, gained: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, and predictions of candidate and current head, with so many samples of each kind."""
    kinds = [(1, 1)] * both + [(1, 0)] * gained + [(0, 1)] * lost + [(0, 0)] * neither
    candidate, current = (np.array([kind[i] for kind in kinds], np.int64) for i in (0, 1))
    return np.ones(len(kinds), np.int64), candidate, current


@pytest.mark.parametrize("trials", range(11))
def test_at_least_is_the_share_of_all_outcomes(trials: int) -> None:
    """The probability equals that counted over every sequence of tosses."""
    heads = np.array([sum(tosses) for tosses in product((0, 1), repeat=trials)])
    for wins in range(trials + 2):
        assert at_least(wins, trials) == pytest.approx(float((heads >= wins).mean()), abs=1e-15)


def test_at_least_is_exact_for_many_tosses() -> None:
    """With thousands of tosses neither overflow nor underflow occurs, and the two tails add up to one."""
    assert at_least(2_500, 5_000) + at_least(2_501, 5_000) == pytest.approx(1)
    assert 0 < at_least(2_900, 5_000) < 1e-20


# The smallest lead that five, ten and twenty decided samples must show at a risk of 0.1, from tables of the sign test.
@pytest.mark.parametrize(
    ("gained", "lost", "verdict"),
    [
        (0, 0, "insufficient"),
        (3, 0, "insufficient"),
        (4, 0, "accepted"),
        (4, 1, "insufficient"),
        (5, 0, "accepted"),
        (7, 3, "insufficient"),
        (8, 2, "accepted"),
        (13, 7, "insufficient"),
        (14, 6, "accepted"),
        (2, 2, "insufficient"),
        (0, 1, "insufficient"),
        (6, 7, "insufficient"),
        (0, 2, "rejected"),
        (0, 9, "rejected"),
    ],
)
def test_verdicts_on_known_classes(gained: int, lost: int, verdict: str) -> None:
    """Better beyond chance is accepted, worse is rejected, and between them the evidence is insufficient."""
    y, candidate, current = outcomes(both=50, gained=gained, lost=lost, neither=10)
    found = judge(y, candidate, current, ALL)
    assert found.verdict == verdict
    assert (found.judged, found.gained, found.lost) == (60 + gained + lost, gained, lost)
    assert f"Of {found.judged} held-out samples the candidate gains {gained} and loses {lost}" in found.reason


@pytest.mark.parametrize(
    ("gained", "lost", "verdict"),
    [
        (0, 0, "accepted"),
        (1, 2, "accepted"),
        (0, 3, "insufficient"),
        (3, 7, "insufficient"),
        (0, 4, "rejected"),
        (2, 8, "rejected"),
        (9, 0, "accepted"),
    ],
)
def test_verdicts_on_a_new_class(gained: int, lost: int, verdict: str) -> None:
    """A candidate that knows a new class is refused only for harm to the known ones; a small loss may be chance."""
    y, candidate, current = outcomes(both=20, gained=gained, lost=lost, neither=0)
    # Ten samples of class 0, which the current head does not know; the candidate gets one right.
    new = np.array([0] + [1] * 9)
    y, candidate, current = np.append(y, [0] * 10), np.append(candidate, new), np.append(current, [1] * 10)
    found = judge(y, candidate, current, np.array([False, True]), names=("crack", "moss"))
    assert found.verdict == verdict
    assert (found.judged, found.gained, found.lost) == (20 + gained + lost, gained, lost)
    crack = found.classes[0]
    assert (crack.name, crack.samples, crack.after) == ("crack", 10, 0.1)
    assert np.isnan(crack.before)


def test_a_new_class_that_is_not_learnt_is_no_reason() -> None:
    """With none of four held-out samples of the new class right, the candidate must be better for the old ones."""
    for seen, verdict in ((3, "accepted"), (4, "insufficient")):
        y, candidate, current = outcomes(both=20, gained=1, lost=0, neither=0)
        wrong = np.ones(seen, np.int64)
        judged = judge(
            np.append(y, 0 * wrong), np.append(candidate, wrong), np.append(current, wrong), np.array([False, True])
        )
        assert judged.verdict == verdict


def test_a_class_counts_as_much_as_another() -> None:
    """What a rare class loses is not outweighed by as many samples gained of a common one."""
    y = np.repeat([0, 1], [90, 6])
    current = np.concatenate([np.repeat([0, 1], [80, 10]), np.ones(6, np.int64)])
    candidate = np.concatenate([np.zeros(90, np.int64), np.repeat([1, 0], [2, 4])])
    found = judge(y, candidate, current, ALL, names=("sound", "crack"))
    assert found.verdict == "rejected"
    assert found.reason.startswith("It harms crack: 100% of its 6 samples were right, 33% are.")
    assert (found.gained, found.lost) == (10, 4)
    assert found.gain == pytest.approx(100 * (10 / 90 - 4 / 6) / 2)
    assert [(c.name, c.gained, c.lost) for c in found.classes] == [("sound", 10, 0), ("crack", 0, 4)]


def test_harm_to_one_class_is_seen_behind_a_gain_overall() -> None:
    """Ten classes of which nine gain: the tenth, that loses what chance does not explain, is reason to refuse."""
    y = np.repeat(np.arange(10), 20)
    current = np.where(np.arange(200) % 2, y, (y + 1) % 10)
    candidate = y.copy()
    candidate[180:] = np.where(np.arange(20) % 20 < 8, 9, 0)
    current[180:] = 9
    found = judge(y, candidate, current, np.ones(10, np.bool_))
    assert found.gain > 30
    assert (found.verdict, found.reason[:10]) == ("rejected", "It harms 9")


def test_samples_of_a_group_are_one_piece_of_evidence() -> None:
    """Forty gained frames of one scene show no more than one; of forty scenes they show all there is."""
    y, candidate, current = outcomes(both=10, gained=40, lost=0, neither=0)
    together = np.concatenate([np.arange(10), np.full(40, 10)])
    assert judge(y, candidate, current, ALL).verdict == "accepted"
    found = judge(y, candidate, current, ALL, together)
    assert (found.verdict, found.units, found.judged) == ("insufficient", 11, 50)
    assert found.gain == pytest.approx(100 / 11)


def test_a_group_of_several_classes_is_one_piece_of_evidence() -> None:
    """One person's samples of two classes gain together or not at all: three persons cannot show a gain, four can."""
    for persons, verdict in ((3, "insufficient"), (4, "accepted")):
        y = np.tile([0, 1], 5 * persons)
        groups = np.repeat(np.arange(persons), 10)
        found = judge(y, y, 1 - y, ALL, groups)
        assert found.gain == pytest.approx(100)
        assert (found.verdict, found.units) == (verdict, persons)


def test_the_interval_says_what_the_verdict_says() -> None:
    """An accepted candidate has a lower bound above zero, in points of accuracy, and the reason names it."""
    found = judge(*outcomes(both=50, gained=9, lost=1, neither=0), ALL)
    assert found.verdict == "accepted"
    assert 0 < found.low < found.gain < found.high < 30
    assert f"{found.gain:+.1f} points class by class ({found.low:+.1f} to {found.high:+.1f})" in found.reason


def test_the_first_head_is_accepted() -> None:
    """With no head before there is nothing to lose."""
    y, candidate, _ = outcomes(0, 0, 9, 0)
    assert judge(y, candidate, None, np.zeros(2, np.bool_)).verdict == "accepted"


def test_samples_without_a_prediction_are_not_compared() -> None:
    """A sample that the candidate could not be judged on counts for neither side."""
    y, candidate, current = outcomes(both=5, gained=4, lost=0, neither=0)
    found = judge(np.append(y, [1] * 20), np.append(candidate, [-1] * 20), np.append(current, [1] * 20), ALL)
    assert (found.verdict, found.judged, found.lost) == ("accepted", 9, 0)


def test_without_any_sample_to_compare_the_evidence_is_insufficient() -> None:
    """When nothing could be held out, nothing is claimed."""
    y, _, current = outcomes(5, 0, 0, 0)
    assert judge(y, np.full(5, -1), current, ALL).verdict == "insufficient"


def draws(right: float, right_before: float, n: int = 60) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Draw 200 pairs of heads that are right with given probabilities, independently."""
    y = np.ones(n, np.int64)
    pairs = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        pairs.append((y, (rng.random(n) < right).astype(np.int64), (rng.random(n) < right_before).astype(np.int64)))
    return pairs


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_an_equal_candidate_is_seldom_accepted(level: float) -> None:
    """Of 200 candidates exactly as good as the current head, no larger share is accepted than the risk promised."""
    accepted = [judge(*draw, ALL).verdict == "accepted" for draw in draws(level, level)]
    assert np.mean(accepted) <= RISK


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_a_harmless_new_class_is_seldom_refused(level: float) -> None:
    """Of 200 candidates that harm nothing, no larger share is refused as harmful than the risk promised."""
    known = np.array([False, True])
    verdicts = [
        judge(np.append(y, 0), np.append(candidate, 0), np.append(current, 1), known).verdict
        for y, candidate, current in draws(level, level)
    ]
    assert verdicts.count("rejected") <= RISK * len(verdicts)


def test_a_better_candidate_is_accepted_and_a_worse_one_never() -> None:
    """Of 200 candidates that are right in 90 of 100 cases where the head before was in 60, nearly all are accepted."""
    assert np.mean([judge(*draw, ALL).verdict == "accepted" for draw in draws(0.9, 0.6)]) > 0.95
    assert not any(judge(*draw, ALL).verdict == "accepted" for draw in draws(0.6, 0.9))


def test_a_class_that_was_taken_for_everything_is_not_harmed() -> None:
    """A head that calls everything defective has all of these right; one that tells the two apart is no harm."""
    y = np.repeat([0, 1], [100, 40])
    current, candidate = np.ones(140, np.int64), y.copy()
    candidate[100:114], candidate[:10] = 0, 1
    found = judge(y, candidate, current, ALL)
    assert found.verdict == "accepted"
    assert found.classes[1].before == 1 > found.classes[1].after == 0.65


def test_a_rare_class_that_is_given_up_is_harmed() -> None:
    """Gaining the frequent class by giving a rare one up is harm to the rare one, though more samples are right."""
    y = np.repeat([0, 1], [100, 8])
    current, candidate = y.copy(), np.zeros(108, np.int64)
    current[:20] = 1
    found = judge(y, candidate, current, ALL)
    assert found.verdict == "rejected"
    assert "1: 100% of its 8 samples were right, 0% are" in found.reason
