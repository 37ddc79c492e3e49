"""The commands `acclimate update ...`: save and apply."""

from pathlib import Path
from typing import Annotated

import typer

from .console import say, size
from .opening import BundlePath, Json, Overwrite, RuntimeName, StorePath, open_device, store_of, stored_device
from .signing import Trust, read_key

app = typer.Typer(name="update", help="Carry a head from one device to others.", no_args_is_help=True)


@app.command("save")
def save(
    bundle: BundlePath,
    out: Annotated[Path, typer.Option("--out", "-o", help="The update, a .accu file.", metavar="FILE")],
    key: Annotated[Path | None, typer.Option("--key", help="Private key (PEM) to sign with.", metavar="FILE")] = None,
    overwrite: Overwrite = False,
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Write the head in use as an update for other devices with the same bundle."""
    with stored_device(bundle, store, runtime, trust) as device:
        number = device.save_update(out, key=None if key is None else read_key(key), overwrite=overwrite)
    count = out.stat().st_size
    say(
        {"file": str(out), "number": number, "bytes": count, "signed": key is not None},
        f"wrote {out}: update {number}, {size(count)}, {'signed' if key else 'not signed'}",
        json=json,
    )


@app.command("apply")
def apply(
    bundle: BundlePath,
    file: Annotated[Path, typer.Argument(metavar="UPDATE", help="A .accu file.")],
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Use the head of an update; `acclimate rollback` goes back."""
    # A device may get its first head this way, before it has observed anything.
    path = store_of(bundle, store, must=False)
    with open_device(bundle, path, runtime, 1, trust) as device:
        version = device.apply_update(file)
    say({"version": version}, f"version {version} is in use", json=json)
