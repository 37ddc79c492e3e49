"""`acclimate convert`: from a trained model to a bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ..errors import InputError, OutputExistsError
from ..files import refuse_overwrite
from .console import output, print_json, progress, size
from .frames import read_frames, read_values

if TYPE_CHECKING:
    from ..converters.conversion_report import ConversionReport
    from ..converters.sources.load import ModelSource


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="torchvision:NAME@DEFAULT, timm:NAME@DEFAULT, hf:FOLDER_OR_NAME, hf-config:FILE.json, file.onnx, "
            "file.keras, keras:NAME, package.module:function or file.py:function.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option("--data", help=".npy, .npz (x, y) or a folder of images, one per class: the model's own domain."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The bundle to write.")],
    model_weights: Annotated[
        Path | None,
        typer.Option("--weights", help="A file with the weights of torchvision:NAME, timm:NAME or keras:NAME."),
    ] = None,
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
    last: Annotated[
        int | None,
        typer.Option("--last", help="Add a tail of so many blocks, which a device can train. See 'acclimate cuts'."),
    ] = None,
    cut: Annotated[str | None, typer.Option("--cut", help="The same, by the name of the cut.")] = None,
    train: Annotated[
        str, typer.Option("--train", help="What of the tail trains: all, or parameter names with commas between.")
    ] = "all",
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", help="onnx or tflite; may be given twice. By default both.")
    ] = None,
    quantize: Annotated[
        bool | None,
        typer.Option("--quantize/--no-quantize", help="8-bit integers, or float. By default what measures better."),
    ] = None,
    weights: Annotated[bool, typer.Option("--weights-only", help="8-bit weights, float activations.")] = False,
    calibrate: Annotated[
        str, typer.Option("--calibrate", help="Ranges of activations: minmax, percentile or entropy.")
    ] = "minmax",
    report_path: Annotated[
        Path | None, typer.Option("--report", help="Write a page with parity, latency and the cost of each layer.")
    ] = None,
    resize: Annotated[
        str | None, typer.Option("--resize", help="HEIGHTxWIDTH that the model takes, if frames have another size.")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option("--mean", help="The model's normalisation, one number or one per channel. Default: the source's."),
    ] = None,
    std: Annotated[str | None, typer.Option("--std", help="Its standard deviation, likewise.")] = None,
    licence: Annotated[str, typer.Option("--licence", help="Licence of the weights.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Split, quantize and export a trained model into a bundle."""
    if task not in ("classification", "regression"):
        raise typer.BadParameter("expected classification or regression", param_hint="--task")
    if head not in ("keep", "fit", "none"):
        raise typer.BadParameter("expected keep, fit or none", param_hint="--head")
    if weights and quantize is not None:
        raise typer.BadParameter("expected one of --weights-only, --quantize and --no-quantize")
    if report_path is not None:
        refuse_overwrite(report_path, overwrite=overwrite)
    # A model may take minutes to fetch.
    if out.exists() and not overwrite:
        raise OutputExistsError(f"expected no file at {out}, found one. Choose another name or allow overwriting.")
    centre, spread, target = _numbers(mean, "--mean"), _numbers(std, "--std"), _size(resize)
    frames, labels = read_values(data) if task == "regression" else read_frames(data)[:2]
    options: dict[str, Any] = {
        "out": out,
        "task": task,
        "targets": _names(targets),
        "head": None if head == "none" else head,
        "taps": taps if taps in ("all", "last") else taps.split(","),
        "quantize": "weights" if weights else "auto" if quantize is None else quantize,
        "calibrate": calibrate,
        "every_layer": report_path is not None,
        "licence": licence,
        "provenance": {"model": source, "data": data.name},
        "overwrite": overwrite,
    }
    given: dict[str, Any] = {"resize": target, "mean": centre, "std": spread, "classes": _names(classes)}
    taken: dict[str, Any] = {}
    told: list[str] = []
    with progress("converting") as bar:
        if source.startswith("keras:") or source.endswith(".keras"):
            deeper = [name for name, value in (("--last", last), ("--cut", cut)) if value is not None]
            if deeper:
                raise InputError(f"expected {deeper[0]} only for torch models, found it with {source!r}. Leave it out.")
            options |= {"runtimes": tuple(runtime or ("onnx", "tflite")), "progress": bar}
            labelled = None if labels is None else (frames, labels)
            # TensorFlow runs in a process of its own, and torch is not needed.
            from ..converters.keras_source.convert import convert_keras

            report = convert_keras(source, frames, weights=model_weights, source=labelled, **options, **given)
        else:
            options |= {"last": last, "cut": cut, "train": "all" if train == "all" else train.split(",")}
            loaded, frames, taken = _load(
                source, model_weights, frames, given, keeps=head == "keep" and task != "regression"
            )
            # torch is heavy: nothing of it is imported before the arguments are known to be good.
            from .. import converters

            # An ONNX file has no way to TFLite.
            both = ("onnx", "tflite") if hasattr(loaded.model, "forward") else ("onnx",)
            options |= {"runtimes": tuple(runtime or both), "progress": bar}
            labelled = None if labels is None else (frames, labels)
            report = converters.convert(loaded.model, frames, source=labelled, **options, **taken)
            told = _told(loaded, taken)
            taken = {**taken, "notes": list(loaded.known.notes)}
    if report_path is not None:
        report.save_html(report_path, overwrite=overwrite)
    if json:
        print_json(
            {**report.to_dict(), "input": {name: taken.get(name) for name in ("resize", "mean", "std", "notes")}}
        )
        return
    for line in told:
        output.print(line, markup=False)
    _tell(report, task)


