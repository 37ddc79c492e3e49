"""The device side: numpy, one inference runtime, and nothing else that is heavy."""

from .guard import Judgement
from .learner import Learner
from .results import Prediction, Report, Version

__all__ = ["Judgement", "Learner", "Prediction", "Report", "Version"]
