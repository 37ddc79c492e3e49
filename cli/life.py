"""The commands for stored samples and what becomes of them: label, forget, suggest, suspects, estimate, export."""

from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ..errors import InputError
from .console import many, output, print_json, print_row, printable, say, size, tell
from .opening import (
    BundlePath,
    Ids,
    Json,
    Overwrite,
    RuntimeName,
    StorePath,
    no_classes,
    open_device,
    stored_device,
    stored_learner,
)
from .signing import Trust
from .values import typed_values

if TYPE_CHECKING:
    from ..edge import Learner, Regressor

STRATEGIES = ("margin", "least-confidence", "entropy", "k-centre")
SUSPICIOUS = "Use `acclimate predict` on labelled frames, and look at values far outside of their interval."


def label(
    bundle: BundlePath,
    name: Annotated[
        str,
        typer.Argument(metavar="LABEL", help="Name of a class; for regression a value, or one per target: 3.2,-1."),
    ],
    ids: Ids,
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Label or relabel stored samples; a name that is new adds a class."""
    from ..edge import Learner

    ids = list(dict.fromkeys(ids))
    with stored_device(bundle, store, runtime, trust) as device:
        if isinstance(device, Learner):
            before = tuple(device.classes)
            device.label(ids, [name] * len(ids))
            new = [found for found in device.classes if found not in before]
            plain: dict[str, Any] = {"ids": ids, "label": name, "new_classes": new}
        else:
            values, new = typed_values(name, device.targets), []
            device.label(ids, [values] * len(ids))
            plain = {"ids": ids, "values": dict(zip(device.targets, values, strict=True))}
    say(plain, f"labelled {many(len(ids), 'sample')} {name}" + (", a new class" if new else ""), json=json)


def forget(
    bundle: BundlePath,
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID", help="Ids of stored samples.")] = None,
    name: Annotated[str | None, typer.Option("--label", help="All samples of a class.", metavar="CLASS")] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="All samples with a tag.", metavar="TAG")] = None,
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Forget samples exactly, by id, class or tag: latents, labels, and every version trained on one of them."""
    from ..edge import Learner

    if sum(given is not None for given in (ids or None, name, tag)) != 1:
        raise typer.BadParameter("expected either ids, or --label, or --tag")
    with stored_device(bundle, store, runtime, trust) as device:
        if isinstance(device, Learner):
            gone = device.forget(ids or None, label=name, tag=tag)
        elif name is None:
            gone = device.forget(ids or None, tag=tag)
        else:
            raise no_classes(bundle, "Use `acclimate forget` with ids or --tag.")
    if not gone.samples:
        # A script that forgets a person must not take a slip for done.
        what, given = ("tag", tag) if name is None else ("label", name)
        raise InputError(
            f"expected a {what} that stored samples have, found none with {given!r}. Check how it is spelt."
        )
    text = f"forgot {many(gone.samples, 'sample')} and {many(gone.versions, 'version')} trained on them"
    if not gone.erased:
        text += "; another process still reads the store: the bytes are erased at the next change or opening after it"
    say({"samples": gone.samples, "versions": gone.versions, "erased": gone.erased}, text, json=json)


def suggest(
    bundle: BundlePath,
    n: Annotated[int, typer.Option("-n", min=1, help="How many at most.")] = 10,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            help=f"{', '.join(STRATEGIES[:3])} or k-centre. By default margin; for regression there is only k-centre.",
        ),
    ] = None,
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Tell which unlabelled samples to label next, by id and key, the most useful first."""
    from ..edge import Learner

    if strategy not in (*STRATEGIES, None):
        raise typer.BadParameter(f"expected one of {', '.join(STRATEGIES)}", param_hint="--strategy")
    with stored_device(bundle, store, runtime, trust) as device:
        if isinstance(device, Learner):
            ids = device.suggest(n, strategy or "margin").tolist()  # type: ignore[arg-type]  # checked above
        elif strategy in ("k-centre", None):
            ids = device.suggest(n).tolist()
        else:
            raise no_classes(bundle, "Use `acclimate suggest --strategy k-centre`.")
        keys = device.keys(ids)
    if json:
        print_json([{"id": i, "key": key} for i, key in zip(ids, keys, strict=True)])
        return
    for i, key in zip(ids, keys, strict=True):
        print_row(i, key or "")
    if not ids:
        tell("every stored sample has a label")


def suspects(
    bundle: BundlePath, store: StorePath = None, trust: Trust = None, runtime: RuntimeName = "auto", json: Json = False
) -> None:
    """List samples that are probably labelled wrong, the surest first."""
    with stored_learner(bundle, store, runtime, trust, SUSPICIOUS) as learner:
        found = learner.suspects()
        keys = learner.keys([suspect.id for suspect in found])
    if json:
        print_json(
            [
                {"id": s.id, "key": key, "label": s.label, "suggested": s.suggested, "confidence": s.confidence}
                for s, key in zip(found, keys, strict=True)
            ]
        )
        return
    table = Table("id", "key", "label", "looks like", "confidence", box=None, padding=(0, 2))
    for s, key in zip(found, keys, strict=True):
        table.add_row(*map(printable, (s.id, key or "", s.label, s.suggested)), f"{s.confidence:.2f}")
    output.print(table if found else "no label looks wrong")


def estimate(
    bundle: BundlePath,
    samples: Annotated[
        int | None, typer.Option("--samples", min=2, help="Labelled samples; by default those that are stored.")
    ] = None,
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Tell what adapting will cost: seconds, memory and disk."""
    with stored_device(bundle, store, runtime, trust) as device:
        found = device.estimate(samples)
    text = (
        f"{many(found.samples, 'labelled sample')}: adapting takes about {found.seconds:.2g} s and at most "
        f"{size(found.memory)} on top of what the process has; the store takes about {size(found.disk)}"
    )
    if found.tail_seconds:
        text += (
            f"; training the tail, where it is trained, takes about {found.tail_seconds:.2g} s more and at most "
            f"{size(found.tail_memory)}"
        )
    say(asdict(found), text, json=json)


def export(
    bundle: BundlePath,
    out: Annotated[Path, typer.Option("--out", "-o", help="A file ending in .onnx or .tflite.", metavar="FILE")],
    overwrite: Overwrite = False,
    store: StorePath = None,
    trust: Trust = None,
    json: Json = False,
) -> None:
    """Write the complete adapted model: raw frames in, probabilities or values out, for any runtime."""
    ending = out.suffix.removeprefix(".")
    if ending not in ("onnx", "tflite"):
        raise typer.BadParameter("expected a file ending in .onnx or .tflite", param_hint="--out")
    if store is not None or bundle.with_suffix(".db").is_file():
        # With the runtime that the store was made with: another ending is then told from a damaged store.
        opened: AbstractContextManager[Learner | Regressor] = stored_device(bundle, store, "auto", trust)
    else:
        # Nothing was learnt here: it is the shipped head that is exported.
        opened = open_device(bundle, None, ending, 1, trust)
    with opened as device:
        device.export(out, overwrite=overwrite)
        version = next(entry.number for entry in device.versions() if entry.current)
    count = out.stat().st_size
    say(
        {"file": str(out), "bytes": count, "version": version},
        f"wrote {out}: version {version}, {size(count)}",
        json=json,
    )
