"""Which way of transfer suits a source and a target, or none: measured on the target's labelled samples."""

from .advice import Advice, Candidate
from .advise import advise
from .fitted import Fitted, fit
from .next_step import next_steps

__all__ = ["Advice", "Candidate", "Fitted", "advise", "fit", "next_steps"]
