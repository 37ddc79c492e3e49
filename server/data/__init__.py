"""Data of a run: found, split, checked, and read sample by sample with seeded augmentation."""

from .load import load_data
from .report import DataReport, Finding
from .settings import DataSettings
from .split import Data, Split, Task
from .validate import validate_data

__all__ = ["Data", "DataReport", "DataSettings", "Finding", "Split", "Task", "load_data", "validate_data"]
