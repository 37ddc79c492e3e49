"""What a compression run leaves: the table, the report, and bundle and checkpoint of the chosen model."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import AcclimateError
from ...files import write_file
from ..checkpoint import read_record, save_checkpoint
from ..config.read import as_json
from ..data.load import data_notes
from ..folder import remove_folder
from ..model_folder import MODEL_FOLDER
from .aware_checkpoint import aware_model
from .candidates import Made, Work
from .hold_ranges import held_ranges
from .outcome import Compression, page, plain
from .search import SearchReport

TABLE, REPORT, CHOSEN = "compress.json", "report.html", "chosen.acc"


def keep(
    work: Work,
    made: Sequence[Made],
    skipped: Sequence[tuple[str, str]],
    report: SearchReport,
    seconds: dict[str, float],
) -> Compression:
    """Write what was found; what an earlier choice within another budget had left goes.

    Args:
        work: What candidates are made of.
        made: The candidates.
        skipped: Names of those that are none, with the reason.
        report: What the search found.
        seconds: How long each part took.
    """
    from ..report import write_report

    folder = work.folder
    remove_folder(folder / MODEL_FOLDER)
    (folder / CHOSEN).unlink(missing_ok=True)
    bundle = model = None
    if report.choice.chosen is not None:
        bundle = folder / CHOSEN
        shutil.copyfile(report.paths[report.choice.chosen], bundle)
        one = report.models[report.choice.chosen]
        model = _checkpoint(work, next(m for m in made if m.name == one.name), int8=one.int8)
    found = Compression(
        folder,
        report.models,
        report.choice,
        work.config.compress.budget,
        report.paths,
        (*skipped, *report.failed),
        {one.name: one.told for one in made},
        {"calibration": len(work.samples.calibration), "evaluation": len(work.samples.evaluation)},
        bundle,
        model,
        seconds,
    )
    write_file(folder / TABLE, (json.dumps(plain(found), indent=2) + "\n").encode(), overwrite=True)
    write_report(folder / REPORT, page(found, work.config), overwrite=True)
    return found


def _checkpoint(work: Work, made: Made, *, int8: bool) -> Path | None:
    """Write the checkpoint of the chosen model, if its network can be built again."""
    aware = int8 and "quantize-aware" in work.config.compress.steps
    model = aware_model(work, made) if aware else made.model
    if made.architecture is None:
        return None
    config, data = work.config, work.data
    notes: dict[str, Any] = {
        **data_notes(data),
        "config": as_json(config),
        "compressed": made.name,
        "ranges": {place: list(ends) for place, ends in held_ranges(model).items()},
    }
    folder = work.folder / MODEL_FOLDER
    save_checkpoint(folder, model, architecture=made.architecture, notes=notes)
    if not _loads(folder, model, work):
        remove_folder(folder)
        return None
    return folder


def _loads(folder: Path, model: nn.Module, work: Work) -> bool:
    """Whether a checkpoint, loaded again, gives the model to the bit."""
    from ..models import load_model

    # What we wrote ourselves, we trust.
    code = json.loads(read_record(folder).architecture)["name"]
    try:
        loaded = load_model(folder, code=code)
    except AcclimateError:
        return False
    with torch.no_grad():
        few = work.samples.calibration_x[:4]
        return bool(torch.equal(loaded(few), model.eval()(few))) and held_ranges(loaded) == held_ranges(model)
