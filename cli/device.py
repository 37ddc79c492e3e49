"""The commands of the device side: inspect, predict, observe, adapt, versions, rollback."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import InputError
from .console import output, print_json, progress, size
from .frames import read_frames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..edge import Learner
    from ..manifest import Variant

EXIT_NOT_APPLIED = 3
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle, a .acc file.")]
DataPath = Annotated[
    Path, typer.Argument(metavar="DATA", help=".npy, .npz (x, y), an image, or a folder of images, one per class.")
]
StorePath = Annotated[
    Path | None, typer.Option("--store", help="The local store. By default the bundle's name with .db.", metavar="FILE")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RuntimeName = Annotated[str, typer.Option("--runtime", help="onnx, tflite or auto.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of the runtime. By default every core.")]


def inspect(bundle: BundlePath, json: Json = False) -> None:
    """Show what is in a bundle, and check every hash."""
    from ..bundle import Bundle

    with Bundle(bundle) as opened:
        opened.verify()
        manifest, sizes = opened.manifest, opened.sizes
    if json:
        print_json(
            {
                "file": str(bundle),
                "bytes": bundle.stat().st_size,
                "verified": True,
                "task": manifest.task,
                "classes": list(manifest.classes),
                "input": {"shape": list(manifest.input.shape), "dtype": manifest.input.dtype},
                "cut": manifest.cut,
                "latent": manifest.width,
                "taps": [{"name": t.name, "offset": t.offset, "width": t.width} for t in manifest.taps],
                "variants": [
                    {"runtime": v.runtime, "quantized": v.quantized, "hash": v.hash, "saturated": v.saturated}
                    for v in manifest.variants
                ],
                "members": sizes,
                "provenance": dict(manifest.provenance),
                "licence": manifest.licence,
            }
        )
        return
    facts = Table.grid(padding=(0, 2))
    classes = ", ".join(manifest.classes[:12]) + (", ..." if len(manifest.classes) > 12 else "")
    shape = " x ".join(f"{n} {axis}" for n, axis in zip(manifest.input.shape, manifest.input.axes, strict=True))
    low, high = manifest.input.range
    for name, value in (
        ("bundle", f"{bundle.name}, {size(bundle.stat().st_size)}, every hash is right"),
        ("task", f"{manifest.task}, {len(manifest.classes)} classes: {classes}"),
        ("input", f"{shape}, {manifest.input.dtype} from {low:g} to {high:g}"),
        ("cut", manifest.cut),
        ("latent", f"{manifest.width} dimensions: " + ", ".join(f"{t.name} {t.width}" for t in manifest.taps)),
        *((f"{v.runtime} variant", _variant(v)) for v in manifest.variants),
        ("licence", manifest.licence or "not stated"),
        *manifest.provenance.items(),
    ):
        facts.add_row(name, value)
    output.print(facts, markup=False)
    members = Table("member", "size", box=None, padding=(0, 2))
    members.columns[1].justify = "right"
    for name, count in sizes.items():
        members.add_row(name, size(count))
    output.print(members)


def predict(
    bundle: BundlePath,
    data: DataPath,
    store: StorePath = None,
    runtime: RuntimeName = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Classify frames with the head in use."""
    # Predicting needs no store: without one the shipped head is used, and no file is made.
    path = store if store is not None else _beside(bundle)
    if store is not None:
        _existing(store)
    with _open(bundle, path if path.exists() else None, runtime, threads) as learner:
        frames, labels, names = _read(data, bundle)
        found = learner.predict(frames)
    accuracy = None
    if labels is not None:
        accuracy = sum(a == b for a, b in zip(found.labels, labels, strict=True)) / len(labels)
    rows = [
        (name, str(label), float(p.max()))
        for name, label, p in zip(names, found.labels, found.probabilities, strict=True)
    ]
    if json:
        predictions = [{"frame": name, "label": label, "probability": p} for name, label, p in rows]
        print_json({"predictions": predictions, "accuracy": accuracy})
        return
    for name, label, p in rows:
        output.print(f"{name}\t{label}\t{p:.3f}", markup=False)
    if accuracy is not None:
        output.print(f"accuracy {accuracy:.4f} on {len(rows)} labelled frames")


