"""Objectives: what a run minimises, as modules that return the losses of a batch."""

from .barlow_twins import barlow_loss
from .gradient_surgery import project_conflicts
from .linear_probe import fit_linear
from .make import Objective, make_objective
from .multi_task import weighted
from .simclr import nt_xent

__all__ = [
    "Objective",
    "barlow_loss",
    "fit_linear",
    "make_objective",
    "nt_xent",
    "project_conflicts",
    "weighted",
]
