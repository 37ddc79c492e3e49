"""Frames with what counts in them, whatever found it."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Method = Literal["integrated-gradients", "grad-cam", "occlusion", "cam"]
TITLES: dict[Method, str] = {
    "integrated-gradients": "integrated gradients",
    "grad-cam": "Grad-CAM",
    "occlusion": "occlusion",
    "cam": "class-activation maps",
}


@dataclass(frozen=True, eq=False)
class Explanation:
    """What counts for a class, or for a value, in some frames.

    Args:
        method: What found it.
        frames: ``(n, *shape)`` raw samples.
        heat: ``(n, *space)`` what each place counts for; space are the frame's own axes, but for its channels.
        names: What the frames are called.
        explained: Class that is explained, of each frame; or name of the value.
        predicted: Class that is predicted; or the value in digits.
        truth: Label of each, None where there is none; or the true value in digits.
        score: ``(n,)`` the score that is explained.
        unit: What the score and the heat are in.
        gap: ``(n,)`` by how much the parts miss the whole, in that unit; empty where the method promises no sum.
        whole: What the parts should add up to, in words.
        remarks: What a reader should know.
        task: Whether classes or values are explained.
    """

    method: Method
    frames: NDArray[Any]
    heat: Float64
    names: tuple[str, ...]
    explained: tuple[str, ...]
    predicted: tuple[str, ...]
    truth: tuple[str | None, ...]
    score: Float64
    unit: str
    gap: Float64 = field(default_factory=lambda: np.empty(0))
    whole: str = ""
    remarks: tuple[str, ...] = ()
    task: Literal["classification", "regression"] = "classification"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON, with the heat of each place."""
        rows = zip(self.names, self.explained, self.predicted, self.truth, self.score.tolist(), strict=True)
        gaps = self.gap.tolist() if len(self.gap) else [None] * len(self.names)
        return {
            "method": self.method,
            "unit": self.unit,
            "whole": self.whole or None,
            "remarks": list(self.remarks),
            "frames": [
                {**dict(zip(("frame", "explained", "predicted", "label", "score"), row, strict=True)),
                 "gap": gap, "heat": heat.tolist()}
                for row, gap, heat in zip(rows, gaps, self.heat, strict=True)
            ],
        }  # fmt: skip
