"""The device side: numpy, one inference runtime, and nothing else that is heavy."""

from importlib import import_module
from typing import TYPE_CHECKING

from .classes import Classes
from .learner import Learner
from .results import Forgotten, Prediction, Version

if TYPE_CHECKING:
    from .guard import Judgement
    from .regression_results import Regression, RegressionReport
    from .regressor import Regressor
    from .report import Report

__all__ = [
    "Classes",
    "Forgotten",
    "Judgement",
    "Learner",
    "Prediction",
    "Regression",
    "RegressionReport",
    "Regressor",
    "Report",
    "Version",
]
# These come with what `adapt` needs, or with another task, which a device that only predicts classes never loads.
_LATER = {
    "Judgement": "guard",
    "Regression": "regression_results",
    "RegressionReport": "regression_results",
    "Regressor": "regressor",
    "Report": "report",
}


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
