"""Numbers of TensorFlow Lite's schema: the slot of each field, operators, types."""


class Model:
    """Slots of the root table."""

    VERSION, CODES, GRAPHS, DESCRIPTION, BUFFERS = 0, 1, 2, 3, 4
    METADATA, SIGNATURES, EXTERNAL_GROUPS, EXTERNAL_BUFFERS = 6, 7, 8, 9


class Code:
    """Slots of an entry of the list of operators; the old code has one byte."""

    OLD, VERSION, NEW = 0, 2, 3


class Buffer:
    """Slots of a buffer: its content, or where in the file that lies."""

    DATA, OFFSET, SIZE = 0, 1, 2


class Metadata:
    """Slots of a named buffer."""

    NAME, BUFFER = 0, 1


class Signature:
    """Slots of a signature, and of a name that it gives to a tensor."""

    INPUTS, OUTPUTS, KEY, GRAPH = 0, 1, 2, 4
    NAME, TENSOR = 0, 1


class Graph:
    """Slots of a graph."""

    TENSORS, INPUTS, OUTPUTS, OPERATORS, NAME = 0, 1, 2, 3, 4


class Tensor:
    """Slots of a tensor, and of its quantization."""

    SHAPE, TYPE, BUFFER, NAME, QUANTIZATION, IS_VARIABLE, SPARSITY = 0, 1, 2, 3, 4, 5, 6
    SHAPE_SIGNATURE, HAS_RANK, EXTERNAL_BUFFER = 7, 8, 10
    SCALE, ZERO_POINT = 2, 3


class Operator:
    """Slots of an operator."""

    CODE, INPUTS, OUTPUTS, OPTIONS_TYPE, OPTIONS, BIG_OPTIONS = 0, 1, 2, 3, 4, 9


FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
# Types of tensors.
FLOAT32, INT32 = 0, 2
# Operators.
DEPTHWISE_CONV_2D, FULLY_CONNECTED, RESHAPE, SOFTMAX, MAXIMUM, MINIMUM = 4, 9, 22, 25, 55, 57
# Types of their options; both comparisons share one.
OPTIONS = {FULLY_CONNECTED: 8, SOFTMAX: 9, RESHAPE: 17, MAXIMUM: 39, MINIMUM: 39}
BETA = 0
