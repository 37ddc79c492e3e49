"""The commands of the device side that stand on their own: predict, observe, versions, rollback."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import many, print_json, print_row, progress, say, tell
from .frames import read_frames
from .opening import (
    BundlePath,
    Json,
    RuntimeName,
    StorePath,
    Threads,
    no_classes,
    one_of,
    open_device,
    open_learner,
    open_regressor,
    store_of,
    stored_device,
    task_of,
)
from .signing import Trust
from .values import Targets, channels_of, image_of, no_targets, predict_values, read_measured
from .wording import files_named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..manifest import InputSpec

DataPath = Annotated[
    Path, typer.Argument(metavar="DATA", help=".npy, .npz (x, y), an image, or a folder of images, one per class.")
]


def predict(
    bundle: BundlePath,
    data: DataPath,
    targets: Targets = None,
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Classify frames with the head in use, and mark those unlike every class; or predict values and their interval."""
    from ..edge import Learner

    # Predicting needs no store: without one the shipped head is used, and no file is made.
    path = store_of(bundle, store, must=store is not None)
    with open_device(bundle, path if path.exists() else None, runtime, threads, trust) as device:
        if not isinstance(device, Learner):
            predict_values(device, *read_measured(data, _spec(bundle), targets), json=json)
            return
        no_targets(bundle, targets)
        frames, labels, names = _read(data, bundle)
        found = device.predict(frames)
    accuracy = None
    if labels is not None:
        accuracy = sum(a == b for a, b in zip(found.labels, labels, strict=True)) / len(labels)
    rows = [
        (name, str(label), float(p.max()), bool(unknown))
        for name, label, p, unknown in zip(names, found.labels, found.probabilities, found.unknown, strict=True)
    ]
    if json:
        keys = ("frame", "label", "probability", "unknown")
        print_json({"predictions": [dict(zip(keys, row, strict=True)) for row in rows], "accuracy": accuracy})
        return
    for name, label, p, unknown in rows:
        print_row(name, label, f"{p:.3f}", *(["unknown"] if unknown else []))
    if found.unknown.any():
        tell(f"{found.unknown.sum()} of {many(len(rows), 'frame')} unlike every class")
    if accuracy is not None:
        tell(f"accuracy {accuracy:.4f} on {many(len(rows), 'labelled frame')}")


def observe(
    bundle: BundlePath,
    data: DataPath,
    store: StorePath = None,
    targets: Targets = None,
    tag: Annotated[
        str | None, typer.Option("--tag", help="A group, for example the person that the frames show.")
    ] = None,
    new_classes: Annotated[
        str, typer.Option("--new-classes", help="add or refuse.", callback=one_of("add", "refuse"))
    ] = "add",
    skip: Annotated[bool, typer.Option("--skip-duplicates", help="Skip frames that are stored already.")] = False,
    max_bytes: Annotated[
        int | None,
        typer.Option(
            "--max-bytes", min=0, help="Bound on the store, kept from then on: samples give way at random. 0 lifts it."
        ),
    ] = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Run the backbone once on each frame and store the latents, with labels where the data has them."""
    path = store_of(bundle, store, must=False)
    options: Any = {"on_duplicate": "skip" if skip else "refuse"}
    new: list[str] = []
    if task_of(bundle) == "regression":
        if new_classes != "add":
            raise no_classes(bundle, "Use `acclimate observe` without --new-classes.")
        frames, values, names = read_measured(data, _spec(bundle), targets)
        with open_regressor(bundle, path, runtime, threads, trust, max_bytes) as device, progress("observing") as bar:
            with files_named(names):
                ids = device.observe(frames, values, tags=[tag] * len(frames), keys=names, progress=bar, **options)
            total, labelled = device.samples
    else:
        no_targets(bundle, targets)
        # Opening makes a store: what is no frames is told before.
        frames, labels, names = _read(data, bundle)
        with open_learner(bundle, path, runtime, threads, new_classes, trust, max_bytes) as learner:
            before = tuple(learner.classes)
            with progress("observing") as bar, files_named(names):
                ids = learner.observe(frames, labels, tags=[tag] * len(frames), keys=names, progress=bar, **options)
            total, labelled = learner.samples
            new = [name for name in learner.classes if name not in before]
    if json:
        print_json({"ids": ids.tolist(), "stored": total, "labelled": labelled, "new_classes": new})
        return
    kept = ids[ids >= 0]
    tell(
        f"observed {many(len(ids), 'frame')}{_span(kept)}; the store holds {many(total, 'sample')}, "
        f"{labelled} of them labelled"
    )
    if len(kept) < len(ids):
        tell(f"{many(len(ids) - len(kept), 'frame')} had to give way at once: the store is full")
    if new:
        tell(f"new classes: {', '.join(new)}")


def versions(
    bundle: BundlePath, store: StorePath = None, trust: Trust = None, runtime: RuntimeName = "auto", json: Json = False
) -> None:
    """List the versions of the head; the one in use is marked."""
    with stored_device(bundle, store, runtime, trust) as device:
        history = device.versions()
    if json:
        print_json([{"number": v.number, "current": v.current, "time": v.time, "summary": v.summary} for v in history])
        return
    for version in history:
        tell(f"{'*' if version.current else ' '} {version.number}".ljust(8) + version.summary)


def rollback(
    bundle: BundlePath,
    number: Annotated[int | None, typer.Argument(metavar="[VERSION]", help="By default the one before.")] = None,
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Use an earlier version of the head again; 0 is the shipped one."""
    with stored_device(bundle, store, runtime, trust) as device:
        now = device.rollback(number)
    say({"version": now}, f"version {now} is in use", json=json)


def _span(ids: "NDArray[np.int64]") -> str:
    """Say which ids samples have got, where these follow one another."""
    if not len(ids) or ids[-1] - ids[0] != len(ids) - 1:
        return ""
    return f" as {ids[0]}" if len(ids) == 1 else f" as {ids[0]} to {ids[-1]}"


def _read(data: Path, bundle: Path) -> tuple["NDArray[np.generic]", list[str] | None, list[str]]:
    """Read frames as the bundle takes them; a single one in a `.npy` file gets a first axis."""
    spec = _spec(bundle)
    frames, labels, names = read_frames(data, channels_of(spec), image_of(spec))
    return (frames[None], labels, [data.name]) if frames.shape == spec.shape else (frames, labels, names)


def _spec(bundle: Path) -> "InputSpec":
    from ..bundle import Bundle

    with Bundle(bundle) as opened:
        return opened.manifest.input
