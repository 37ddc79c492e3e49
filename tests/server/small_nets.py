"""A network for rows of six numbers, as a user's file would hold it."""

from torch import nn


def make() -> nn.Module:
    """Return one with three outputs."""
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
