"""The arrays of source statistics, as they lie in a bundle: names, types, shapes."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from .errors import BundleFormatError
from .manifest import Task
from .tensors import Arrays, Spec

# Names stand in the header of a safetensors file; one of this many bytes holds hundreds of arrays.
_HEADER = 2**16


def source_spec(content: bytes, task: Task, k: int, d: int, *, with_head: bool) -> Spec:
    """Return the arrays of source statistics, for `unpack`; see `acclimate.bundle.Bundle.source`.

    Args:
        content: The member, which says what it holds of what is optional.
        task: The task of the bundle.
        k: Number of classes, or of targets.
        d: Number of dimensions of the latent.
        with_head: Whether a head is shipped beside them.

    Returns:
        Name to dtype and shape.
    """
    header = content[:_HEADER]
    spec: dict[str, tuple[str, tuple[int, ...]]] = {"count": ("f8", (k,)), "sum": ("f8", (k, d))}
    if task == "regression":
        spec = {"count": ("f8", (1,)), "sum": ("f8", (1, d)), "target": ("f8", (k,))}
        spec |= {"square": ("f8", (k,)), "cross": ("f8", (k, d))}
    if b'"moment"' in header:
        spec["moment"] = ("f8", (d * (d + 1) // 2,))
    else:
        spec |= {"factor": ("f4", (-1, d)), "diagonal": ("f8", (d,))}
    if b'"fisher"' in header and with_head and task == "classification":
        spec["fisher"] = ("f4", (k, d + 1))
    return spec


def check_source(arrays: Arrays, where: str) -> None:
    """Check what types and shapes do not say.

    Raises:
        BundleFormatError: If the Fisher information is below 0 somewhere.
    """
    if "fisher" not in arrays:
        return
    fisher = cast(NDArray[np.float32], arrays["fisher"])
    if (fisher < 0).any():
        raise BundleFormatError(
            f"{where}: expected Fisher information of at least 0, found {float(fisher.min()):g}. "
            f"Get the file again from where it came from."
        )
