"""What a compression run leaves: the table, the report, and bundle and checkpoint of the chosen model."""

import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import AcclimateError
from ...files import new_file
from ..checkpoint import read_record, save_checkpoint
from ..config.read import as_json
from ..data.load import data_notes
from ..folder import remove_folder
from ..full_disk import told_if_full
from ..model_folder import MODEL_FOLDER
from .aware_checkpoint import aware_model
from .candidates import Made, Work
from .hold_ranges import held_ranges
from .outcome import Compression, page, plain
from .search import SearchReport

TABLE, REPORT, CHOSEN = "compress.json", "report.html", "chosen.acc"
_FRESH = ".model.new.part"


def keep(
    work: Work,
    made: Sequence[Made],
    skipped: Sequence[tuple[str, str]],
    report: SearchReport,
    seconds: dict[str, float],
) -> Compression:
    """Write what was found; what an earlier choice within another budget had left goes once all of it is on the disk.

    Args:
        work: What candidates are made of.
        made: The candidates.
        skipped: Names of those that are none, with the reason.
        report: What the search found.
        seconds: How long each part took.

    Raises:
        TrainingError: If the disk is full; an earlier choice stays.
    """
    folder, chosen = work.folder, report.choice.chosen
    fresh = folder / _FRESH
    # What an attempt that was cut off has left.
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        model = None
        if chosen is not None:
            one = report.models[chosen]
            model = _checkpoint(work, next(m for m in made if m.name == one.name), fresh, int8=one.int8)
        found = _found(work, made, skipped, report, seconds, has_model=model is not None)
        files = _files(work, found, report)
        with ExitStack() as opened:
            for path, content in files.items():
                opened.enter_context(told_if_full("what was found", path))
                opened.enter_context(new_file(path, overwrite=True)).write_bytes(content)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    remove_folder(folder / MODEL_FOLDER)
    if model is not None:
        fresh.rename(folder / MODEL_FOLDER)
    if chosen is None:
        (folder / CHOSEN).unlink(missing_ok=True)
    return found


def _files(work: Work, found: Compression, report: SearchReport) -> dict[Path, bytes]:
    """Return the files that are written, by path."""
    from ..report import render_report

    chosen = report.choice.chosen
    files = {
        work.folder / TABLE: (json.dumps(plain(found), indent=2) + "\n").encode(),
        work.folder / REPORT: render_report(page(found, work.config)).encode(errors="replace"),
    }
    return files if chosen is None else {work.folder / CHOSEN: report.paths[chosen].read_bytes(), **files}


def _found(
    work: Work,
    made: Sequence[Made],
    skipped: Sequence[tuple[str, str]],
    report: SearchReport,
    seconds: dict[str, float],
    *,
    has_model: bool,
) -> Compression:
    folder = work.folder
    return Compression(
        folder,
        report.models,
        report.choice,
        work.config.compress.budget,
        report.paths,
        (*skipped, *report.failed),
        {one.name: one.told for one in made},
        {"calibration": len(work.samples.calibration), "evaluation": len(work.samples.evaluation)},
        None if report.choice.chosen is None else folder / CHOSEN,
        folder / MODEL_FOLDER if has_model else None,
        seconds,
    )


def _checkpoint(work: Work, made: Made, folder: Path, *, int8: bool) -> Path | None:
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
