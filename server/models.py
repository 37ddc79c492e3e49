"""Build the model that settings name, with an output per class, and build it again for a checkpoint."""

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..converters.quiet import quiet
from ..converters.sources.load import load_source
from ..errors import InputError, TrainingError
from ..extras import require
from .checkpoint import Json, load_checkpoint, read_record
from .compress.hold_ranges import hold_noted
from .compress.narrowed import narrowed
from .config.model import ModelSettings
from .data.draws import drawn_from
from .hf_bounds import check_config
from .keras.asked import saved_model
from .model_ends import fit_ends
from .model_folder import model_folder, require_model_folder
from .own_code import own_code

_KIND = "acclimate-model"
_LIBRARIES = ("torchvision", "timm")
# Of classes, and of samples in one dimension: a checkpoint from elsewhere may ask for anything.
_MOST = 2**16
# Of one sample.
_MOST_VALUES = 2**28


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
        classes: Classes of the data: a last layer with another number of outputs is replaced by a new one. 0 for data
            without any: the layer stays.
        shape: Shape of one sample. The first convolution of a model for colour images is fitted to grey ones.

    Returns:
        The model: takes ``(b, *shape) float32``, returns logits ``(b, classes)``; in evaluation mode.

    Raises:
        InputError: If there is no such model, or it does not take such samples.
        TrainingError: If a checkpoint is damaged.
        MissingExtraError: If the model's package is not installed.
    """
    return fit_ends(first_model(settings), classes, tuple(shape), head=settings.head, seed=settings.seed)


def first_model(settings: ModelSettings) -> nn.Module:
    """Return the model that settings name as it is there, its ends not fitted to any data.

    Args:
        settings: As for `build_model`, which tells the errors, too.
    """
    if (folder := model_folder(settings.name)) is not None:
        model = load_model(folder, code=settings.code, ranges=False)
    elif settings.name.endswith(".onnx"):
        raise InputError(f"expected a model that can be trained, found {settings.name!r}. Name what it was made from.")
    else:
        model = _load(settings)
    return model.requires_grad_(True)


def architecture_of(settings: ModelSettings, classes: int, shape: Sequence[int]) -> str:
    """Return a text from which `load_model` builds the same network, for `save_checkpoint`.

    It says nothing of weights: nothing is downloaded when the network is built again, and a model of Hugging Face
    brings its configuration along.

    Args:
        settings: As for `build_model`.
        classes: Likewise.
        shape: Likewise.
    """
    if (folder := model_folder(settings.name)) is not None:
        architecture = read_record(folder).architecture
        # Of a network that was handed over, only the function that the settings name tells how to build it.
        known = (
            {"kind": _KIND, "name": settings.code, "config": None, "heads": []}
            if _is_handed_over(architecture)
            else _described(architecture, folder)
        )
        if settings.code is not None and _is_own(known):
            # It may have moved since.
            known = {**known, "name": settings.code}
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


def load_model(path: str | Path, *, code: str | None = None, ranges: bool = True) -> nn.Module:
    """Load a model from a checkpoint that `pretrain` wrote.

    Args:
        path: Its folder, or that of its run.
        code: The function that builds the network, ``file.py:function``: of a function that settings named, that one,
            wherever its file lies now; of a network that was handed to `pretrain`, any that builds the same. The
            checkpoint may name it, too; what only a file from elsewhere names is not run.
        ranges: Whether it holds the ranges of activations that were trained with it, for the converters to keep. They
            are no longer right once its weights change.

    Returns:
        The model with its weights, in evaluation mode.

    Raises:
        InputError: If there is no checkpoint, or the network cannot be built here.
        TrainingError: If it is no such checkpoint, is damaged, or of another network.
    """
    folder = require_model_folder(path)
    if saved_model(folder) is not None:
        raise InputError(
            f"expected a checkpoint of a torch model in {path}, found one of a Keras model, which TensorFlow loads. "
            f"Name it as SOURCE of acclimate convert, or as model.name to train on it."
        )
    architecture = read_record(folder).architecture
    if _is_handed_over(architecture):
        if code is None:
            raise TrainingError(_how_to_load(architecture, path))
        model = _load(ModelSettings(name=code))
    else:
        model = _built(_described(architecture, folder), folder, path, code)
    noted = load_checkpoint(folder, model, architecture=architecture).notes
    if ranges:
        hold_noted(model, noted, folder)
    return model.eval()


def _built(known: Mapping[str, Any], folder: Path, path: str | Path, code: str | None) -> nn.Module:
    """Build the network that settings named, untrained."""
    if known["config"] is None:
        name = own_code(known["name"], code, path) if _is_own(known) else known["name"]
        model = _load(ModelSettings(name=name))
    else:
        check_config(known["config"], folder)
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary, "config.json")
            file.write_text(json.dumps(known["config"]))
            model = _load(ModelSettings(name=f"hf-config:{file}"))
    for one in known["heads"]:
        if isinstance(one, Mapping):
            model = narrowed(model, one)
        else:
            classes, shape, head = one
            model = fit_ends(model, classes, tuple(shape), head=head)
    return model


def _is_own(known: Mapping[str, Any]) -> bool:
    """Whether a function of the user's builds the network."""
    library, _, rest = known["name"].partition(":")
    return known["config"] is None and not (library in _LIBRARIES and rest.endswith("@random"))


