"""Training compiled ahead: a tail's forward pass and training step as ordinary ONNX models."""

from ...tail_spec import Parameter, Spec
from .check import Difference
from .compile import CompiledTail, compile_training

__all__ = ["CompiledTail", "Difference", "Parameter", "Spec", "compile_training"]
