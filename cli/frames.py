"""Read frames and labels from files: NumPy arrays, or images in one folder per class."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingExtraError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
Labels = list[str] | None
# Pillow's names for pixels of at most 8 bits a channel; wider ones would be cut off without a word.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")


def read_frames(path: Path, channels: int | None = None) -> tuple[NDArray[np.generic], Labels, list[str]]:
    """Read frames from a file or folder.

    Args:
        path: A `.npy` file (frames), a `.npz` file (`x` with frames and, optionally, `y` with labels), an image, or a
            folder: of images, or of one folder of images per class.
        channels: Number of channels to read images with (1 or 3); by default as they are.

    Returns:
        Frames ``(n, ...)``, labels or None, and a name for each frame.

    Raises:
        InputError: If there is nothing to read, or if it cannot be read.
        MissingExtraError: If an image is to be read and Pillow is not installed.
    """
    if not path.exists():
        raise InputError(f"expected a file or folder of frames, found nothing at {path}. Check the path.")
    if path.is_file() and path.suffix.lower() in (".npy", ".npz"):
        frames, labels = _arrays(path)
        return frames, labels, [f"{path.name}[{i}]" for i in range(len(frames))]
    if path.is_file():
        if path.suffix.lower() not in IMAGES:
            raise InputError(
                f"expected .npy, .npz or an image ({', '.join(IMAGES)}), found {path.name}. Write frames with "
                f"numpy.save."
            )
        return _images([path], channels), None, [path.name]
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if folders:
        if _in(path):
            raise InputError(
                f"{path}: expected images in one folder per class, found {_in(path)[0].name} beside them. Move it."
            )
        files = [file for folder in folders for file in _in(folder)]
        return _images(files, channels), [file.parent.name for file in files], [_under(file, path) for file in files]
    files = _in(path)
    return _images(files, channels), None, [file.name for file in files]


def read_values(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64] | None]:
    """Read frames and the numbers that they are labelled with.

    Args:
        path: A `.npy` file (frames), or a `.npz` file (`x` with frames and, optionally, `y` with ``(n,)`` or ``(n, t)``
            numbers).

    Returns:
        Frames ``(n, ...)``, and the numbers or None.

    Raises:
        InputError: If there is nothing to read, or if it cannot be read.
    """
    if not path.is_file() or path.suffix.lower() not in (".npy", ".npz"):
        raise InputError(f"expected a .npy or .npz file for regression, found {path}. Write x and y with numpy.savez.")
    frames, values = _load(path)
    return frames, None if values is None else _numbers(values, len(frames), f"{path.name}: expected 'y' with numbers")


def read_targets(path: Path, n: int) -> NDArray[np.float64]:
    """Read the numbers that frames of another file are labelled with.

    Args:
        path: A `.npy` file with ``(n,)`` or ``(n, t)`` numbers, NaN for a frame without.
        n: Number of frames.

    Returns:
        The numbers.

    Raises:
        InputError: If there is nothing to read, or if it cannot be read.
    """
    if not path.is_file() or path.suffix.lower() != ".npy":
        raise InputError(f"expected a .npy file of targets, found {path}. Write it with numpy.save.")
    with _reading(path):
        return _numbers(np.load(path, allow_pickle=False), n, f"{path.name}: expected numbers")


def _in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGES)


def _under(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _numbers(found: NDArray[Any], n: int, wanted: str) -> NDArray[np.float64]:
    if found.dtype.kind not in "iuf" or found.shape[:1] != (n,):
        raise InputError(f"{wanted} for {n} frames, found {found.dtype} {found.shape}. Give each frame its own.")
    return found.astype(np.float64)


def _load(path: Path) -> tuple[NDArray[np.generic], NDArray[Any] | None]:
    with _reading(path):
        loaded = np.load(path, allow_pickle=False)
        if path.suffix.lower() == ".npy":
            return _batch(loaded, path), None
        with loaded:
            if "x" not in loaded:
                raise InputError(f"{path.name}: expected an array 'x' with frames, found {sorted(loaded)}.")
            frames = _batch(loaded["x"], path)
            return frames, loaded.get("y")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        if isinstance(error, InputError):
            raise
        # What NumPy advises, to allow pickles, would run whatever code the file holds.
        raise InputError(
            f"{path.name}: expected a NumPy file without pickled objects, found that it is none, or damaged "
            f"({type(error).__name__}). Write it with numpy.save or numpy.savez from plain arrays."
        ) from error


def _arrays(path: Path) -> tuple[NDArray[np.generic], Labels]:
    frames, labels = _load(path)
    if labels is None:
        return frames, None
    if labels.shape != (len(frames),):
        raise InputError(f"{path.name}: expected 'y' with {len(frames)} labels, found shape {labels.shape}.")
    if labels.dtype.kind not in "iuU":
        raise InputError(
            f"{path.name}: expected 'y' as texts or whole numbers, found {labels.dtype}. Name the classes."
        )
    return frames, [str(label) for label in labels.tolist()]


def _batch(frames: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    if frames.ndim < 2:
        raise InputError(f"{path.name}: expected frames with the samples along the first axis, found {frames.shape}.")
    return frames


def _images(files: list[Path], channels: int | None) -> NDArray[np.generic]:
    if not files:
        raise InputError(
            f"expected .npy, .npz or images ({', '.join(IMAGES)}) in the folder, found none. Check the path."
        )
    if find_spec("PIL") is None:
        raise MissingExtraError(
            "reading images needs 'PIL', which is not installed. Install it with: pip install pillow"
        )
    from PIL import Image, UnidentifiedImageError

    frames: list[NDArray[np.uint8]] = []
    for file in files:
        try:
            with Image.open(file) as image:
                if image.mode not in _MODES:
                    raise InputError(
                        f"{file.name}: expected 8 bits a channel, found mode {image.mode!r}. Convert it first."
                    )
                grey = image.mode in ("1", "L", "LA") if channels is None else channels == 1
                pixels = np.asarray(image.convert("L" if grey else "RGB"), np.uint8)
        except InputError:
            raise
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{file.name}: expected an image, found that {error}. Leave it out.") from error
        frames.append(pixels[..., np.newaxis] if grey else pixels)
        if frames[-1].shape != frames[0].shape:
            raise InputError(
                f"{file.name}: expected images of one size, found {frames[-1].shape} after {frames[0].shape}. "
                f"Crop or resize them alike."
            )
    return np.stack(frames)
