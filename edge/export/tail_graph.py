"""The nodes and constants of one ONNX model, renamed, so that they can stand in another one."""

from collections.abc import Callable, Mapping

from ...errors import BackendError
from ...record import record
from ..runtime.protobuf import fields, messages, pieces, text_field
from .onnx_graph import GRAPH, INITIALIZER, NODE, operator_set, text_of

# Fields of a graph that must not be there: what is sparse; of a model: functions; of an attribute: graphs.
_SPARSE, _FUNCTIONS, _GRAPHS = 15, 25, (6, 11)
_ATTRIBUTE = 5
_ADVICE = "Convert the model again."


@record(eq=False)
class Splice:
    """What of a model goes into another one.

    Args:
        nodes: Its nodes, as messages.
        constants: Its constants, as messages.
        operators: Version of ONNX's operators that it uses.
    """

    nodes: tuple[bytes, ...]
    constants: tuple[bytes, ...]
    operators: int


def splice(content: bytes, names: Mapping[str, str], prefix: str) -> Splice:
    """Rename everything in a model.

    Args:
        content: The ONNX file.
        names: New names of inputs and outputs.
        prefix: What is put in front of all other names.

    Returns:
        Nodes and constants.

    Raises:
        BackendError: If it is no ONNX model, or has parts that cannot be renamed so.
    """

    def renamed(old: str) -> str:
        # An input that is left out has no name.
        return names.get(old, prefix + old if old else "")

    try:
        model = memoryview(content)
        (graph,) = messages(model, GRAPH)
        if messages(graph, _SPARSE) or messages(model, _FUNCTIONS):
            raise ValueError("it has sparse constants or functions")
        nodes = []
        for one in messages(graph, NODE):
            if any(messages(attribute, number) for attribute in messages(one, _ATTRIBUTE) for number in _GRAPHS):
                raise ValueError("it has branches or loops")
            nodes.append(_replaced(one, (1, 2, 3), renamed))
        constants = tuple(_replaced(one, (8,), renamed) for one in messages(graph, INITIALIZER))
        return Splice(tuple(nodes), constants, operator_set(model))
    except ValueError as error:
        raise BackendError(f"expected an ONNX tail that can be joined, found that {error}. {_ADVICE}") from error


def _replaced(message: memoryview, numbers: tuple[int, ...], renamed: Callable[[str], str]) -> bytes:
    parts: list[bytes | memoryview] = []
    for number, wire, value in fields(message):
        if number in numbers and isinstance(value, memoryview):
            parts.append(text_field(number, renamed(text_of(value))))
        else:
            parts.extend(pieces(number, wire, value))
    return b"".join(parts)
