"""Where a model comes from: one text names it, and what its origin knows of its input becomes defaults.

====================================  ==================================================================================
``torchvision:NAME@WEIGHTS``          ``@DEFAULT`` or a name of weights downloads them, ``@random`` leaves it untrained
``timm:NAME@WEIGHTS``                 ``@DEFAULT`` downloads the weights of that name, ``@random`` leaves it untrained
``hf:FOLDER_OR_NAME``                 Hugging Face: a classifier of images or of texts, from a folder or the hub
``hf-config:FILE.json``               the same from a configuration alone, untrained
``package.module:function``           a function that returns the model
``file.py:function``                  likewise
``file.onnx``                         an ONNX file of any origin
``keras:NAME@random``, ``file.keras``  a Keras model: `acclimate.converters.convert_keras`, not `load_source`
====================================  ==================================================================================

For torchvision and timm, weights may come from a local file instead of ``@WEIGHTS``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ...errors import InputError
from ..onnx_source.file import OnnxFile

KINDS = (
    "torchvision:NAME, timm:NAME, hf:FOLDER_OR_NAME, hf-config:FILE.json, keras:NAME, file.onnx, file.keras, "
    "package.module:function or file.py:function"
)


@dataclass(frozen=True)
class Known:
    """What the origin of a model knows of its input and outputs.

    Args:
        size: Height and width that the model was trained on, or None.
        mean: Mean per channel of its normalisation, with pixel values in 0 to 1, or None.
        std: Standard deviation, likewise.
        classes: Names of its outputs in their order, or None.
        notes: What differs from how the origin prepares its input, in words.
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ModelSource:
    """A model and what its origin knows of it.

    Args:
        model: The model: a torch module in evaluation mode, or an ONNX file.
        known: What the origin knows.
        tokens: Whether a sample is a row of token ids, int32 (`acclimate.converters.samples.as_ids`).
    """

    model: nn.Module | OnnxFile
    known: Known = field(default_factory=Known)
    tokens: bool = False

    def options(
        self,
        samples: NDArray[Any],
        *,
        resize: tuple[int, int] | None = None,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        classes: Sequence[str] | None = None,
        keeps_head: bool = True,
    ) -> dict[str, Any]:
        """Return the arguments of `convert` that follow from the origin where none were given.

        Args:
            samples: The calibration data; frames are resized only if they have another size.
            resize: What was asked for, or None.
            mean: Likewise.
            std: Likewise.
            classes: Likewise.
            keeps_head: Whether the model's own head is kept: names of its outputs mean nothing for another.

        Returns:
            ``resize``, ``mean``, ``std`` and ``classes``.
        """
        known = self.known
        if samples.ndim != 4 or samples.dtype != np.uint8:
            known = Known(classes=known.classes)
        if resize is None and known.size is not None and tuple(samples.shape[1:3]) != known.size:
            resize = known.size
        return {
            "resize": resize,
            "mean": mean if mean is not None else known.mean if known.mean is not None else 0.0,
            "std": std if std is not None else known.std if known.std is not None else 1.0,
            "classes": classes if classes is not None else known.classes if keeps_head else None,
        }


def load_source(source: str, *, weights: Path | None = None, seed: int = 0) -> ModelSource:
    """Load the model that a text names.

    Args:
        source: The text, as the module describes it.
        weights: For torchvision and timm, a ``.safetensors``, ``.pth`` or ``.pt`` file with the model's weights. Files
            of PyTorch are read without running what they hold.
        seed: Fixes the weights of an untrained model.

    Returns:
        The model and its defaults.

    Raises:
        InputError: If the text names nothing, or the weights do not fit.
        MissingExtraError: If the package of the model is not installed.
        ConversionError: If an ONNX file is no such file, or unsafe.
        CutError: If a function returns something else than a module.
    """
    kind, _, rest = source.partition(":")
    if kind in ("torchvision", "timm"):
        from .zoo import load_timm, load_torchvision

        return (load_timm if kind == "timm" else load_torchvision)(rest, weights, seed)
    if weights is not None:
        raise InputError(
            f"expected --weights only for torchvision:NAME and timm:NAME, found it with {source!r}. "
            f"Load the weights in the function, or leave --weights out."
        )
    if kind in ("hf", "hf-config"):
        from .huggingface import load_config, load_pretrained

        return load_config(Path(rest), seed) if kind == "hf-config" else load_pretrained(rest)
    if source.lower().endswith(".onnx"):
        from ..onnx_source.file import read_onnx

        return ModelSource(read_onnx(Path(source)))
    if Path(source).suffix.lower() in (".tflite", ".keras", ".h5", ".pb", ".pt", ".pth", ".safetensors"):
        raise InputError(
            f"expected {KINDS}, found {source!r}: such a file cannot be split by itself. "
            f"Name a function that builds the model and loads it."
        )
    if ":" not in source:
        from .absent import absent_path

        raise InputError(f"expected the folder of a run, {KINDS}, found {source!r:.400}: {absent_path(source)}")
    from .python import load_function

    return ModelSource(load_function(source))
