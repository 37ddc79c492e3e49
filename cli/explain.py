"""`acclimate explain`: what a model looks at in some frames, as a page with pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from ..errors import InputError
from ..files import refuse_overwrite
from .console import many, output, print_json, printable, progress, tell
from .explain_values import explain_values
from .frames import Labels, read_frames
from .model_source import SOURCES, Code, check_code, keras_file, load_named
from .opening import Overwrite, RuntimeName, StorePath, one_of, open_learner, store_of, task_of
from .signing import Trust
from .values import channels_of, image_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..server.understanding.explanation import Explanation, Method

_METHODS = ("auto", "integrated-gradients", "grad-cam", "occlusion", "cam")
# Frames whose predictions are looked through for mistakes.
_MOST_ASKED = 2_000


def explain(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=f"A bundle, a .acc file; or a model. {SOURCES}")],
    data: Annotated[Path, typer.Option("--data", help=".npy, .npz (x, y), an image, or a folder of images.")],
    out: Annotated[Path | None, typer.Option("--out", help="HTML page to write.")] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            callback=one_of(*_METHODS),
            help="integrated-gradients, grad-cam or occlusion for a torch model, occlusion or cam for a bundle. By "
            "default grad-cam or cam, where they are to be had.",
        ),
    ] = "auto",
    target: Annotated[
        str | None, typer.Option("--target", help="Of a regressor: which value; by default the first.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=64, help="Frames to explain, spread over the data.")] = 8,
    mistakes: Annotated[
        bool, typer.Option("--mistakes", help="Explain frames that are predicted to be another class than their label.")
    ] = False,
    layer: Annotated[
        str | None, typer.Option("--layer", help="For grad-cam: name of the layer; by default the last convolution.")
    ] = None,
    patch: Annotated[
        int | None, typer.Option("--patch", min=1, help="For occlusion: side of what is hidden; by default an eighth.")
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", min=1, max=10_000, help="For integrated-gradients: steps of the path.")
    ] = 64,
    store: StorePath = None,
    code: Code = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    overwrite: Overwrite = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show which places of frames speak for the class that is predicted, or raise the value."""
    if out is None and not json:
        raise typer.BadParameter("expected --out, --json or both", param_hint="--out")
    if out is not None:
        # Before minutes are spent.
        refuse_overwrite(out, overwrite=overwrite)
    wanted: Any = None if method == "auto" else method
    if Path(source).suffix.lower() == ".acc":
        if code is not None:
            raise InputError("expected --code only with a checkpoint, found it with a bundle. Leave it out.")
        if layer is not None:
            raise InputError(
                "expected --layer with the network of a run or a checkpoint, found it with a bundle. Leave it out, or "
                "name the run that the bundle was converted from."
            )
        found = _of_bundle(Path(source), data, wanted, target, count, mistakes, patch, store, trust, runtime)
    else:
        if target is not None:
            raise InputError(f"expected --target with a bundle for regression, found it with {source!r}. Leave it out.")
        if store is not None or trust:
            raise InputError(f"expected --store and --trust only with a bundle, found them with {source!r}.")
        found = _of_model(source, data, wanted, count, mistakes, layer, patch, steps, code)
    if out is not None:
        from ..server.report import write_report
        from ..server.understanding.explain_page import explanation_page

        told = (("source", source), ("data", str(data)), ("command", "acclimate explain"))
        write_report(out, explanation_page(found, Path(source).name or source, told), overwrite=overwrite)
    if json:
        print_json(found.to_dict())
        return
    _tell(found)
    tell(f"wrote {out}")


