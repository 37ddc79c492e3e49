"""Which Keras model settings name, and what of the settings it can be trained with."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ..model_folder import model_folder
from ..transfer.settings import TransferSettings
from .process import keras_python

if TYPE_CHECKING:
    from ..config.read import PretrainConfig

MODEL_FILE = "model.keras"
_FORMS = "keras:NAME (with @random or @imagenet behind it), keras:module:function, keras:file.py:function, file.keras"
_WEIGHTS = ("random", "imagenet")


def is_keras(name: str) -> bool:
    """Return whether settings name a Keras model: by its kind, as a file, or as the checkpoint of one."""
    return name.startswith("keras:") or name.endswith(".keras") or saved_model(name) is not None


def saved_model(name: str | Path) -> Path | None:
    """Return the Keras file of a run or a checkpoint, or None where that holds none.

    Args:
        name: The folder of a run of a Keras model, or of its checkpoint; or anything else.
    """
    folder = model_folder(name)
    file = None if folder is None else folder / MODEL_FILE
    return file if file is not None and file.is_file() else None


def asked_model(name: str) -> Mapping[str, Any]:
    """Return which model a name means, as TensorFlow's process takes it.

    Args:
        name: For which `is_keras` holds.

    Returns:
        ``file``, ``function``, or ``application`` and ``weights``.

    Raises:
        InputError: If it means none.
    """
    saved = saved_model(name)
    if saved is not None or name.endswith(".keras"):
        path = saved or Path(name.removeprefix("keras:"))
        if not path.is_file():
            raise InputError(f"expected a Keras model, found nothing at {path}. Check the path.")
        return {"file": str(path.absolute())}
    text = name.removeprefix("keras:")
    if ":" in text:
        return {"function": text}
    application, at, weights = text.partition("@")
    if not application.isidentifier() or (at and weights not in _WEIGHTS):
        raise InputError(f"expected {_FORMS} as model.name, found {name!r}.")
    return {"application": application, "weights": weights if weights == "imagenet" else None}


def check_settings(settings: "PretrainConfig") -> None:
    """Refuse what Keras models are not trained with here, before anything is read.

    Raises:
        InputError: The first such setting, by name.
        MissingExtraError: If no Python that could do it has TensorFlow.
    """
    model, training, run, transfer = settings.model, settings.training, settings.run, settings.transfer
    asked, processes = asked_model(model.name), os.environ.get("WORLD_SIZE", "1")
    whole = "Save the model whole, with model.save('model.keras'), and name that file."
    # What was asked for, whether it is refused, and what to do.
    rules = (
        ("model.weights", model.weights, model.weights is not None, whole),
        ("model.head", model.head, model.head != "auto", "Leave it at auto: the last Dense layer is taken."),
        ("model.code", model.code, model.code is not None, "Name it in model.name: keras:file.py:function."),
        ("objective.name", settings.objective.name, settings.objective.name != "supervised", "Set it to supervised."),
        ("training.accumulation", training.accumulation, training.accumulation > 1, "Lower training.batch_size."),
        ("training.precision", training.precision, training.precision == "float16", "Choose bfloat16 or float32."),
        ("[transfer]", transfer, transfer != TransferSettings(), "Leave the section out: Keras models train whole."),
        (
            "training.precision",
            training.precision,
            training.precision != "float32" and "file" in asked,
            "A file holds the types of its layers: choose float32, or build the model in a function.",
        ),
        ("run.sharding", run.sharding, run.sharding != "none", "Set it to none."),
        ("WORLD_SIZE", processes, processes != "1", "Train in one process, without torchrun."),
    )
    for name, value, refused, advice in rules:
        if refused:
            raise InputError(f"expected settings that Keras models take, found {name} = {value!r}. {advice}")
    keras_python()
