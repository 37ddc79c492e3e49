"""What the converting process asks of TensorFlow's process, and what it answers: JSON and numpy files in a folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REQUEST, REPORT, SAMPLES, LATENTS, HEAD = "request.json", "report.json", "samples.npy", "latents.npy", "head.npz"
MAPS = "maps.npy"
# An output of the exported file beside latent and map: what goes into the head.
FEATURES = "features"
PREPARATION = "preparation.npz"
# Outputs of an application where nothing else is said.
IMAGENET = 1000


@dataclass(frozen=True)
class Request:
    """What is to be converted, and how. Samples and constants of the preparation lie beside it.

    Args:
        path: The ``.keras`` file, or None for one of ``keras.applications``.
        application: Name in ``keras.applications``, or None.
        weights: A file of weights for an application, or None for random ones.
        outputs: Outputs of an application's head.
        seed: Fixes random weights.
        size: Height, width and channels that an application is built for.
        taps: ``"all"``, ``"last"`` or names of layers.
        own_scale: Whether the preparation says how values are scaled; else it is the model's own way.
        runtimes: ``"onnx"``, ``"tflite"`` or both.
        pooling: ``"mean"`` or ``"mean-max"``.
        cut: Where a tail begins: name of a layer, or a number of blocks. Maps of the samples are then wanted too.
        lists_cuts: Whether the possible cuts are to be listed, and nothing is to be converted.
    """

    path: str | None
    application: str | None
    weights: str | None
    outputs: int
    seed: int
    size: tuple[int, int, int]
    taps: str | Sequence[str]
    own_scale: bool
    runtimes: Sequence[str]
    pooling: str = "mean"
    cut: str | int | None = None
    lists_cuts: bool = False

    def write(self, folder: Path) -> None:
        """Write the request into a folder."""
        (folder / REQUEST).write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Request":
        """Read it."""
        raw: dict[str, Any] = json.loads((folder / REQUEST).read_text("utf-8"))
        return cls(**{**raw, "size": tuple(raw["size"])})


@dataclass(frozen=True)
class Answer:
    """What came of it. Latents, head and exported files lie beside it.

    Args:
        error: Name of the error's class, or None.
        message: The error's message.
        taps: Name and width of each part of the latent; the cut is the last.
        activation: What follows the head in the model: ``"linear"``, ``"softmax"`` or ``"sigmoid"``.
        batch: Batch size that the TFLite file was exported with (`tflite_batch`).
        scaling: How values are scaled before the model, in words.
        tools: Versions of what was used.
        cut: Name of the layer where a tail begins. Maps and the exported files that give them lie beside it.
        cuts: The possible cuts, where they were asked for (`cuts.measure_cuts`).
    """

    error: str | None = None
    message: str = ""
    taps: Sequence[tuple[str, int]] = ()
    activation: str = "linear"
    batch: int = 1
    scaling: str = ""
    tools: dict[str, str] = field(default_factory=dict)
    cut: str = ""
    cuts: Sequence[Mapping[str, Any]] = ()

    def write(self, folder: Path) -> None:
        """Write the answer into a folder."""
        (folder / REPORT).write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Answer":
        """Read it."""
        raw: dict[str, Any] = json.loads((folder / REPORT).read_text("utf-8"))
        return cls(**{**raw, "taps": tuple((name, width) for name, width in raw["taps"])})


def exported(folder: Path, runtime: str, *, mapped: bool = False) -> Path:
    """Return where the exported file of a runtime lies; `mapped` is the one that gives maps, of ONNX features too."""
    return folder / f"{'mapped' if mapped else 'float'}.{runtime}"