def _of_bundle(
    bundle: Path,
    data: Path,
    method: "Method | None",
    target: str | None,
    count: int,
    mistakes: bool,
    patch: int | None,
    store: Path | None,
    trust: "list[str] | None",
    runtime: str,
) -> "Explanation":
    from ..bundle import Bundle
    from ..server.understanding.explain import explain_learner

    if task_of(bundle) == "regression":
        return explain_values(
            bundle,
            data,
            target=target,
            method=method,
            count=count,
            mistakes=mistakes,
            patch=patch,
            store=store,
            trust=trust,
            runtime=runtime,
        )
    if target is not None:
        raise InputError(f"expected --target with a regressor, found {bundle.name}, which has classes. Leave it out.")
    with Bundle(bundle) as opened:
        spec = opened.manifest.input
    frames, labels, names = read_frames(data, channels_of(spec), image_of(spec))
    path = store_of(bundle, store, must=store is not None)
    with open_learner(bundle, path if path.exists() else None, runtime, None, trusted=trust) as learner:
        rows = _chosen(frames, labels, count, mistakes, lambda x: learner.predict(x).labels.tolist())
        with progress("explaining") as bar:
            return explain_learner(
                learner,
                frames[rows],
                method=method,
                names=[names[i] for i in rows],
                truth=[labels[i] for i in rows] if labels is not None else (),
                patch=patch,
                progress=bar,
            )


def _of_model(
    source: str,
    data: Path,
    method: "Method | None",
    count: int,
    mistakes: bool,
    layer: str | None,
    patch: int | None,
    steps: int,
    code: str | None,
) -> "Explanation":
    if keras_file(source) is not None or source.startswith("keras:") or Path(source).suffix in (".keras", ".onnx"):
        raise InputError(
            f"expected a torch model or a bundle, found {source!r}. Convert it, and explain the bundle with occlusion."
        )
    check_code(source, code)
    frames, labels, names = read_frames(data)
    import torch

    from ..server.understanding.explain import explain_model
    from ..server.understanding.raw_model import raw_model

    found = load_named(source, code=code)
    if not isinstance(found.model, torch.nn.Module):
        raise InputError(
            f"expected a torch model, found an ONNX file in {source!r}. Convert it, and explain the bundle."
        )
    options = found.options(frames)
    classes = options["classes"] or ()
    model = raw_model(found.model, frames, options)

    def predicted(x: "NDArray[Any]") -> list[str]:
        with torch.no_grad():
            columns = model(torch.from_numpy(x.astype(np.float32))).argmax(dim=1).tolist()
        return [classes[i] if i < len(classes) else str(i) for i in columns]

    rows = _chosen(frames, labels, count, mistakes, predicted)
    with progress("explaining") as bar:
        return explain_model(
            model,
            frames[rows],
            classes,
            method=method,
            names=[names[i] for i in rows],
            truth=[labels[i] for i in rows] if labels is not None else (),
            layer=layer,
            patch=patch,
            steps=steps,
            progress=bar,
        )


def _chosen(frames: "NDArray[Any]", labels: Labels, count: int, mistakes: bool, predict: Any) -> list[int]:
    """Return the frames to explain: spread over the data, or what is predicted wrong."""
    n = len(frames)
    every = np.unique(np.linspace(0, n - 1, min(count, n)).astype(int))
    if not mistakes:
        return [int(i) for i in every]
    if labels is None:
        raise InputError(
            "expected labelled frames with --mistakes, found none. Name the classes in 'y', or by folders."
        )
    asked = np.unique(np.linspace(0, n - 1, min(n, _MOST_ASKED)).astype(int))
    wrong = [
        int(i) for start in range(0, len(asked), 64) for i in _wrong(frames, labels, asked[start : start + 64], predict)
    ]
    if not wrong:
        raise InputError(f"expected mistakes among {many(len(asked), 'frame')}, found none. Leave --mistakes out.")
    return wrong[:count]


def _wrong(frames: "NDArray[Any]", labels: list[str], rows: "NDArray[np.intp]", predict: Any) -> list[int]:
    return [int(i) for i, found in zip(rows, predict(frames[rows]), strict=True) if found != labels[i]]


def _tell(found: "Explanation") -> None:
    # Of a value, what is predicted is the score.
    score = () if found.task == "regression" else (found.unit,)
    table = Table("frame", "predicted", "label", *score, box=None, padding=(0, 2))
    for name, predicted, label, value in zip(found.names, found.predicted, found.truth, found.score, strict=True):
        row = (printable(name), printable(predicted), printable(label or "none"))
        table.add_row(*row, *([f"{value:.3f}"] if score else []))
    output.print(table)
    if len(found.gap):
        tell(f"{found.whole}: largest gap {np.abs(found.gap).max():.2g}")
    for remark in found.remarks:
        tell(remark)
