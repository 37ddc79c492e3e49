"""What a conversion tells of a tail."""

from dataclasses import dataclass

from .parity import Parity


@dataclass(frozen=True)
class TailReport:
    """The trainable tail of a bundle.

    Args:
        cut: Name of the cut.
        map_shape: Shape of one map, which a device stores beside the latent, 8 bits a value.
        trained: Number of values that train.
        parity: Maps of the shipped backbone against the original's.
        notes: What a user should know, in words.
        optimiser: What trains it.
        penalty: What holds it at the shipped parameters.
    """

    cut: str
    map_shape: tuple[int, ...]
    trained: int
    parity: Parity
    notes: tuple[str, ...]
    optimiser: str = ""
    penalty: str = ""