def _load(
    source: str, weights: Path | None, frames: Any, given: Mapping[str, Any], *, keeps: bool
) -> tuple["ModelSource", Any, dict[str, Any]]:
    """Load a model, and fill in what its origin knows where nothing was given."""
    from ..converters.sources.load import load_source

    loaded = load_source(source, weights=weights)
    # Token ids travel as numbers.
    frames = frames.astype("float32") if loaded.tokens else frames
    return loaded, frames, loaded.options(frames, **given, keeps_head=keeps)


def _tell(report: "ConversionReport", task: str) -> None:
    """Print a conversion for people."""
    outputs, score = ("targets", "R^2 on the data") if task == "regression" else ("classes", "accuracy on the data")
    output.print(
        f"{report.path.name}: {size(report.size)}, {len(report.classes)} {outputs}, {report.width} dimensions from "
        f"{len(report.taps)} taps, {report.seconds:.0f} s",
        markup=False,
    )
    table = Table("runtime", "type", "size", "cosine with the original", score, box=None, padding=(0, 2))
    for variant in report.variants:
        figure = "" if variant.source_accuracy is None else f"{variant.source_accuracy:.3f}"
        kind = {"int8": "int8", "weights": "8-bit weights", "float": "float32"}[variant.kind]
        table.add_row(variant.runtime, kind, size(variant.size), f"{variant.parity.whole.cosine:.4f}", figure)
    output.print(table)
    if report.tail is not None:
        shape = " x ".join(map(str, report.tail.map_shape))
        output.print(
            f"tail behind {report.tail.cut}: {report.tail.trained:,} values train, maps of {shape}, cosine with the "
            f"original {report.tail.parity.whole.cosine:.4f}",
            markup=False,
        )
        for note in report.tail.notes:
            output.print(f"  {note}", markup=False)
    for variant in report.variants:
        output.print(f"{variant.runtime}: {variant.reason}", markup=False)


def _told(loaded: "ModelSource", known: Mapping[str, Any]) -> list[str]:
    """Say what was taken over from where the model comes from."""
    told = [
        f"{name} {_shown(known[name])}" for name in ("resize", "mean", "std") if known[name] not in (None, 0.0, 1.0)
    ]
    own = loaded.known.classes
    if own is not None and known["classes"] is own:
        told.append(f"{len(own)} class names")
    taken = [f"input: {', '.join(told)}"] if told and loaded.known != type(loaded.known)() else []
    return [*taken, *loaded.known.notes]


def _shown(value: Any) -> str:
    return " ".join(f"{number:g}" for number in value) if isinstance(value, tuple | list) else f"{value:g}"


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _numbers(text: str | None, option: str) -> list[float] | float | None:
    if text is None:
        return None
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
