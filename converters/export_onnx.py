"""Export a torch module from raw input to latent as one ONNX file."""

import re
import tempfile
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from ..errors import ConversionError
from .control_flow import depends_on_values, first_cause
from .graph_names import INPUT, MAP, OUTPUT, PREPROCESS
from .quiet import quiet

_BATCH = "n"
_SCOPES = "pkg.torch.onnx.name_scopes"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def export_onnx(module: nn.Module, example: Tensor) -> bytes:
    """Export a module to ONNX, in float.

    PyTorch's current exporter is tried first. The older one, which traces the module, takes some models that the
    current one does not, and is tried next.

    Args:
        module: From raw input to latent, or to latent and map. If its part that prepares the input is the submodule
            ``"preprocess"``, the quantizer finds it by that name.
        example: ``(n, ...)`` raw input, at least two samples; the batch axis stays free.

    Returns:
        The ONNX file: input ``"input"``, output ``"latent"`` and, where there is one, ``"map"``, weights inside, no
        traces of the machine it was made on.

    Raises:
        ConversionError: If the way through the model depends on values, or if neither exporter can export it.
    """
    # An ONNX source is a backbone already (`onnx_split`).
    content = getattr(module, "content", None)
    if isinstance(content, bytes):
        return content
    failures: list[str] = []
    with torch.no_grad():
        outputs = [OUTPUT, MAP] if isinstance(module(example), tuple) else [OUTPUT]
    for export in (_export_current, _export_traced):
        try:
            with quiet(), torch.no_grad():
                model = export(module, example, outputs)
            return bytes(_finish(model, example).SerializeToString())
        # Exporters raise anything.
        except Exception as error:
            # A trace would hold whatever way this one batch went, without a word.
            place = depends_on_values(error)
            if place is not None:
                raise ConversionError(
                    f"expected a model that does the same with every sample, found control flow that depends on "
                    f"values{place}. Write it with torch.where, or cut the model in front of it."
                ) from error
            failures.append(_reason(error))
    raise ConversionError(
        f"expected a model that PyTorch can export to ONNX, found that both of its exporters fail. "
        f"The current one: {failures[0]} The traced one: {failures[1]} "
        f"Look for operations outside of torch and for control flow that depends on values."
    )


def _reason(error: BaseException) -> str:
    error = first_cause(error)
    first_line = (str(error).strip() or "no reason").splitlines()[0]
    return f"{type(error).__name__}: {_COLOURS.sub('', first_line)[:200]}"


def _export_current(module: nn.Module, example: Tensor, outputs: list[str]) -> onnx.ModelProto:
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        input_names=[INPUT],
        output_names=outputs,
        dynamic_shapes=({0: torch.export.Dim(_BATCH, min=1, max=65_536)},),
        verbose=False,
    )
    assert program is not None  # noqa: S101  only the traced exporter returns None
    return program.model_proto


def _export_traced(module: nn.Module, example: Tensor, outputs: list[str]) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "float.onnx"
        torch.onnx.export(
            module,
            (example,),
            target,
            dynamo=False,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes={name: {0: _BATCH} for name in (INPUT, *outputs)},
        )
        return onnx.load(target)


def _finish(model: onnx.ModelProto, example: Tensor) -> onnx.ModelProto:
    for i, node in enumerate(model.graph.node):
        scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), node.name)
        inside = f"'{PREPROCESS}'" in scopes or scopes.startswith(f"/{PREPROCESS}/")
        node.name = f"{PREPROCESS}/{node.op_type}_{i}" if inside else f"{node.op_type}_{i}"
        # The exporter notes stack traces with paths of this machine.
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer]:
        del value.metadata_props[:]
        value.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
    model.graph.name = "backbone"
    _part_map(model.graph)
    _check_shapes(model, example)
    onnx.checker.check_model(model, full_check=True)
    return model


def _part_map(graph: onnx.GraphProto) -> None:
    """Let the map leave by a node of its own: the network goes on from it, and the quantizer renames what leaves."""
    inside = f"{MAP}_inside"
    if MAP not in {value.name for value in graph.output}:
        return
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [inside if name == MAP else name for name in names]
    graph.node.append(onnx.helper.make_node("Identity", [inside], [MAP], name=f"Identity_{len(graph.node)}"))


def _check_shapes(model: onnx.ModelProto, example: Tensor) -> None:
    (source,), (result, *_) = model.graph.input, model.graph.output
    taken = [d.dim_param or d.dim_value for d in source.type.tensor_type.shape.dim]
    given = [d.dim_param or d.dim_value for d in result.type.tensor_type.shape.dim]
    if not isinstance(taken[0], str) or taken[1:] != list(example.shape[1:]) or len(given) != 2:
        raise ConversionError(
            f"expected an export from (n, {', '.join(map(str, example.shape[1:]))}) to (n, d), found {taken} to {given}"
        )
