"""Heads: linear classifiers on latents, one file each behind one protocol."""

from .lda import LDA
from .problem import ABSENT, Head, Prior, Problem, Setting, SourceTerm, Weights
from .prototype import Prototype
from .softmax import Softmax

HEADS: tuple[Head, ...] = (Prototype(), LDA(), Softmax())

__all__ = [
    "ABSENT",
    "HEADS",
    "LDA",
    "Head",
    "Prior",
    "Problem",
    "Prototype",
    "Setting",
    "Softmax",
    "SourceTerm",
    "Weights",
]
