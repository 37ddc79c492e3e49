"""Compression: blocks that make a model smaller or faster, each alone or one after the other.

A block takes a model and returns another one with a report; the model that it was given stays as it is.
"""

from .budget import Budget, Choice, MeasuredModel, Miss, choose
from .features import FeatureMatch, feature_loss
from .hints import Hints
from .hold_ranges import held_ranges, hold_ranges
from .low_rank import LowRankReport, low_rank
from .outcome import Compression
from .prune import PruneReport, prune
from .quantize_aware import QuantizeAwareReport, quantize_aware, simulate
from .relational import angle_loss, distance_loss, relational_loss
from .run import compress_to_budget
from .search import Candidate, SearchReport, search
from .sequence import Step, StepReport, compress
from .settings import CompressConfig, CompressSettings, read_compress_config

__all__ = [
    "Budget",
    "Candidate",
    "Choice",
    "CompressConfig",
    "CompressSettings",
    "Compression",
    "FeatureMatch",
    "Hints",
    "LowRankReport",
    "MeasuredModel",
    "Miss",
    "PruneReport",
    "QuantizeAwareReport",
    "SearchReport",
    "Step",
    "StepReport",
    "angle_loss",
    "choose",
    "compress",
    "compress_to_budget",
    "distance_loss",
    "feature_loss",
    "held_ranges",
    "hold_ranges",
    "low_rank",
    "prune",
    "quantize_aware",
    "read_compress_config",
    "relational_loss",
    "search",
    "simulate",
]
