"""What a compiled tail takes and gives: `acclimate.tail_spec`, where the device finds it too."""

from ...tail_spec import Parameter, Spec

__all__ = ["Parameter", "Spec"]
