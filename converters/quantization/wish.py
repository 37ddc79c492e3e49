"""What the caller asks of quantization."""

from dataclasses import dataclass
from typing import Literal

from ...errors import InputError
from ..parity import MOST_LOST, QUANTIZED_COSINE
from .calibration import Calibration, check_method

FloatConvolutions = int | Literal["auto", "ladder"]
Quantize = bool | Literal["auto", "weights"]


@dataclass(frozen=True)
class Wish:
    """What the caller asks of quantization.

    Args:
        quantize: ``"auto"`` keeps 8 bits unless they are slower than float on this processor, by more than a tenth, or
            lose too much, and then 8-bit weights or float; True insists on 8 bits, ``"weights"`` on 8-bit weights with
            float activations, False on float.
        calibration: How ranges of activations are found (`find_ranges`).
        float_convolutions: What stays in float: ``"auto"`` for the layers that lose the most, the fewest of them (a
            quarter at most) that keep a centred cosine of .99, or of `least_cosine` if that is more, and the accuracy;
            ``"ladder"`` for the first 0, 3 or 6 convolutions; a number for so many of the first.
        least_cosine: Least mean of the centred cosine between quantized latents and the original's.
        most_lost: Percentage points of accuracy that a fresh head on quantized latents may lose.
        every_layer: Measure what each layer costs even where all can be in 8 bits.
    """

    quantize: Quantize = "auto"
    calibration: Calibration = "minmax"
    float_convolutions: FloatConvolutions = "auto"
    least_cosine: float = QUANTIZED_COSINE
    most_lost: float = MOST_LOST
    every_layer: bool = False


def check_wish(wish: Wish) -> None:
    """Refuse what nothing can fulfil, before any work.

    Raises:
        InputError: If an argument is none of those that are known.
    """
    check_method(wish.calibration)
    if not (isinstance(wish.quantize, bool) or wish.quantize in ("auto", "weights")):
        raise InputError(f"expected quantize 'auto', True, False or 'weights', found {wish.quantize!r}.")
    kept = wish.float_convolutions
    if kept not in ("auto", "ladder") and (isinstance(kept, str | bool) or kept < 0):
        raise InputError(f"expected float_convolutions 'auto', 'ladder' or a number from 0, found {kept!r}.")
    if not -1 <= wish.least_cosine <= 1:
        raise InputError(f"expected a least cosine from -1 to 1, found {wish.least_cosine!r}. 0.9 is usual.")
    if not 0 <= wish.most_lost <= 100:
        raise InputError(f"expected 0 to 100 points of accuracy that may be lost, found {wish.most_lost!r}.")
