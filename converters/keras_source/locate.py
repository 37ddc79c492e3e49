"""Which Keras model is meant: a file, an application by name, or a model of this process."""

import os
import re
from pathlib import Path
from typing import Protocol

from ...errors import CutError, InputError
from .archive import check_archive

_WEIGHTS = (".h5", ".hdf5", ".keras")
RANDOM = "random"


def is_keras(source: str) -> bool:
    """Whether the name of a source means a Keras model."""
    return source.startswith("keras:") or source.endswith(".keras")


class KerasModel(Protocol):
    """A Keras model in this process."""

    def save(self, path: str) -> None:
        """Write it into a ``.keras`` file."""


def locate(
    model: str | os.PathLike[str] | KerasModel, weights: str | os.PathLike[str] | None, folder: Path
) -> tuple[Path | None, str | None]:
    """Return the file to load, or the application to build.

    Args:
        model: As for `convert_keras`.
        weights: Likewise.
        folder: Where a model of this process is saved.

    Raises:
        InputError: If it is none of these, or the weights do not belong to it.
        CutError: If it is no model, or its file holds code.
    """
    text = os.fspath(model) if isinstance(model, str | os.PathLike) else ""
    if text.startswith("keras:"):
        return None, _application(text.removeprefix("keras:"), weights)
    if weights is not None:
        raise InputError("expected weights only for keras:NAME, found them for a whole model. Leave weights out.")
    if not isinstance(model, str | os.PathLike):
        if not callable(getattr(model, "save", None)):
            raise CutError(f"expected a Keras model, found {type(model).__name__}. Pass the model itself or its file.")
        file = folder / "model.keras"
        model.save(str(file))
    else:
        file = Path(text)
        if file.suffix.lower() != ".keras":
            raise InputError(
                f"expected keras:NAME or a .keras file, found {text!r}. Save the model with model.save('model.keras')."
            )
    check_archive(file)
    return file, None


def _application(name: str, weights: str | os.PathLike[str] | None) -> str:
    name, _, wanted = name.partition("@")
    if not re.fullmatch(r"[A-Za-z]\w{0,60}", name, re.ASCII):
        raise InputError(f"expected keras:NAME with a name of keras.applications, found {name!r}.")
    if wanted not in ("", RANDOM) or bool(wanted) == (weights is not None):
        raise InputError(
            f"expected weights for keras:{name} from a file, or keras:{name}@random for none, found "
            f"{'both' if wanted and weights is not None else repr(wanted) if wanted else 'neither'}. For those of "
            f"ImageNet: python -c \"import keras; keras.applications.{name}().save('model.keras')\", then convert that."
        )
    if weights is not None:
        file = Path(weights)
        if not file.is_file() or file.suffix.lower() not in _WEIGHTS:
            found = "another kind" if file.is_file() else "no file"
            raise InputError(f"expected weights in a .h5 or .keras file, found {found} at {file}. Check the path.")
        if file.suffix.lower() == ".keras":
            check_archive(file)
    return name
