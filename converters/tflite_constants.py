"""Compute ahead what does not depend on the input of a TFLite file, and free it from the batch size.

Exporters repeat a class token, a position or a mask for every sample of their example, and so write the batch size
into constants. Each is the same for every sample; one copy is kept, which is broadcast, or padded into its place.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from .quantization.tflite_graph import kind, read_model, write_model
from .tflite_concatenation import pad_constants, single_copy
from .tflite_edit import TYPES, add_constant, constant, new_operator, replace_constant, set_data, shape_of

_OPERATOR = schema.BuiltinOperator
_BROADCASTING = {
    *(_OPERATOR.ADD, _OPERATOR.SUB, _OPERATOR.MUL, _OPERATOR.DIV, _OPERATOR.POW, _OPERATOR.SQUARED_DIFFERENCE),
    *(_OPERATOR.MAXIMUM, _OPERATOR.MINIMUM, _OPERATOR.FLOOR_DIV, _OPERATOR.FLOOR_MOD, _OPERATOR.SELECT_V2),
    *(_OPERATOR.EQUAL, _OPERATOR.NOT_EQUAL, _OPERATOR.LESS, _OPERATOR.LESS_EQUAL, _OPERATOR.GREATER),
    *(_OPERATOR.GREATER_EQUAL, _OPERATOR.LOGICAL_AND, _OPERATOR.LOGICAL_OR, _OPERATOR.BATCH_MATMUL),
}
# Operators that hold a state, draw numbers or run another graph.
_KEPT = {
    *(_OPERATOR.RANDOM_UNIFORM, _OPERATOR.RANDOM_STANDARD_NORMAL, _OPERATOR.MULTINOMIAL, _OPERATOR.CUSTOM),
    *(_OPERATOR.WHILE, _OPERATOR.IF, _OPERATOR.CALL_ONCE, _OPERATOR.VAR_HANDLE, _OPERATOR.READ_VARIABLE),
    *(_OPERATOR.ASSIGN_VARIABLE, _OPERATOR.DEQUANTIZE, _OPERATOR.DENSIFY),
}


def fold_constants(model: Any) -> None:
    """Compute every operator of the first graph that does not depend on its input.

    Args:
        model: The file, from `read_model`; changed in place.
    """
    graph = model.subgraphs[0]
    known = {i for i, tensor in enumerate(graph.tensors) if model.buffers[tensor.buffer].data is not None}
    folded = []
    for operator in graph.operators:
        inputs = {int(i) for i in operator.inputs if i >= 0}
        if inputs and inputs <= known and kind(model, operator) not in _KEPT:
            folded.append(operator)
            known |= {int(i) for i in operator.outputs}
    if not folded:
        return
    left = [operator for operator in graph.operators if operator not in folded]
    made = {int(i) for operator in folded for i in operator.outputs}
    wanted = made & ({int(i) for operator in left for i in operator.inputs} | {int(i) for i in graph.outputs})
    if all(graph.tensors[i].type in TYPES for i in wanted):
        whole, graph.operators = graph.operators, folded
        values = _run(model, sorted(wanted))
        graph.operators = whole
        for i, value in values.items():
            set_data(model, graph.tensors[i], value)
        graph.operators = left


def share_constants(model: Any, batch: int) -> None:
    """Let operators take one copy of a constant that is repeated for every sample.

    Args:
        model: The file, from `read_model`; changed in place.
        batch: The batch size that it was exported with.
    """
    graph = model.subgraphs[0]
    operators = []
    for operator in graph.operators:
        which = kind(model, operator)
        if which in _BROADCASTING:
            for place in range(len(operator.inputs)):
                single = single_copy(constant(model, graph, operator, place), batch)
                if single is not None:
                    replace_constant(model, graph, operator, place, single)
        elif which == _OPERATOR.BROADCAST_TO:
            _multiply(model, graph, operator, batch)
        elif which == _OPERATOR.CONCATENATION:
            operators += pad_constants(model, graph, operator, batch)
            continue
        operators.append(operator)
    graph.operators = operators


def _run(model: Any, wanted: list[int]) -> dict[int, NDArray[Any]]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    part = read_model(write_model(model))
    graph = part.subgraphs[0]
    graph.inputs, graph.outputs = [], wanted
    part.signatureDefs = None
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=write_model(part), experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.invoke()
    return {i: interpreter.get_tensor(i) for i in wanted}


def _multiply(model: Any, graph: Any, operator: Any, batch: int) -> None:
    # The shape to broadcast to is a constant; a product with ones takes its batch from the other factor.
    wanted = constant(model, graph, operator, 1)
    given, kept = (graph.tensors[i] for i in (operator.inputs[0], operator.outputs[0]))
    if wanted is None or kept.type not in (schema.TensorType.FLOAT32, schema.TensorType.INT32):
        return
    shape = [1 if axis == batch and axis in shape_of(given) else int(axis) for axis in wanted]
    if batch in shape:
        return
    ones = add_constant(model, graph, kept, np.ones(shape, TYPES[kept.type]))
    options = (schema.BuiltinOptions.MulOptions, schema.MulOptionsT())
    made = new_operator(model, _OPERATOR.MUL, [operator.inputs[0], ones], operator.outputs[0], options)
    vars(operator).update(vars(made))
