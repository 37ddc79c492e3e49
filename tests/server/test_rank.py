"""Ranking of sources: planted orders, what the ranking says of itself, and targets that are refused."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

from numpy.typing import NDArray

from acclimate.errors import InputError, LabelError, NotEnoughSamplesError
from acclimate.server.choice import Ranking, rank_sources
from acclimate.server.choice.page import agreement_told, ranking_page, ranking_table
from acclimate.server.choice.source import Done, Look
from acclimate.server.report import render_report

pytestmark = pytest.mark.needs_torch

Frames = NDArray[np.float32]
N, K = 90, 3
Y = np.arange(N) % K
FRAMES = np.arange(N, dtype=np.float32)[:, None]


@dataclass(eq=False)
class Planted:
    """A source that sees the classes through noise; a frame is the number of its sample.

    Args:
        signal: How clearly its latents show the classes.
        head: How clearly its head does; None without one.
        classes: Names of the head's classes.
        seen: Numbers of samples of each call.
    """

    signal: float
    head: float | None = None
    classes: tuple[str, ...] | None = None
    seen: list[int] = field(default_factory=list)

    def look(self, frames: NDArray[Any], done: Done) -> Look:
        """Return latents and probabilities of the samples."""
        self.seen.append(len(frames))
        done(len(frames))
        rows, rng = frames[:, 0].astype(int), np.random.default_rng(0)
        latents = (self.signal * np.eye(K, 12)[Y] + rng.normal(size=(N, 12))).astype(np.float32)[rows]
        if self.head is None:
            return Look(latents)
        logits = self.head * np.eye(K)[Y] + rng.normal(size=(N, K))
        shares = np.exp(logits)[rows]
        return Look(latents, (shares / shares.sum(1, keepdims=True)).astype(np.float32), self.classes)


def names(found: Ranking) -> list[str]:
    """Return the sources, the best first."""
    return [source.name for source in found.sources]


def test_a_planted_order_is_found_by_every_measure() -> None:
    """Three sources of growing clarity: W is 1, nothing is warned of but what overlaps, each is looked at once."""
    planted = {"dim": Planted(0.3, 0.3), "clear": Planted(6.0, 6.0), "fair": Planted(1.8, 1.8)}
    done: list[tuple[int, int]] = []
    found = rank_sources(planted, FRAMES, Y, progress=lambda *at: done.append(at))
    assert names(found) == ["clear", "fair", "dim"]
    assert found.counted == ("accuracy", "logme", "h_score", "leep", "nce")
    assert found.concordance == pytest.approx(1)
    assert set(found.taus.values()) == {1.0}
    assert [source.place for source in found.sources] == [1, 2, 3]
    assert found.best.ranks == dict.fromkeys(found.counted, 1.0)
    assert done == [(90, 270), (180, 270), (270, 270)]
    assert [source.seen for source in planted.values()] == [[90]] * 3
    assert found.warnings == ()


def test_measures_of_the_head_count_only_where_every_source_has_one() -> None:
    """They are still shown, ranked among those that have them."""
    found = rank_sources({"a": Planted(3.0), "b": Planted(1.0, 0.5), "c": Planted(0.5, 4.0)}, FRAMES, Y)
    assert found.counted == ("accuracy", "logme", "h_score")
    assert names(found) == ["a", "b", "c"]
    by_name = {source.name: source for source in found.sources}
    assert "leep" not in by_name["a"].scores
    assert (by_name["b"].ranks["leep"], by_name["c"].ranks["leep"]) == (2, 1)
    assert found.taus["logme", "leep"] == -1
    columns = [column.name for column in ranking_table(found).columns]
    assert columns[5:9] == ["LogME", "H-score", "LEEP", "NCE"]


def test_measures_that_disagree_are_told() -> None:
    """Latents in one order, heads in the opposite one; of a single source there is nothing to agree on."""
    found = rank_sources({"a": Planted(4.0, 0.1), "b": Planted(1.8, 1.5), "c": Planted(0.6, 6.0)}, FRAMES, Y)
    assert found.concordance < 0.3
    assert any("the measures disagree (Kendall's W 0." in told for told in found.warnings)
    alone = rank_sources({"a": Planted(4.0, 0.1)}, FRAMES, Y)
    assert np.isnan(alone.concordance)
    assert (alone.warnings, agreement_told(alone), alone.best.mean_rank) == ((), "", 1)


def test_sources_that_cannot_be_told_apart_are_named_and_so_is_a_transfer_that_would_not_help() -> None:
    """Overlapping intervals; and intervals that reach down to the share of the largest class."""
    found = rank_sources({"a": Planted(0.0), "b": Planted(0.05)}, FRAMES, Y)
    assert any("cannot tell the first from" in told for told in found.warnings)
    assert any("largest class (33.3%): collect more samples, or transfer from none" in told for told in found.warnings)


def test_accuracy_as_shipped_is_of_heads_that_know_the_names() -> None:
    """Names of the same classes in another order, others, and none."""
    labels = np.array(["oak", "ash", "elm"])[Y]
    knows = Planted(2.0, 50.0, ("oak", "ash", "elm"))
    others = Planted(2.0, 50.0, ("oak", "ash", "fir"))
    found = rank_sources({"knows": knows, "others": others, "nameless": Planted(2.0, 50.0)}, FRAMES, labels)
    assert {source.name: source.as_shipped for source in found.sources} == {
        "knows": 1.0,
        "others": None,
        "nameless": None,
    }


def test_samples_that_repeat_others_are_left_out() -> None:
    """As told; what is left is ranked as without them. With two labels, they are refused."""
    twice = rank_sources({"a": Planted(2.0), "b": Planted(1.0)}, np.vstack([FRAMES, FRAMES[:7]]), [*Y, *Y[:7]])
    once = rank_sources({"a": Planted(2.0), "b": Planted(1.0)}, FRAMES, Y)
    assert twice.warnings[0] == "7 of the samples repeat others, and were left out"
    assert twice.to_dict()["sources"] == once.to_dict()["sources"]
    with pytest.raises(LabelError, match="'0' and '1' for samples 0 and 90, which are the same"):
        rank_sources({"a": Planted(2.0)}, np.vstack([FRAMES, FRAMES[:1]]), [*Y, 1])


@pytest.mark.parametrize(
    ("frames", "labels", "error", "said"),
    [
        (FRAMES, np.zeros(N, np.int64), LabelError, "at least 2 classes, found 1"),
        (FRAMES[:4], [0, 0, 0, 1], NotEnoughSamplesError, "at least 2 samples of each class, found 1 of 1"),
        (FRAMES[:3], [0, 1], LabelError, r"one label per sample \(3\), found 2"),
        (FRAMES[:4], [0, 1, None, 0], LabelError, "found one without"),
        (FRAMES[:0], [], InputError, r"shape \(0, 1\)"),
        (FRAMES[:, 0], Y, InputError, "along its first axis"),
        ([1.0, 2.0], [0, 1], InputError, "as a numpy array, found list"),
    ],
)
def test_a_target_that_says_nothing_is_refused_before_a_source_is_opened(
    frames: Any, labels: Any, error: type[InputError], said: str
) -> None:
    """One class, a lone sample, labels that are missing, no samples."""
    source = Planted(1.0)
    with pytest.raises(error, match=said):
        rank_sources({"a": source}, frames, labels)
    assert source.seen == []


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([], "at least one source, found none"),
        ({}, "at least one source, found none"),
        ("one.acc", "expected a list of sources, found 'one.acc'"),
        (["a.acc", "b.acc", "a.acc"], "each source once, found 'a.acc' twice"),
        ({"a": 3}, "a: expected a source by name, a torch module or an object with look"),
        (["keras:MobileNet@random"], "found the Keras model 'keras:MobileNet@random'. Convert it"),
        (["nothing:of_this_name"], "nothing:of_this_name: "),
    ],
)
def test_what_is_no_source_is_refused_by_name(sources: Any, said: str) -> None:
    """Of several the message names the one."""
    with pytest.raises(InputError, match=said):
        rank_sources(sources, FRAMES, Y)


def test_a_ranking_is_the_same_every_time_and_goes_into_json() -> None:
    """Also where a measure is all ties: what is no number becomes null."""
    sources = {"a": Planted(2.0, 1.0), "same": Planted(2.0, 1.0)}
    found, again = rank_sources(sources, FRAMES, Y), rank_sources(sources, FRAMES, Y)
    assert found.to_dict() == again.to_dict()
    assert [source.place for source in found.sources] == [1, 1]
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (told["concordance"], told["taus"]["logme leep"]) == (None, None)
    assert told["sources"][0]["expected_accuracy"]["low"] < told["sources"][0]["expected_accuracy"]["accuracy"]


def test_the_page_holds_what_was_found_and_names_do_no_harm() -> None:
    """Scores, warnings, and a name that looks like markup."""
    found = rank_sources({"<b>bold</b>": Planted(3.0, 2.0), "plain": Planted(0.0, 0.1)}, FRAMES, Y)
    page = render_report(ranking_page(found))
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page
    assert f"{found.best.scores['logme']:.3f} (1)" in page
    assert "Kendall&#39;s W 1.00" in page


def test_bundles_are_ranked_by_name(tiny_bundle: Path, tail_bundle: Path, scenes: ModuleType) -> None:
    """Two that were made for such frames: both far above chance, their intervals within 0 and 1."""
    frames, labels = scenes.frames(80, 1, 1.0)
    found = rank_sources([tiny_bundle, tail_bundle], frames, labels)
    assert set(names(found)) == {str(tiny_bundle), str(tail_bundle)}
    for source in found.sources:
        e = source.expected
        assert 0.5 < e.low < e.accuracy <= e.high <= 1
        assert set(source.scores) == {"accuracy", "logme", "h_score", "leep", "nce"}
