"""`acclimate convert`: from a trained model to a bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .console import print_json, progress, tell
from .convert_data import read_data
from .convert_paths import check_paths
from .convert_report import taken_over, tell_report
from .frames import read_values
from .model_source import SOURCES, Code, check_code, keras_file, load_named
from .signing import read_key

if TYPE_CHECKING:
    from ..converters.sources.load import ModelSource
    from ..server.trained import Trained

_ONNX_ALONE = (
    "onnx only: nothing leads from an ONNX file to LiteRT. For tflite too, convert the model that it was made from."
)
# What --resize may ask for; no model takes more than 4096 x 4096.
_MOST_PIXELS = 2**24


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help=SOURCES,
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
    code: Code = None,
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
    pooling: Annotated[
        str, typer.Option("--pooling", help="Of each tapped map: its mean, or mean-max for its maximum as well.")
    ] = "mean",
    latent_bytes: Annotated[
        int | None,
        typer.Option("--latent-bytes", min=1, help="Most bytes of a stored latent: taps worth least are left out."),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option("--last", help="Add a tail of so many blocks, which a device can train. See 'acclimate cuts'."),
    ] = None,
    cut: Annotated[str | None, typer.Option("--cut", help="The same, by the name of the cut.")] = None,
    train: Annotated[
        str, typer.Option("--train", help="What of the tail trains: all, or parameter names with commas between.")
    ] = "all",
    optimiser: Annotated[str, typer.Option("--optimiser", help="What trains the tail: sgd or adam.")] = "sgd",
    penalty: Annotated[
        str,
        typer.Option("--penalty", help="What holds the tail at the shipped weights: l2sp, ewc (by the data) or none."),
    ] = "l2sp",
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
    sign: Annotated[
        Path | None, typer.Option("--sign", help="Private key (PEM) to sign the bundle with.", metavar="KEY")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Split, quantize and export a trained model into a bundle."""
    if task not in ("classification", "regression"):
        raise typer.BadParameter("expected classification or regression", param_hint="--task")
    if head not in ("keep", "fit", "none"):
        raise typer.BadParameter("expected keep, fit or none", param_hint="--head")
    for option, value, known in (
        ("--optimiser", optimiser, ("sgd", "adam")),
        ("--penalty", penalty, ("l2sp", "ewc", "none")),
    ):
        if value not in known:
            raise typer.BadParameter(f"expected one of {', '.join(known)}", param_hint=option)
    _check_pooling(pooling, taps)
    if weights and quantize is not None:
        raise typer.BadParameter("expected one of --weights-only, --quantize and --no-quantize")
    check_code(source, code)
    # A model may take minutes to fetch.
    check_paths(
        {"--out": out, "--report": report_path},
        {"SOURCE": source, "--data": data, "--weights": model_weights, "--sign": sign},
        overwrite=overwrite,
    )
    # It may ask for a passphrase.
    key = None if sign is None else read_key(sign)
    centre, spread, target = _numbers(mean, "--mean"), _numbers(std, "--std"), _size(resize)
    from ..converters.keras_source.locate import is_keras

    run_file = keras_file(source)
    keras = run_file is not None or is_keras(source)
    if task == "regression":
        frames, values = read_values(data)
        labelled: Any = None if values is None else (frames, values)
    else:
        given_data = read_data(data)
        frames, labelled = given_data.frames, given_data.source
    provenance = {"model": source, "data": data.name}
    _check_words(labelled if head == "fit" and task != "regression" else None, licence, provenance)
    options: dict[str, Any] = {
        "out": out,
        "task": task,
        "targets": _names(targets),
        "head": None if head == "none" else head,
        "taps": taps if taps in ("all", "last") else taps.split(","),
        "pooling": pooling,
        "quantize": "weights" if weights else "auto" if quantize is None else quantize,
        "calibrate": calibrate,
        "every_layer": report_path is not None,
        "licence": licence,
        "provenance": provenance,
        "overwrite": overwrite,
    }
    given: dict[str, Any] = {"resize": target, "mean": centre, "std": spread, "classes": _names(classes)}
    taken: dict[str, Any] = {}
    told: list[str] = []
    with progress("converting") as bar:
        if keras:
            if latent_bytes is not None:
                raise InputError(
                    f"expected --latent-bytes only for torch models, found it with {source!r}. Leave it out."
                )
            options |= {"last": last, "cut": cut, "train": "all" if train == "all" else train.split(",")}
            options |= {"optimiser": optimiser, "penalty": penalty}
            options |= {"runtimes": tuple(runtime or ("onnx", "tflite")), "progress": bar}
            # TensorFlow runs in a process of its own, and torch is needed for a tail alone.
            from ..converters.keras_source.convert import convert_keras

            if run_file is not None:
                from ..server.trained_input import read_input

                noted = read_input(source)
                given = noted.options(frames, **given, keeps_head=head == "keep" and task != "regression")
                taken, told = given, taken_over(noted, given)
            keras_model = run_file or source
            report = convert_keras(keras_model, frames, weights=model_weights, source=labelled, **options, **given)
        else:
            options |= {"last": last, "cut": cut, "train": "all" if train == "all" else train.split(",")}
            options |= {"optimiser": optimiser, "penalty": penalty, "latent_bytes": latent_bytes}
            loaded, frames, taken = _load(
                source, model_weights, code, frames, given, keeps=head == "keep" and task != "regression"
            )
            if isinstance(labelled, tuple):
                labelled = (frames, labelled[1])
            # torch is heavy: nothing of it is imported before the arguments are known to be good.
            from .. import converters

            # An ONNX file has no way to TFLite.
            both = ("onnx", "tflite") if hasattr(loaded.model, "forward") else ("onnx",)
            options |= {"runtimes": tuple(runtime or both), "progress": bar}
            report = converters.convert(loaded.model, frames, source=labelled, **options, **taken)
            told = [*taken_over(loaded, taken), *([_ONNX_ALONE] if runtime is None and "tflite" not in both else [])]
            taken = {**taken, "notes": list(loaded.known.notes)}
    if key is not None:
        from ..signing import sign_bundle

        sign_bundle(out, key, out, overwrite=True)
        told = [*told, f"signed by {key.public.id}"]
    if report_path is not None:
        report.save_html(report_path, overwrite=overwrite)
    if json:
        print_json(
            {**report.to_dict(), "input": {name: taken.get(name) for name in ("resize", "mean", "std", "notes")}}
        )
        return
    for line in told:
        tell(line)
    tell_report(report, task)


def _check_pooling(pooling: str, taps: str) -> None:
    from ..converters.tap_pooling import check_pooling

    check_pooling(pooling, taps)


def _check_words(fitted: Any, licence: str, provenance: Mapping[str, str]) -> None:
    """Refuse labels that no head can be fitted on, and words that no bundle can hold, before a model is loaded."""
    from ..converters.arguments import check_origin, require_two_classes

    if fitted is not None:
        require_two_classes(fitted[1] if isinstance(fitted, tuple) else fitted.labels)
    check_origin(licence, provenance)


def _load(
    source: str, weights: Path | None, code: str | None, frames: Any, given: Mapping[str, Any], *, keeps: bool
) -> tuple["ModelSource | Trained", Any, dict[str, Any]]:
    """Load a model, and fill in what its origin knows where nothing was given."""
    from ..converters.samples import as_ids

    loaded = load_named(source, weights=weights, code=code)
    frames = as_ids(frames) if loaded.tokens else frames
    return loaded, frames, loaded.options(frames, **given, keeps_head=keeps)


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
    if int(height) * int(width) > _MOST_PIXELS:
        raise typer.BadParameter(f"expected at most {_MOST_PIXELS:,} pixels, found {text}", param_hint="--resize")
    return int(height), int(width)
