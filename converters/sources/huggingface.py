"""Classifiers of images and of texts from Hugging Face: a folder, the hub, or a configuration alone."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ...extras import require
from ..quiet import quiet
from .load import Known, ModelSource
from .text import TextClassifier
from .zoo import unique_names

_GENERIC = re.compile(r"LABEL_\d+")
_MAX_CONFIG = 2**20


def load_pretrained(name: str) -> ModelSource:
    """Load a classifier with its weights.

    Args:
        name: A folder as ``save_pretrained`` writes it, or a name on the hub. Code that comes with a model is not run.

    Returns:
        The model and its defaults.

    Raises:
        InputError: If there is no such classifier.
    """
    transformers = _transformers(f"hf:{name}")
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
            model = _class(transformers, config).from_pretrained(name, config=config, trust_remote_code=False)
    except InputError:
        raise
    # The hub raises errors of its own where it cannot be reached.
    except Exception as error:
        raise InputError(
            f"expected a classifier of Hugging Face in the folder or under the name {name!r}, found "
            f"{type(error).__name__}: {_first_line(error)}. Without a connection, fetch the model's folder elsewhere "
            f"and name it: hf:FOLDER."
        ) from error
    try:
        from transformers.image_processing_base import ImageProcessingMixin

        with quiet():
            prepares, _ = ImageProcessingMixin.get_image_processor_dict(name)
    # A classifier of texts, and one of images without a description, have none.
    except Exception:
        prepares = {}
    return _source(model, config, prepares, _labels(config))


def load_config(path: Path, seed: int) -> ModelSource:
    """Build an untrained classifier from a configuration.

    Args:
        path: A ``config.json`` with ``model_type`` and, where the type serves several tasks, ``architectures``.
        seed: Fixes its weights.

    Returns:
        The model and its defaults.

    Raises:
        InputError: If it is no such file.
    """
    transformers = _transformers(f"hf-config:{path}")
    if not path.is_file() or path.stat().st_size > _MAX_CONFIG:
        raise InputError(f"expected a configuration (config.json), found none at {path}. Check the path.")
    try:
        told = json.loads(path.read_bytes())
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = transformers.AutoConfig.for_model(told.pop("model_type"), **told)
            model = _class(transformers, config).from_config(config, trust_remote_code=False)
    except InputError:
        raise
    # A configuration may hold anything.
    except Exception as error:
        raise InputError(
            f"{path.name}: expected a configuration of a classifier, found {type(error).__name__}: "
            f"{_first_line(error)}. Check model_type and architectures."
        ) from error
    return _source(model, config, {}, None)


def _transformers(what: str) -> Any:
    require("transformers", extra="sources", needed_by=what)
    with quiet():
        import transformers

    return transformers


def _class(transformers: Any, config: Any) -> Any:
    """Return the class that makes a model: the one that the configuration names, else the one that fits its type."""
    named = " ".join(getattr(config, "architectures", None) or ())
    images = transformers.AutoModelForImageClassification
    texts = transformers.AutoModelForSequenceClassification
    takes_images, takes_texts = (type(config) in kind._model_mapping for kind in (images, texts))
    if takes_images and (not takes_texts or "ImageClassification" in named):
        return images
    if takes_texts:
        return texts
    raise InputError(
        f"expected a classifier of images or of texts, found the model type {config.model_type!r}. "
        f"Wrap it in a function that returns a module with one input, and name that: file.py:function."
    )


def _source(model: nn.Module, config: Any, prepares: dict[str, Any], classes: tuple[str, ...] | None) -> ModelSource:
    model = model.eval()
    if type(model).__name__.endswith("SequenceClassification"):
        padding = getattr(config, "pad_token_id", None)
        text = TextClassifier(model, int(config.vocab_size), None if padding is None else int(padding))
        return ModelSource(text.eval(), Known(classes=classes), tokens=True)
    size = prepares.get("crop_size") if prepares.get("do_center_crop") else prepares.get("size")
    size = size if size is not None else getattr(config, "image_size", None)
    normalised = prepares.get("do_normalize", bool(prepares.get("image_mean")))
    known = Known(
        _size(size),
        _numbers(prepares.get("image_mean")) if normalised else None,
        _numbers(prepares.get("image_std")) if normalised else None,
        classes,
        ("here frames are resized bilinearly and not cropped.",) if prepares else (),
    )
    return ModelSource(model, known)


def _size(size: Any) -> tuple[int, int] | None:
    if isinstance(size, dict):
        edge = size.get("shortest_edge")
        size = (size.get("height", edge), size.get("width", edge))
    pair = size if isinstance(size, list | tuple) else (size, size)
    if len(pair) != 2 or not all(isinstance(edge, int) and edge > 0 for edge in pair):
        return None
    return int(pair[0]), int(pair[1])


def _labels(config: Any) -> tuple[str, ...] | None:
    told = getattr(config, "id2label", None) or {}
    names = [str(told[i]) for i in sorted(told)]
    return None if all(_GENERIC.fullmatch(name) for name in names) else unique_names(names)


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
