"""The model that SOURCE names, for the commands that convert: by name, from a file, or what `pretrain` left."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..converters.sources.load import ModelSource
    from ..server.trained import Trained

SOURCES = (
    "The folder of a run of 'acclimate pretrain' or of its checkpoint, torchvision:NAME@DEFAULT, timm:NAME@DEFAULT, "
    "hf:FOLDER_OR_NAME, hf-config:FILE.json, file.onnx, file.keras, keras:NAME, package.module:function or "
    "file.py:function."
)
Code: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--code",
        help="Function that builds the network of a checkpoint, file.py:function, if one does: what only the "
        "checkpoint names is not run.",
    ),
]


def is_trained(source: str) -> bool:
    """Return whether a source is a folder that 'acclimate pretrain' may have written."""
    return Path(source).is_dir()


def keras_file(source: str) -> str | None:
    """Return the file of the model where a source is the folder of a run of a Keras model, or of its checkpoint."""
    for folder in (Path(source), Path(source, "model")):
        if (folder / "checkpoint.json").is_file() and (folder / "model.keras").is_file():
            return str(folder / "model.keras")
    return None


def load_named(source: str, *, weights: Path | None = None, code: str | None = None) -> "ModelSource | Trained":
    """Load the model that a source names.

    Args:
        source: As the help of the commands lists them.
        weights: For torchvision and timm, a file with the weights.
        code: For a checkpoint, the function that builds its network.

    Raises:
        InputError: If it names nothing, or an option is for another kind of source.
        TrainingError: If it is a checkpoint that is damaged.
    """
    check_code(source, code)
    if not is_trained(source):
        from ..converters.sources.load import load_source

        return load_source(source, weights=weights)
    if weights is not None:
        raise InputError(
            f"expected --weights only for torchvision:NAME and timm:NAME, found it with {source!r}, which has its own. "
            f"Leave --weights out."
        )
    from ..server.trained import load_trained

    return load_trained(source, code=code)


def check_code(source: str, code: str | None) -> None:
    """Refuse `--code` where no checkpoint is loaded.

    Raises:
        InputError: If there is one.
    """
    if code is not None and not is_trained(source):
        raise InputError(
            f"expected --code only with the folder of a run or of its checkpoint, found it with {source!r}. Leave "
            f"--code out, or check the path."
        )
