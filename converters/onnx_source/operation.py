"""An ONNX node as the tail runs it: with its constants and the shapes that it makes at any batch size."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ...errors import ConversionError
from .graph import attributes, describe

Array = NDArray[Any]
# What a tensor holds with two samples, and with three.
Seen = tuple[Array, Array]
BATCHES = (2, 3)


@dataclass(frozen=True)
class Lengths:
    """A shape at any batch size.

    Args:
        axes: The lengths; ``-k`` stands for k times the batch.
    """

    axes: tuple[int, ...]

    @classmethod
    def of(cls, seen: Seen, label: str) -> "Lengths":
        """Tell the axes that grow with the batch from those that do not.

        Raises:
            ConversionError: If one is no multiple of the batch and no fixed number.
        """
        two, three = (value.shape for value in seen)
        axes = []
        for a, b in zip(two, three, strict=len(two) == len(three)):
            per_sample = b - a
            if a != b and (a, b) != (BATCHES[0] * per_sample, BATCHES[1] * per_sample):
                raise ConversionError(
                    f"expected axes of a fixed length or as long as the batch or a multiple of it, found {a} with "
                    f"two samples and {b} with three at {label}. Cut behind it."
                )
            axes.append(a if a == b else -per_sample)
        return cls(tuple(axes))

    def at(self, n: int) -> list[int]:
        """Return the lengths for a batch."""
        return [length if length >= 0 else -length * n for length in self.axes]


@dataclass(frozen=True, eq=False)
class Operation:
    """A node.

    Args:
        kind: Its operator.
        label: What messages call it.
        inputs: Names of what goes in, "" where nothing does.
        outputs: Names of what comes out, "" where nobody asks for it.
        attributes: Its attributes as plain values.
        constants: What inputs hold whatever the sample is, by their place.
        tensors: Names of the module's tensors that are inputs, by their place.
        shapes: Shape of each input, None where nothing goes in.
        made: Shape of each output.
    """

    kind: str
    label: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    constants: Mapping[int, Array]
    shapes: tuple[Lengths | None, ...]
    made: tuple[Lengths, ...]
    tensors: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        node: onnx.NodeProto,
        constants: Mapping[int, Array],
        tensors: Mapping[int, str],
        seen: Mapping[str, Seen],
    ) -> "Operation":
        """Make one of a node that was seen running."""
        label = describe(node)
        shapes = [
            Lengths(constants[i].shape) if i in constants else Lengths.of(seen[name], label) if name in seen else None
            for i, name in enumerate(node.input)
        ]
        outputs = tuple(name if name in seen else "" for name in node.output)
        made = tuple(Lengths.of(seen[name], label) for name in outputs if name)
        named = attributes(node)
        return cls(node.op_type, label, tuple(node.input), outputs, named, constants, tuple(shapes), made, tensors)

    def attribute(self, name: str, usual: Any = None) -> Any:
        """Return an attribute; text as text."""
        found = self.attributes.get(name, usual)
        return found.decode() if isinstance(found, bytes) else found

    def numbers(self, place: int, name: str, usual: list[int] | None = None) -> list[int] | None:
        """Return whole numbers that newer opsets take as an input and older ones as an attribute."""
        if place in self.constants:
            return [int(number) for number in np.reshape(self.constants[place], -1)]
        found = self.attribute(name)
        return usual if found is None else [int(number) for number in np.reshape(found, -1)]

    def number(self, place: int, usual: float | None = None) -> float | None:
        """Return a single number among the inputs, or what stands for it where it is left out."""
        if place < len(self.inputs) and self.inputs[place] and place not in self.constants:
            raise self.refusal(f"input {place} that is a constant", f"{self.inputs[place]!r}, which is computed")
        return float(np.reshape(self.constants[place], -1)[0]) if place in self.constants else usual

    def axis(self, usual: int) -> int:
        """Return the attribute ``axis``, counted from the front."""
        return int(self.attribute("axis", usual)) % self.rank()

    def rank(self, place: int = 0) -> int:
        """Return the number of axes of an input."""
        shape = self.shapes[place]
        return 0 if shape is None else len(shape.axes)

    def refusal(self, expected: str, found: str) -> ConversionError:
        """Return the error that says why it cannot be trained ahead."""
        return ConversionError(
            f"expected {expected} in {self.label} behind the cut, found {found}, which has no training step. "
            f"Cut behind it (`acclimate cuts` lists where), or convert the model that the file was made from."
        )
