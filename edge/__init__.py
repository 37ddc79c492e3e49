"""The device side: numpy, one inference runtime, and nothing else that is heavy."""

from importlib import import_module
from typing import TYPE_CHECKING

from .classes import Classes
from .learner import Learner
from .results import Forgotten, Prediction, Version

if TYPE_CHECKING:
    from .adaptation.guard import Judgement
    from .adaptation.report import Report
    from .regression.regressor import Regressor
    from .regression.results import Regression, RegressionReport

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
    "Judgement": "adaptation.guard",
    "Regression": "regression.results",
    "RegressionReport": "regression.results",
    "Regressor": "regression.regressor",
    "Report": "adaptation.report",
}


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
