"""Image files: found in folders, and each read when it is asked for, after its header was checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...extras import require
from .fingerprint import Fingerprint, fingerprint, open_file
from .found import UNLABELLED, Found
from .texts import Texts

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
# Pillow's names for pixels of at most 8 bits a channel; wider ones would be cut off without a word.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
_GREY = ("1", "L", "LA")
# What folders of parts are called, where there is one of them that is trained on.
_TRAINED = {"train", "training"}
_PARTS = {*_TRAINED, "val", "valid", "validation", "dev", "test", "testing"}


@dataclass(frozen=True)
class ImageReader:
    """Reads images of files.

    Args:
        root: Folder that all files are below.
        names: Path of each from there, its name in messages.
        channels: 1 or 3.
        most_pixels: Larger ones are refused undecoded.
    """

    root: Path
    names: Sequence[str]
    channels: int
    most_pixels: int

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def read(self, row: int) -> NDArray[np.uint8]:
        """Return an image ``(h, w, c) uint8``."""
        return decode_image(self.root / self.names[row], self.names[row], self.channels, self.most_pixels)

    def fingerprint(self, row: int) -> Fingerprint:
        """Return a hash of the file."""
        return fingerprint(self.root / self.names[row], self.names[row])


def decode_image(source: Path | bytes, name: str, channels: int, most_pixels: int) -> NDArray[np.uint8]:
    """Decode an image, turned as its camera says.

    Args:
        source: A file, or its content.
        name: Its name in messages.
        channels: 1 for grey, 3 for colour, whatever the file has.
        most_pixels: A larger image is refused before any pixel is decoded.

    Returns:
        ``(h, w, channels) uint8``.

    Raises:
        InputError: If it is no image, damaged, too large, or has more than 8 bits a channel.
        MissingExtraError: If Pillow is not installed.
    """
    require("PIL", extra="server", needed_by="reading images")
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with (
            open_file(source, name) if isinstance(source, Path) else BytesIO(source) as file,
            Image.open(file) as image,
        ):
            if image.width * image.height > most_pixels:
                raise InputError(
                    f"{name}: expected an image of at most {most_pixels:,} pixels, found {image.width} x "
                    f"{image.height}. Leave it out, or raise data.most_pixels."
                )
            if image.mode not in _MODES:
                raise InputError(f"{name}: expected 8 bits a channel, found mode {image.mode!r}. Convert it first.")
            upright = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
            return np.array(upright, np.uint8).reshape(upright.height, upright.width, channels)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{name}: expected an image that fits into memory, found that it does not.") from error
    # Pillow's own words name a Python object.
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name}: expected an image, found that it has no format that Pillow knows. Leave it out."
        ) from error
    # Pillow's decoders raise what they like on damaged files, SyntaxError and struct.error among it.
    except Exception as error:
        raise InputError(f"{name}: expected an image, found that {error}. Leave it out.") from error


def find_class_folders(folder: Path, endings: tuple[str, ...], what: str) -> list[tuple[Path, str]]:
    """Find files in a folder: below one folder per class, or, unlabelled, in it.

    Args:
        folder: The folder.
        endings: Endings of the files, lower case; what else lies there is passed over.
        what: What they are, for messages.

    Returns:
        Each file with its class, sorted by path; `UNLABELLED` where there are no folders.

    Raises:
        InputError: If there are none, or if some lie beside the folders of classes.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of {what}, found none at {folder}. Check the path.")
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    own = [entry for entry in entries if _wanted(entry, endings)]
    found: list[tuple[Path, str]] = [(file, UNLABELLED) for file in own]
    for entry in entries:
        if entry.is_dir():
            inside = sorted(file for file in entry.rglob("*") if _wanted(file, endings))
            if inside and own:
                raise InputError(
                    f"{folder}: expected {what} in one folder per class, found {own[0].name} beside them. Move it."
                )
            found += [(file, entry.name) for file in inside]
    if {label.lower() for _, label in found} & _TRAINED and {label.lower() for _, label in found} <= _PARTS:
        names = sorted({label for _, label in found})
        raise InputError(
            f"{folder}: expected one folder of {what} per class, found the parts {', '.join(names)}. Set data.train "
            f"and data.validation to these folders."
        )
    if not found:
        raise InputError(f"expected {what} ({', '.join(endings)}) in {folder}, found none. Check the path.")
    return found


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of a folder's folders: classes, even where they hold no file."""
    return tuple(sorted(e.name for e in folder.iterdir() if e.is_dir() and not e.name.startswith(".")))


def find_image_folder(folder: Path, channels: int | None, most_pixels: int) -> Found:
    """Find the images of a folder: one folder per class, with folders in it if need be.

    Args:
        folder: The folder.
        channels: 1, 3, or None for those of the first image.
        most_pixels: See `decode_image`.

    Raises:
        InputError: As for `find_class_folders`.
    """
    found = find_class_folders(folder, IMAGES, "images")
    labels = [label for _, label in found]
    names = Texts(file.relative_to(folder).as_posix() for file, _ in found)
    classes = class_folders(folder) if labels[0] != UNLABELLED else ()
    reader = ImageReader(folder, names, channels or channels_of(folder, names), most_pixels)
    return Found(reader, (labels,), ("label",), names, None, "image", f"{len(names)} images in {folder}", classes)


def channels_of(root: Path, names: Sequence[str]) -> int:
    """Return 1 if the first image that can be read is grey, else 3."""
    require("PIL", extra="server", needed_by="reading images")
    from PIL import Image

    for name in names[:100]:
        try:
            with Image.open(root / name) as image:
                return 1 if image.mode in _GREY else 3
        # Which files cannot be read is told by validation, all at once.
        except Exception:  # noqa: S112
            continue
    raise InputError(f"{names[0]}: expected an image, found that neither it nor the next ones can be read.")


def _wanted(entry: Path, endings: tuple[str, ...]) -> bool:
    # A pipe has no end: only files are read.
    return entry.suffix.lower() in endings and not entry.name.startswith(".") and entry.is_file()
