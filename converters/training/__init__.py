"""Training compiled ahead: a tail's forward pass and training step as ordinary ONNX models."""

from .check import Difference
from .compile import CompiledTail, compile_training
from .spec import Parameter, Spec

__all__ = ["CompiledTail", "Difference", "Parameter", "Spec", "compile_training"]
