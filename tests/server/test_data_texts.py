"""Many texts in one piece of memory: a sequence like any other."""

import pickle

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

from acclimate.server.data.texts import Chosen, Texts

pytestmark = pytest.mark.needs_torch


def test_texts_read_as_a_list_does() -> None:
    """Empty ones, other scripts, names that are no UTF-8; by place from both ends, by slice, after a journey."""
    given = ["", "a.png", "ä/ö.png", "猫.png", b"\xff.png".decode("utf-8", "surrogateescape"), ""]
    for texts in (Texts(given), pickle.loads(pickle.dumps(Texts(given)))):  # noqa: S301
        assert list(texts) == given
        assert [texts[i] for i in range(-6, 0)] == given
        assert texts[1:4:2] == given[1:4:2]
        assert len(texts) == 6
        with pytest.raises(IndexError):
            texts[6]
    assert list(Texts([])) == []


def test_texts_are_a_handful_of_objects() -> None:
    """A hundred thousand names take the bytes of their letters and eight for each: no object of their own."""
    texts = Texts(f"folder/{i:08}.png" for i in range(100_000))
    assert len(pickle.dumps(texts)) < 100_000 * (19 + 8) + 10_000
    assert texts[77_777] == "folder/00077777.png"


def test_chosen_ones_are_looked_up() -> None:
    """Rows of another sequence, in their order."""
    chosen = Chosen(["a", "b", "c", "d"], np.array([3, 1]))
    assert list(chosen) == ["d", "b"]
    assert chosen[-1] == "b"
    assert chosen[:1] == ["d"]
    with pytest.raises(IndexError):
        chosen[2]
