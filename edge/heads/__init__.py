"""Heads: linear classifiers on latents, one file each behind one protocol."""

from .lda import LDA
from .problem import ABSENT, Head, Prior, Problem, Setting, SourceTerm, Weights
from .prototype import Prototype
from .ridge import Ridge
from .softmax import Softmax

# From the cheapest to the dearest, which is the order in which they are tried.
HEADS: tuple[Head, ...] = (Prototype(), LDA(), Ridge(), Softmax())
# What is tried where nobody asks for a head. Of two classes `ridge` says what `lda` says; of more it masks some, and
# its loss got it chosen now and then all the same: on small samples of digits that cost up to half a point.
AUTO: tuple[Head, ...] = tuple(head for head in HEADS if head.name != "ridge")

__all__ = [
    "ABSENT",
    "AUTO",
    "HEADS",
    "LDA",
    "Head",
    "Prior",
    "Problem",
    "Prototype",
    "Ridge",
    "Setting",
    "Softmax",
    "SourceTerm",
    "Weights",
]
