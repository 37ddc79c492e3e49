"""Read frames and labels from files: NumPy arrays, or images in one folder per class."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..numpy_files import open_npz, read_npy
from .images import IMAGES, find_images, read_images

Labels = list[str] | None


def read_frames(
    path: Path, channels: int | None = None, wanted: tuple[int, ...] | None = None
) -> tuple[NDArray[np.generic], Labels, list[str]]:
    """Read frames from a file or folder.

    Args:
        path: A `.npy` file (frames), a `.npz` file (`x` with frames and, optionally, `y` with labels), an image, or a
            folder: of images, or of one folder of images per class.
        channels: Number of channels to read images with (1 or 3); by default as they are.
        wanted: Shape that images must have, checked before any of them is decoded; by default that of the first.

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
    if path.is_dir():
        found = find_images(path)
        images = read_images(found.files, path, channels, wanted)
        return images, None if found.labels is None else list(found.labels), found.names
    if not path.is_file() or path.suffix.lower() not in IMAGES:
        raise InputError(
            f"expected .npy, .npz or an image ({', '.join(IMAGES)}), found {path.name}. Write frames with numpy.save."
        )
    return read_images([path], path.parent, channels, wanted), None, [path.name]


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
    return _numbers(read_npy(path), n, f"{path.name}: expected numbers")


def _numbers(found: NDArray[Any], n: int, wanted: str) -> NDArray[np.float64]:
    if found.dtype.kind not in "iuf" or found.shape[:1] != (n,):
        raise InputError(f"{wanted} for {n} frames, found {found.dtype} {found.shape}. Give each frame its own.")
    return found.astype(np.float64)


def _load(path: Path) -> tuple[NDArray[np.generic], NDArray[Any] | None]:
    if path.suffix.lower() == ".npy":
        return _batch(read_npy(path), path), None
    with open_npz(path, ("x", "y")) as loaded:
        if "x" not in loaded:
            raise InputError(
                f"{path.name}: expected an array 'x' with frames, found {sorted(loaded)}. Write it with "
                f"numpy.savez(path, x=frames, y=labels)."
            )
        return _batch(loaded["x"], path), loaded.get("y")


def _arrays(path: Path) -> tuple[NDArray[np.generic], Labels]:
    frames, labels = _load(path)
    if labels is None:
        return frames, None
    if labels.shape != (len(frames),):
        raise InputError(f"{path.name}: expected 'y' with {len(frames)} labels, found shape {labels.shape}.")
    from ..edge.checks import DECODE, holds_bytes

    if holds_bytes(labels):
        raise InputError(f"{path.name}: expected 'y' as texts or whole numbers, found bytes. {DECODE}")
    if labels.dtype.kind not in "iuU":
        raise InputError(
            f"{path.name}: expected 'y' as texts or whole numbers, found {labels.dtype}. Name the classes."
        )
    return frames, [str(label) for label in labels.tolist()]


def _batch(frames: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    if frames.ndim < 2:
        raise InputError(
            f"{path.name}: expected frames with the samples along the first axis, found {frames.shape}. Of a single "
            f"one, save frame[None]."
        )
    if not frames.size:
        raise InputError(
            f"{path.name}: expected at least one frame, found none: shape {frames.shape}. Look at what wrote the file."
        )
    return frames
