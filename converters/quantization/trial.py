"""One try at a smaller model: its file, how close its latents are, and what a fresh head on them loses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...bundle import LinearLayer
from ...edge.runtime.runtime import Embedder
from ...manifest import Runtime
from ..original import Float32, Original, embed, open_backbone
from ..parity import Parity, compare
from .fresh_head import HeadAccuracy, compare_heads, held_out_hits
from .latency import Key, Stopwatch

# Of the samples, for what is measured once for every layer.
_QUICK = 8


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """Labelled raw samples to judge a fresh head on.

    Args:
        x: ``(n, *shape)`` raw samples.
        y: ``(n,)`` classes, 0 to k - 1.
        own: The model's own last layer on the whole latent, where it is kept.
    """

    x: NDArray[np.generic]
    y: NDArray[np.int64]
    own: LinearLayer | None = None


@dataclass(frozen=True)
class Trial:
    """A converted model and how well it does.

    Args:
        content: The file.
        parity: Its latents against the original's.
        head: What a fresh head on them loses; None where there are no labels, or it was not asked.
        own: Share of the labelled samples that the model's own last layer classifies right; None likewise.
    """

    content: bytes
    parity: Parity
    head: HeadAccuracy | None
    own: float | None = None


@dataclass(frozen=True, eq=False)
class Judge:
    """Judges files of one runtime.

    Args:
        runtime: The runtime.
        original: What is converted.
        labelled: Labelled samples, or None.
        float_content: The export in float.
    """

    runtime: Runtime
    original: Original
    labelled: LabelledSamples | None
    float_content: bytes

    def trial(self, content: bytes) -> Trial:
        """Compare a file's latents with the original's."""
        embedder = open_backbone(content, self.runtime, self.original)
        found = embed(embedder, self.original.samples)
        return Trial(content, compare(found, self.original.latents, self.original.taps), None)

    def with_head(self, trial: Trial) -> Trial:
        """Add what a fresh head loses, where there are labels to tell."""
        if trial.head is not None or self.labelled is None:
            return trial
        latents = self._float_latents if trial.content == self.float_content else self._embed(trial.content)
        own = None
        if self.labelled.own is not None:
            logits = latents @ self.labelled.own.weight.T + self.labelled.own.bias
            own = float((logits.argmax(axis=1) == self.labelled.y).mean())
        found = held_out_hits(latents, self.labelled.y) if self._float_hits is not None else None
        if found is None or self._float_hits is None:
            return replace(trial, own=own)
        return replace(trial, head=compare_heads(found, self._float_hits), own=own)

    def quick_cosine(self, content: bytes) -> float:
        """Return the centred cosine on a few samples."""
        rows = np.linspace(0, len(self.original.samples) - 1, _QUICK).astype(int)
        embedder = open_backbone(content, self.runtime, self.original)
        found = embed(embedder, self.original.samples[rows])
        return compare(found, self.original.latents[rows], self.original.taps).whole.cosine

    def seconds(self, files: Mapping[Key, bytes]) -> dict[Key, float]:
        """Return the seconds that each file takes for one sample with one thread, by its key; measured once."""
        return self._stopwatch.seconds(files)

    @cached_property
    def _stopwatch(self) -> Stopwatch:
        def load(content: bytes) -> Embedder:
            return open_backbone(content, self.runtime, self.original, 1)

        return Stopwatch(load, self.float_content, self.original.samples[:1])

    @cached_property
    def _float_latents(self) -> Float32:
        return self._embed(self.float_content)

    @cached_property
    def _float_hits(self) -> NDArray[np.bool_] | None:
        return None if self.labelled is None else held_out_hits(self._float_latents, self.labelled.y)

    def _embed(self, content: bytes) -> Float32:
        assert self.labelled is not None  # noqa: S101  asked only where there are labels
        return embed(open_backbone(content, self.runtime, self.original), self.labelled.x)


def fresh_head_lost(head: HeadAccuracy | None) -> str:
    """Say what a fresh head loses, as the end of a sentence; nothing where it was not judged."""
    return "" if head is None else f", and {head.lost:.1f} points lost by a fresh head ({head.samples} samples)"
