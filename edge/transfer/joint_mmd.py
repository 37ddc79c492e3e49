"""The joint maximum mean discrepancy: of several layers' activations of the same samples together.

References:
    Long, Zhu, Wang and Jordan 2017, "Deep transfer learning with joint adaptation networks".
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from .checks import check_domains
from .mmd import Kernel, biased_of, default_kernel, unbiased_of

Float64 = NDArray[np.float64]


def joint_mmd(
    source: Sequence[ArrayLike],
    target: Sequence[ArrayLike],
    kernels: Sequence[Kernel | None] | None = None,
    *,
    estimator: Literal["biased", "unbiased"] = "unbiased",
) -> float:
    """Return the squared joint discrepancy of several layers: the kernel is the product of the layers' kernels.

    Memory and time grow as ``(n + m)²``: unlike `mmd` it uses no random features.

    Args:
        source: Activations of the source's samples: ``(n, d)`` of each layer, d its own.
        target: Activations of the target's samples in the same layers: ``(m, d)`` of each; n and m may differ.
        kernels: Of each layer; None for five Gaussian ones around the median distance.
        estimator: ``"biased"``, that of the samples themselves, or ``"unbiased"``, right on average.

    Returns:
        The estimate. With one layer it is that layer's `mmd`; a constant layer changes nothing where its
        kernel is Gaussian, 1 for rows alike.

    Raises:
        InputError: If the sides differ in the number of layers, the layers of a side in the number of samples, the
            estimator is unknown, or as `check_domains` of each layer.
    """
    if not len(source) or len(source) != len(target) or (kernels is not None and len(kernels) != len(source)):
        raise InputError(
            f"expected the same layers on both sides and a kernel for each, found {len(source)}, {len(target)} and "
            f"{len(source) if kernels is None else len(kernels)}."
        )
    if estimator not in ("biased", "unbiased"):
        raise InputError(f"expected the estimator 'biased' or 'unbiased', found {estimator!r}.")
    xx, yy, xy = None, None, None
    for i, (one, other) in enumerate(zip(source, target, strict=True)):
        rows, others = check_domains(one, other)
        kernel = (None if kernels is None else kernels[i]) or default_kernel(rows, others)
        found = kernel(rows, rows), kernel(others, others), kernel(rows, others)
        if xx is None or yy is None or xy is None:
            xx, yy, xy = found
            continue
        if found[2].shape != xy.shape:
            raise InputError(
                f"expected activations of the same {xy.shape[0]} and {xy.shape[1]} samples in every layer, found "
                f"{found[2].shape[0]} and {found[2].shape[1]} in layer {i}."
            )
        xx *= found[0]
        yy *= found[1]
        xy *= found[2]
    if xx is None or yy is None or xy is None:
        raise AssertionError("there is a layer")
    return (biased_of if estimator == "biased" else unbiased_of)(xx, yy, xy)
