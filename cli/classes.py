"""The commands `acclimate classes ...`: list, add, rename, merge, split, remove and freeze."""

from typing import TYPE_CHECKING, Annotated

import typer

from .console import many, print_json, print_row, say
from .opening import BundlePath, Ids, Json, Name, RuntimeName, StorePath, stored_learner
from .signing import Trust

if TYPE_CHECKING:
    from ..edge import Learner

INSTEAD = "Its targets are fixed: see `acclimate inspect`; `acclimate label` corrects their values."
app = typer.Typer(
    name="classes",
    help="List, add, rename, merge, split, remove and freeze classes. The next `adapt` learns from what they are then.",
    no_args_is_help=True,
)


@app.command("list")
def list_classes(
    bundle: BundlePath, store: StorePath = None, trust: Trust = None, runtime: RuntimeName = "auto", json: Json = False
) -> None:
    """List the classes with their ids, which renaming keeps."""
    with stored_learner(bundle, store, runtime, trust, INSTEAD) as learner:
        found = learner.classes.ids
    if json:
        print_json([{"id": number, "name": name} for name, number in found.items()])
        return
    for name, number in found.items():
        print_row(number, name)


@app.command("add")
def add(
    bundle: BundlePath,
    name: Name,
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Add a class without samples; a label that is new adds one by itself."""
    with stored_learner(bundle, store, runtime, trust, INSTEAD) as learner:
        learner.classes.add(name)
        _tell(learner, json=json)


@app.command("rename")
def rename(
    bundle: BundlePath,
    name: Name,
    to: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Give a class another name; its samples and the head stay."""
    with stored_learner(bundle, store, runtime, trust, INSTEAD) as learner:
        learner.classes.rename(name, to)
        _tell(learner, json=json)


@app.command("merge")
def merge(
    bundle: BundlePath,
    names: Annotated[list[str], typer.Argument(metavar="CLASS", help="The classes to merge.")],
    into: Annotated[str, typer.Option("--into", help="One of them, another class, or a new name.", metavar="CLASS")],
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Make several classes one."""
    with stored_learner(bundle, store, runtime, trust, INSTEAD) as learner:
        learner.classes.merge(names, into)
        _tell(learner, json=json)


@app.command("split")
def split(
    bundle: BundlePath,
    name: Name,
    ids: Ids,
    into: Annotated[str, typer.Option("--into", help="Name of the new class.", metavar="NEW")],
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Turn some of a class's samples into a new class; `acclimate adapt` then learns it."""
    with stored_learner(bundle, store, runtime, trust, INSTEAD) as learner:
        learner.classes.split(name, ids, into)
        _tell(learner, json=json)


@app.command("remove")
def remove(
    bundle: BundlePath,
    name: Name,
    forget: Annotated[bool, typer.Option("--forget", help="Forget its samples too, and its name.")] = False,
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Remove a class; its samples stay without a label, or are forgotten."""
    with stored_learner(bundle, store, runtime, trust, INSTEAD) as learner:
        before, _ = learner.samples
        learner.classes.remove(name, forget=forget)
        gone = before - learner.samples[0]
        _tell(learner, f"; forgot {many(gone, 'sample')}" if forget else "", json=json)


@app.command("freeze")
def freeze(
    bundle: BundlePath,
    name: Name,
    thaw: Annotated[bool, typer.Option("--thaw", help="Learn from its samples again.")] = False,
    store: StorePath = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Keep a shipped class as it was shipped: its samples are stored and judged on, and not trained on."""
    with stored_learner(bundle, store, runtime, trust, INSTEAD) as learner:
        learner.classes.freeze(name, not thaw)
    text = f"{name} is learnt from its samples again" if thaw else f"{name} stays as it was shipped"
    say({"class": name, "frozen": not thaw}, text, json=json)


def _tell(learner: "Learner", more: str = "", *, json: bool) -> None:
    say({"classes": list(learner.classes)}, f"classes: {', '.join(learner.classes) or 'none'}{more}", json=json)
