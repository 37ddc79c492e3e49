"""Build the model that settings name, with an output per class, and build it again for a checkpoint."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..converters.quiet import quiet
from ..converters.sources.load import load_source
from ..errors import InputError, TrainingError
from ..extras import require
from .checkpoint import RECORD_FILE, Json, load_checkpoint, read_record
from .config.model import ModelSettings
from .data.draws import drawn_from
from .model_ends import fit_ends

_KIND = "acclimate-model"
_LIBRARIES = ("torchvision", "timm")
# Of classes, and of samples in one dimension: a checkpoint from elsewhere may ask for anything.
_MOST = 2**16


class HuggingFaceLogits(nn.Module):
    """A classifier of Hugging Face that returns its logits alone.

    Args:
        inner: The classifier.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(b, k)`` of images ``(b, c, h, w)``."""
        logits: Tensor = self.inner(x).logits
        return logits


def build_model(settings: ModelSettings, classes: int, shape: Sequence[int]) -> nn.Module:
    """Build a model for data.

    Args:
        settings: Names the model, and where its first weights come from.
        classes: Classes of the data: a last layer with another number of outputs is replaced by a new one.
        shape: Shape of one sample. The first convolution of a model for colour images is fitted to grey ones.

    Returns:
        The model: takes ``(b, *shape) float32``, returns logits ``(b, classes)``; in evaluation mode.

    Raises:
        InputError: If there is no such model, or it does not take such samples.
        TrainingError: If a checkpoint is damaged.
        MissingExtraError: If the model's package is not installed.
    """
    if _is_checkpoint(settings.name):
        model = load_model(settings.name, code=settings.code)
    elif settings.name.endswith(".onnx"):
        raise InputError(f"expected a model that can be trained, found {settings.name!r}. Name what it was made from.")
    else:
        model = _load(settings)
    model.requires_grad_(True)
    return fit_ends(model, classes, tuple(shape), head=settings.head, seed=settings.seed)


def architecture_of(settings: ModelSettings, classes: int, shape: Sequence[int]) -> str:
    """Return a text from which `load_model` builds the same network, for `save_checkpoint`.

    It says nothing of weights: nothing is downloaded when the network is built again, and a model of Hugging Face
    brings its configuration along.

    Args:
        settings: As for `build_model`.
        classes: Likewise.
        shape: Likewise.
    """
    if _is_checkpoint(settings.name):
        known = _described(read_record(Path(settings.name)).architecture, settings.name)
        layers = [*known["heads"], [classes, list(shape), settings.head]]
        return json.dumps({**known, "heads": layers}, sort_keys=True)
    name, config = settings.name, None
    kind, _, rest = name.partition(":")
    if kind in _LIBRARIES:
        name = f"{kind}:{rest.partition('@')[0]}@random"
    elif kind in ("hf", "hf-config"):
        name, config = "hf-config", _hf_config(kind, rest)
    heads = [[classes, list(shape), settings.head]]
    return json.dumps({"kind": _KIND, "name": name, "config": config, "heads": heads}, sort_keys=True)


def load_model(path: str | Path, *, code: str | None = None) -> nn.Module:
    """Load a model from a checkpoint whose architecture is from `architecture_of`.

    Args:
        path: The folder.
        code: The function that builds the network, if one does. The checkpoint names it, too; what only a file from
            elsewhere names is not run.

    Returns:
        The model with its weights, in evaluation mode.

    Raises:
        InputError: If the network cannot be built here.
        TrainingError: If it is no such checkpoint, or is damaged.
    """
    architecture = read_record(Path(path)).architecture
    known = _described(architecture, str(path))
    library, _, rest = known["name"].partition(":")
    own_code = known["config"] is None and not (library in _LIBRARIES and rest.endswith("@random"))
    if own_code and known["name"] != code:
        raise TrainingError(
            f"expected a network of a library in {path}, found one that {known['name'][:400]!r} builds. If you "
            f"know that code, set model.code to it."
        )
    if known["config"] is None:
        model = _load(ModelSettings(name=known["name"]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "config.json")
            file.write_text(json.dumps(known["config"]))
            model = _load(ModelSettings(name=f"hf-config:{file}"))
    for classes, shape, head in known["heads"]:
        model = fit_ends(model, classes, tuple(shape), head=head)
    load_checkpoint(path, model, architecture=architecture)
    return model.eval()


def _load(settings: ModelSettings) -> nn.Module:
    weights = None if settings.weights is None else Path(settings.weights)
    # What a function of the user draws, too, follows from the seed.
    with drawn_from(settings.seed):
        found = load_source(settings.name, weights=weights, seed=settings.seed)
    if found.tokens or not isinstance(found.model, nn.Module):
        raise InputError(f"expected a model of images, sounds, series or tables, found {settings.name!r} of texts.")
    is_hf = settings.name.partition(":")[0] in ("hf", "hf-config")
    return HuggingFaceLogits(found.model) if is_hf else found.model


def _is_checkpoint(name: str) -> bool:
    return Path(name, RECORD_FILE).is_file()


def _described(architecture: str, path: str) -> dict[str, Any]:
    """Read what `architecture_of` wrote: a checkpoint is a file from elsewhere."""
    try:
        known = json.loads(architecture)
        given = known["heads"] if known["kind"] == _KIND else ()
        heads = [(int(classes), [int(size) for size in shape], str(head)) for classes, shape, head in given]
        name, config = known["name"], known["config"]
    except (ValueError, TypeError, KeyError, RecursionError):
        heads, name, config = [], None, None
    sizes = [classes for classes, _, _ in heads] + [size for _, shape, _ in heads for size in shape]
    if not heads or not isinstance(name, str) or not all(0 < size <= _MOST for size in sizes):
        raise TrainingError(
            f"expected a checkpoint of a model that settings named in {path}, found one of {architecture[:80]!r}. "
            f"Build that network in a function, load the checkpoint there, and name module:function."
        )
    return {"kind": _KIND, "name": name, "config": config, "heads": heads}


def _hf_config(kind: str, rest: str) -> Json:
    """Return the configuration of a model of Hugging Face as JSON."""
    if kind == "hf-config":
        found: Json = json.loads(Path(rest).read_bytes())
        return found
    require("transformers", extra="sources", needed_by=f"hf:{rest}")
    with quiet():
        import transformers

        config = transformers.AutoConfig.from_pretrained(rest, trust_remote_code=False)
    told: Json = json.loads(config.to_json_string(use_diff=False))
    return told