def _load(settings: ModelSettings) -> nn.Module:
    weights = None if settings.weights is None else Path(settings.weights)
    # What a function of the user draws, too, follows from the seed.
    with drawn_from(settings.seed):
        found = load_source(settings.name, weights=weights, seed=settings.seed)
    if found.tokens or not isinstance(found.model, nn.Module):
        raise InputError(f"expected a model of images, sounds, series or tables, found {settings.name!r} of texts.")
    is_hf = settings.name.partition(":")[0] in ("hf", "hf-config")
    return HuggingFaceLogits(found.model) if is_hf else found.model


def _is_handed_over(architecture: str) -> bool:
    """Whether a network was given to `pretrain` as it is: its text is a name, where settings leave a description."""
    return not architecture.lstrip().startswith(("{", "["))


def _how_to_load(architecture: str, path: str | Path) -> str:
    return (
        f"expected a checkpoint of a model that settings named in {path}, found one of a network that was handed over, "
        f"known as {architecture[:80]!r} alone. Name a function that builds the same network (model.code in settings, "
        f"--code file.py:function, or load_model(..., code='file.py:function')), or build it and fill it: "
        f"load_checkpoint({str(path)!r}, network, architecture={architecture[:80]!r})."
    )


def _described(architecture: str, path: Path) -> dict[str, Any]:
    """Read what `architecture_of` wrote: a checkpoint is a file from elsewhere."""
    try:
        known = json.loads(architecture)
        given = known["heads"] if known["kind"] == _KIND else ()
        heads = [one if isinstance(one, dict) else _head(*one) for one in given]
        name, config = known["name"], known["config"]
    except (ValueError, TypeError, KeyError, RecursionError):
        heads, name, config = [], None, None
    sizes = [size for one in heads if not isinstance(one, dict) for size in one[1]]
    classes = [one[0] for one in heads if not isinstance(one, dict)]
    fits = all(0 < size <= _MOST for size in sizes) and all(0 <= count <= _MOST for count in classes)
    fits = fits and all(math.prod(one[1]) <= _MOST_VALUES for one in heads if not isinstance(one, dict))
    if not heads or not isinstance(name, str) or not fits:
        raise TrainingError(
            f"expected a checkpoint of a model that settings named in {path}, found one that tells of it as "
            f"{architecture[:80]!r}. Copy the checkpoint again, or train again."
        )
    return {"kind": _KIND, "name": name, "config": config, "heads": heads}


def _head(classes: Any, shape: Any, head: Any) -> tuple[int, list[int], str]:
    return int(classes), [int(size) for size in shape], str(head)


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
