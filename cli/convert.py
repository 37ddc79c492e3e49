"""`acclimate convert`: from a torch model to a bundle."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ..errors import CutError, InputError
from .console import output, print_json, progress, size
from .frames import read_frames, read_values


def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="package.module:function or file.py:function that returns the model."),
    ],
    data: Annotated[
        Path,
        typer.Option("--data", help=".npy, .npz (x, y) or a folder of images, one per class: the model's own domain."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The bundle to write.")],
    classes: Annotated[
        str | None, typer.Option("--classes", help="Names in the order of the outputs, with commas between.")
    ] = None,
    task: Annotated[
        str, typer.Option("--task", help="classification, or regression: then y of an .npz holds numbers.")
    ] = "classification",
    targets: Annotated[
        str | None, typer.Option("--targets", help="For regression, names of the values, with commas between.")
    ] = None,
    head: Annotated[str, typer.Option("--head", help="keep the model's, fit one on the data, or none.")] = "keep",
    taps: Annotated[str, typer.Option("--taps", help="all, last, or module names with commas between.")] = "all",
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", help="onnx or tflite; may be given twice. By default both.")
    ] = None,
    quantize: Annotated[bool, typer.Option("--quantize/--no-quantize", help="8-bit integers, or float.")] = True,
    resize: Annotated[
        str | None, typer.Option("--resize", help="HEIGHTxWIDTH that the model takes, if frames have another size.")
    ] = None,
    mean: Annotated[
        str, typer.Option("--mean", help="The model's normalisation, one number or one per channel.")
    ] = "0",
    std: Annotated[str, typer.Option("--std", help="Its standard deviation, likewise.")] = "1",
    licence: Annotated[str, typer.Option("--licence", help="Licence of the weights.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Split, quantize and export a torch model into a bundle."""
    if task not in ("classification", "regression"):
        raise typer.BadParameter("expected classification or regression", param_hint="--task")
    if head not in ("keep", "fit", "none"):
        raise typer.BadParameter("expected keep, fit or none", param_hint="--head")
    centre, spread, target = _numbers(mean, "--mean"), _numbers(std, "--std"), _size(resize)
    # torch is heavy: nothing of it is imported before the arguments are known to be good.
    from .. import converters

    frames, labels = read_values(data) if task == "regression" else read_frames(data)[:2]
    model = _load(source)
    names, values = _names(classes), _names(targets)
    with progress("converting") as bar:
        report = converters.convert(
            model,
            frames,
            out=out,
            classes=names,
            task=task,  # type: ignore[arg-type]  # checked above
            targets=values,
            source=None if labels is None else (frames, labels),
            head=None if head == "none" else head,  # type: ignore[arg-type]  # checked above
            taps=taps if taps in ("all", "last") else taps.split(","),
            runtimes=tuple(runtime) if runtime else ("onnx", "tflite"),  # type: ignore[arg-type]  # the converter checks
            quantize=quantize,
            resize=target,
            mean=centre,
            std=spread,
            licence=licence,
            provenance={"model": source, "data": data.name},
            progress=bar,
            overwrite=overwrite,
        )
    if json:
        print_json(report.to_dict())
        return
    outputs, score = ("targets", "R^2 on the data") if task == "regression" else ("classes", "accuracy on the data")
    output.print(
        f"{report.path.name}: {size(report.size)}, {len(report.classes)} {outputs}, {report.width} dimensions from "
        f"{len(report.taps)} taps, {report.seconds:.0f} s",
        markup=False,
    )
    table = Table("runtime", "type", "size", "cosine with the original", score, box=None, padding=(0, 2))
    for variant in report.variants:
        figure = "" if variant.source_accuracy is None else f"{variant.source_accuracy:.3f}"
        kind = "int8" if variant.quantized else "float32"
        table.add_row(variant.runtime, kind, size(variant.size), f"{variant.parity.whole.cosine:.4f}", figure)
    output.print(table)


def _load(source: str) -> Any:
    """Call the function that a source names, and return the model."""
    where, _, name = source.rpartition(":")
    if not where or not name.isidentifier():
        raise InputError(f"expected package.module:function or file.py:function, found {source!r}.")
    try:
        module = _module(where)
    except (ImportError, SyntaxError) as error:
        raise InputError(
            f"expected to import {where!r}, found that {error}. Check name, path and installation."
        ) from error
    build = getattr(module, name, None)
    if not callable(build):
        raise InputError(f"expected a function {name!r} in {where!r}, found none. Check its name.")
    import torch

    model = build()
    if not isinstance(model, torch.nn.Module):
        raise CutError(f"expected {source!r} to return a torch module, found {type(model).__name__}. Return the model.")
    return model


def _module(where: str) -> Any:
    if not where.endswith(".py"):
        sys.path.insert(0, "")
        return importlib.import_module(where)
    path = Path(where)
    if not path.is_file():
        raise InputError(f"expected a Python file, found nothing at {path}. Check the path.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"expected a Python file, found {path}. Check the path.")
    module = importlib.util.module_from_spec(spec)
    # What lies beside the file can be imported from it, as when it is run.
    sys.path.insert(0, str(path.parent.absolute()))
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _numbers(text: str, option: str) -> list[float] | float:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"expected numbers with commas between, found {text!r}", param_hint=option) from None
    return found[0] if len(found) == 1 else found


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise typer.BadParameter(f"expected HEIGHTxWIDTH, found {text!r}", param_hint="--resize")
    return int(height), int(width)
