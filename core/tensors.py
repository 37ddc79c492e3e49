"""Named arrays in a bundle, as safetensors, checked against what the format says of them."""

from collections.abc import Mapping

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from .errors import BundleFormatError

Arrays = Mapping[str, NDArray[np.generic]]
Spec = Mapping[str, tuple[str, tuple[int, ...]]]
_ADVICE = "Get the file again from where it came from."


def pack(arrays: Arrays) -> bytes:
    """Return arrays as safetensors bytes."""
    return bytes(safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()}))


def unpack(content: bytes, where: str, spec: Spec) -> dict[str, NDArray[np.generic]]:
    """Read arrays and check that they are the ones expected, finite and of the stated type and shape.

    Args:
        content: safetensors bytes.
        where: Name of the member, for messages.
        spec: Name to dtype and shape; -1 stands for any length of an axis.

    Returns:
        The arrays, in the order of `spec`.

    Raises:
        BundleFormatError: If anything differs.
    """
    try:
        found = safetensors.numpy.load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise BundleFormatError(f"{where}: expected safetensors, found that {error}. {_ADVICE}") from error
    if set(found) != set(spec):
        raise BundleFormatError(f"{where}: expected the arrays {sorted(spec)}, found {sorted(found)}. {_ADVICE}")
    for name, (dtype, shape) in spec.items():
        array = found[name]
        fits = array.ndim == len(shape) and all(w in (-1, h) for w, h in zip(shape, array.shape, strict=True))
        if array.dtype != np.dtype(dtype) or not fits:
            raise BundleFormatError(
                f"{where}: expected {name!r} as {shape} {dtype}, found {array.shape} {array.dtype}. {_ADVICE}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BundleFormatError(f"{where}: expected finite numbers in {name!r}, found others. {_ADVICE}")
    return {name: found[name] for name in spec}