def observe(
    bundle: BundlePath,
    data: DataPath,
    store: StorePath = None,
    tag: Annotated[
        str | None, typer.Option("--tag", help="A group, for example the person that the frames show.")
    ] = None,
    new_classes: Annotated[str, typer.Option("--new-classes", help="add or refuse.")] = "add",
    skip: Annotated[bool, typer.Option("--skip-duplicates", help="Skip frames that are stored already.")] = False,
    runtime: RuntimeName = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Run the backbone once on each frame and store the latents, with labels where the data has them."""
    with _open(bundle, store or _beside(bundle), runtime, threads, new_classes) as learner:
        frames, labels, names = _read(data, bundle)
        before = learner.classes
        with progress("observing") as report:
            ids = learner.observe(
                frames,
                labels,
                tags=[tag] * len(frames),
                keys=names,
                on_duplicate="skip" if skip else "refuse",
                progress=report,
            )
        total, labelled = learner.samples
        new = [name for name in learner.classes if name not in before]
    if json:
        print_json({"ids": ids.tolist(), "stored": total, "labelled": labelled, "new_classes": new})
        return
    output.print(f"observed {len(ids)} frames; the store holds {total} samples, {labelled} of them labelled")
    if new:
        output.print(f"new classes: {', '.join(new)}", markup=False)


def adapt(
    bundle: BundlePath,
    store: StorePath = None,
    on_insufficient: Annotated[
        str | None,
        typer.Option(
            help="With too few samples to tell: keep the head in use, or apply the candidate. By default a shipped "
            "head is kept, and one that was adapted here is refreshed."
        ),
    ] = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Choose and fit a head on the stored samples, and use it if it is no worse."""
    if on_insufficient not in ("keep", "apply", None):
        raise typer.BadParameter("expected keep or apply", param_hint="--on-insufficient")
    with _open(bundle, _existing(store or _beside(bundle)), runtime, 1) as learner, progress("adapting") as bar:
        report = learner.adapt(on_insufficient=on_insufficient, progress=bar)  # type: ignore[arg-type]
    if json:
        print_json(report.to_dict())
    else:
        output.print(str(report), markup=False)
        table = Table("head", "regularisation", "source weight", "prior", "accuracy", "loss", box=None, padding=(0, 2))
        for trial in report.trials[:5]:
            s = trial.setting
            figures = (
                f"{s.regularisation:g}",
                f"{s.source_weight:g}",
                s.prior,
                f"{trial.accuracy:.3f}",
                f"{trial.loss:.3f}",
            )
            table.add_row(s.head, *figures)
        output.print(table)
        output.print(f"version {report.version} is in use; {report.seconds:.2f} s")
    if not report.applied:
        raise typer.Exit(EXIT_NOT_APPLIED)


def versions(bundle: BundlePath, store: StorePath = None, runtime: RuntimeName = "auto", json: Json = False) -> None:
    """List the versions of the head; the one in use is marked."""
    with _open(bundle, _existing(store or _beside(bundle)), runtime, 1) as learner:
        history = learner.versions()
    if json:
        print_json([{"number": v.number, "current": v.current, "time": v.time, "summary": v.summary} for v in history])
        return
    for version in history:
        output.print(f"{'*' if version.current else ' '} {version.number}\t{version.summary}", markup=False)


def rollback(
    bundle: BundlePath,
    number: Annotated[int | None, typer.Argument(metavar="[VERSION]", help="By default the one before.")] = None,
    store: StorePath = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Use an earlier version of the head again; 0 is the shipped one."""
    with _open(bundle, _existing(store or _beside(bundle)), runtime, 1) as learner:
        now = learner.rollback(number)
    if json:
        print_json({"version": now})
        return
    output.print(f"version {now} is in use")


def _open(bundle: Path, store: Path | None, runtime: str, threads: int | None, new_classes: str = "add") -> "Learner":
    from ..edge import Learner

    if runtime not in ("auto", "onnx", "tflite"):
        raise typer.BadParameter("expected auto, onnx or tflite", param_hint="--runtime")
    if new_classes not in ("add", "refuse"):
        raise typer.BadParameter("expected add or refuse", param_hint="--new-classes")
    return Learner.open(
        bundle,
        store,
        runtime=runtime,  # type: ignore[arg-type]  # checked above
        threads=threads,
        new_classes=new_classes,  # type: ignore[arg-type]
    )


def _read(data: Path, bundle: Path) -> tuple["NDArray[np.generic]", list[str] | None, list[str]]:
    """Read frames as the bundle takes them; a single one in a `.npy` file gets a first axis."""
    from ..bundle import Bundle

    with Bundle(bundle) as opened:
        spec = opened.manifest.input
    frames, labels, names = read_frames(data, spec.shape[-1] if spec.axes[-1] == "channel" else None)
    return (frames[None], labels, [data.name]) if frames.shape == spec.shape else (frames, labels, names)


def _beside(bundle: Path) -> Path:
    return bundle.with_suffix(".db")


def _existing(store: Path) -> Path:
    if not store.is_file():
        raise InputError(f"expected a store at {store}, found none. Observe samples first, or name it with --store.")
    return store


def _variant(variant: "Variant") -> str:
    kind = "int8" if variant.quantized else "float32"
    return f"{kind}, hash {variant.hash[:12]}, {variant.saturated:.2%} of source latents saturated"
