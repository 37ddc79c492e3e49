"""Which way of transfer suits a source and a target, or none: measured on the target's labelled samples."""

from .advice import Advice, Candidate
from .advise import advise

__all__ = ["Advice", "Candidate", "advise"]
