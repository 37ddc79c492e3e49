"""Layers in float are weighed against the time that they take."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from acclimate.converters.parity import Closeness, Parity
from acclimate.converters.quantization.search import Search
from acclimate.converters.quantization.trial import Trial
from acclimate.converters.quantization.wish import Wish

pytestmark = pytest.mark.needs_torch


class Eight:
    """A model of eight layers, of which two at most may stay in float; each loses more than the one before."""

    layers = tuple("abcdefgh")
    convolutions = labels = layers

    def content(self, kept: Sequence[str] = ()) -> bytes:
        return bytes(i for i, name in enumerate(self.layers) if name not in kept)

    def corrected(self, content: bytes) -> bytes | None:
        return None


class Judge:
    """Judges by the layers that are in 8 bits: each costs a hundredth of its place."""

    float_content = b""

    def __init__(self, taken: tuple[float, ...]) -> None:
        self.taken = taken

    def seconds(self, files: Mapping[Any, bytes]) -> dict[Any, float]:
        return dict(zip(files, self.taken, strict=True))

    def quick_cosine(self, content: bytes) -> float:
        return 0.98 - sum(content) / 1000

    def trial(self, content: bytes) -> Trial:
        cosine = self.quick_cosine(content)
        return Trial(content, Parity(Closeness(cosine, cosine, 0.1), {}), None)

    def with_head(self, trial: Trial) -> Trial:
        return trial


@pytest.mark.parametrize(
    ("seconds", "wish", "kept"),
    [
        # In float, in 8 bits, then with one and with two layers in float.
        ((1.0, 0.3, 0.3, 0.3), Wish(), ("h", "g")),
        ((1.0, 0.3, 0.47, 0.48), Wish(), ("h",)),
        ((1.0, 0.3, 0.6, 0.9), Wish(), ()),
        # A model that 8 bits do not help may lose a tenth.
        ((0.3, 0.3, 0.32, 0.34), Wish(), ("h",)),
        # Less than the clock's own unrest.
        ((1e-4, 3e-5, 2e-4, 2.2e-4), Wish(), ("h", "g")),
        # What was asked for goes before time.
        ((1.0, 0.3, 0.6, 0.9), Wish(least_cosine=0.96), ("h", "g")),
        ((1.0, 0.3, 0.6, 0.9), Wish(least_cosine=0.9585), ("h",)),
    ],
)
def test_what_layers_in_float_may_cost(seconds: tuple[float, ...], wish: Wish, kept: tuple[str, ...]) -> None:
    """The closest within a quarter of the time saved, unless the caller's bound needs more; the rest is said."""
    judge: Any = Judge(seconds)
    found = Search(Eight(), judge, wish, lambda done, total: None).run(())
    assert found.kept == kept
    assert found.trial.content == Eight().content(kept)
    assert [cost.name for cost in found.costs] == list(Eight.layers)
    assert ("2 layers in float would bring" in found.note) == (kept != ("h", "g"))


class Correctable(Eight):
    """Loses a tenth as much once its biases are corrected, or more than before."""

    def __init__(self, byte: int) -> None:
        self.byte = byte

    def corrected(self, content: bytes) -> bytes | None:
        return bytes([self.byte])


@pytest.mark.parametrize(("byte", "content"), [(0, bytes([0])), (200, bytes(range(8)))])
def test_corrected_biases_are_taken_where_they_bring_the_latents_closer(byte: int, content: bytes) -> None:
    """They cost no time, unlike layers in float; what is not closer is dropped."""
    judge: Any = Judge((1.0, 0.3, 0.6, 0.9))
    found = Search(Correctable(byte), judge, Wish(float_convolutions=0), lambda done, total: None).run(())
    assert (found.kept, found.trial.content) == ((), content)
    assert found.note.startswith("Corrected biases bring the centred cosine from 0.9520 to 0.9800.") == (byte == 0)
