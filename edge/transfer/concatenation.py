"""Concatenated fusion: the latents of several modalities of one sample side by side, standardised each.

One head can then weigh every dimension; it needs samples that have all modalities (else see `late_fusion`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...record import record
from .checks import check_numbers

Float64 = NDArray[np.float64]


@record(eq=False)
class Concatenation:
    """Latents of several modalities, standardised each by its own training samples, side by side.

    Args:
        mean: Of each modality ``(d,)``.
        scale: Of each modality ``(d,)``: what is divided by.
    """

    mean: tuple[Float64, ...]
    scale: tuple[Float64, ...]

    @classmethod
    def fit(cls, parts: Sequence[NDArray[np.floating]], *, balance: bool = False) -> "Concatenation":
        """Take mean and standard deviation of each dimension.

        Args:
            parts: Of each modality ``(n, d)``, the same samples in the same order.
            balance: Divide each modality by the root of its width as well, so that one with many dimensions does not
                outweigh one with few in distances and penalties.

        Returns:
            The concatenation. A dimension that never changes is centred and not divided.

        Raises:
            InputError: If a part has no rows, others than the first, something that is not finite, or values so great
                that their variance is not.
        """
        found = _parts(parts)
        mean, scale = [], []
        for x in found:
            with np.errstate(over="ignore", invalid="ignore"):
                spread = x.std(axis=0)
            if not np.isfinite(spread).all():
                raise InputError(
                    f"expected latents of finite variance, found values up to {np.abs(x).max():.3g}. Scale them down."
                )
            # Rounding makes a spread of what never changes.
            constant = spread <= 1e-12 * np.maximum(1.0, np.abs(x).max(axis=0))
            mean.append(x.mean(axis=0))
            scale.append(np.where(constant, 1.0, spread) * (np.sqrt(x.shape[1]) if balance else 1.0))
        return cls(tuple(mean), tuple(scale))

    def apply(self, parts: Sequence[NDArray[np.floating]]) -> Float64:
        """Return ``(n, sum of d)`` of the modalities of `fit`, in their order.

        Raises:
            InputError: If number, widths or rows of the parts differ from what was fitted, or something is not finite,
                as it is or standardised.
        """
        found = _parts(parts)
        widths, wanted = [x.shape[1] for x in found], [len(mean) for mean in self.mean]
        if widths != wanted:
            raise InputError(f"expected modalities of widths {wanted}, found {widths}. Give them as they were fitted.")
        with np.errstate(over="ignore"):
            pieces = [(x - m) / s for x, m, s in zip(found, self.mean, self.scale, strict=True)]
        joined = np.concatenate(pieces, axis=1)
        if not np.isfinite(joined).all():
            raise InputError("expected latents of the size of those fitted, found some that overflow. Check the model.")
        return joined


def _parts(parts: Sequence[NDArray[np.floating]]) -> list[Float64]:
    found = [check_numbers(part, "latents") for part in parts]
    if not found or any(x.ndim != 2 or x.shape != (len(found[0]), x.shape[1]) or not x.size for x in found):
        raise InputError(
            f"expected one modality or more, each (n, d) with the same rows, found {[x.shape for x in found]}. A "
            f"sample that lacks one cannot be concatenated: use late fusion."
        )
    if not all(np.isfinite(x).all() for x in found):
        raise InputError("expected finite latents in every modality, found NaN or infinity. Leave these samples out.")
    return found
