"""A compression run: candidates are made, measured on the device's runtime, and one within the budget is kept."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from ...errors import InputError, OutputExistsError, TrainingError
from ...extras import require
from ...files import write_file
from ...manifest import Runtime
from ..config.read import as_json, as_toml
from ..data import Data, load_data, validate_data
from ..data.identity import identity_of
from ..folder import remove_folder
from ..full_disk import told_if_full
from ..run_lock import LOCK_FILE, refuse_held, run_lock
from .aware_checkpoint import aware_model
from .candidates import Made, Work, make_candidates, rehearse
from .keep import keep
from .original import original_of
from .outcome import FORMAT, VERSION, Compression
from .raw_samples import raw_samples
from .search import Candidate, SearchReport, search
from .settings import CompressConfig, read_compress_config

if TYPE_CHECKING:
    from ..training.loop import Listener, Progress

INPUTS, CONFIG = "inputs.json", "config.toml"
CANDIDATES = "candidates"
_FRESH = ".candidates.new.part"
# What may differ when a run is resumed: how candidates are measured and chosen, not how they are made.
_FREE = ("evaluation", "runtime", "max_latency_ms", "max_size_mb", "max_drop")


def compress_to_budget(
    config: CompressConfig | Path | str,
    *,
    overrides: Sequence[str] = (),
    out: Path | str,
    resume: bool = False,
    device: str = "auto",
    data: Data | None = None,
    stage: Callable[[str], None] | None = None,
    progress: "Progress | None" = None,
    listener: "Listener | None" = None,
) -> Compression:
    """Make smaller models of one, measure all on the device's runtime, and keep the best within a budget.

    Args:
        config: Settings, or a file of them.
        overrides: Changes to a file of settings, such as ``compress.max_latency_ms=3``.
        out: Folder of the run: made, or empty, or with `resume` that of a run with the same settings. The budget, the
            runtime and the number of evaluation samples may be others then.
        resume: Train only what is missing; export, measure and choose anew.
        device: Where candidates are trained: ``auto``, ``cpu`` or ``cuda``.
        data: Used instead of what the settings name.
        stage: Called with the name of what is made next.
        progress: Called with steps done and steps in total, of each stage.
        listener: Called with every record of the logs of training.

    Returns:
        The table, the choice, and where bundle and checkpoint of the chosen model are. Where no model keeps the budget,
        table and report are written all the same.

    Raises:
        InputError: If settings, data, model, steps or budget do not fit each other, or another process works in `out`.
        OutputExistsError: If `out` holds something, and `resume` is false or it is no such run.
        TrainingError: If a training fails, the disk is full, or the run to resume is another one. What was trained, and
            chosen, before stays.
        ConversionError: If the original cannot be exported, or another error of `acclimate.converters.convert`.
    """
    if isinstance(config, CompressConfig):
        if overrides:
            raise InputError("expected overrides with a file of settings, found settings. Use dataclasses.replace.")
        settings = config
    else:
        settings = read_compress_config(config, overrides)
    folder = Path(out)
    _check(settings, folder, resume=resume)
    say = stage or _silent
    say("data")
    contents: tuple[str, ...] = ()
    if data is None:
        data = load_data(settings.data, seed=settings.training.seed)
        checked = validate_data(data)
        checked.require_sound()
        contents = tuple(checked.contents)
    samples = raw_samples(
        data,
        settings.data,
        calibration=settings.compress.calibration,
        evaluation=settings.compress.evaluation,
        seed=settings.training.seed,
    )
    original, architecture = original_of(settings.model, data)
    work = Work(settings, data, samples, folder, original, architecture, device, stage, progress, listener)
    if not _resumed(folder, resume=resume):
        # What takes no training is tried before anything is trained, or a folder is made.
        _rehearse(work)
    with told_if_full("a compression", folder):
        folder.mkdir(parents=True, exist_ok=True)
    with run_lock(folder):
        # Another process may have begun since.
        _check_folder(folder, resume=resume)
        _open(work, contents, resume=resume)
        begun = perf_counter()
        made, skipped = make_candidates(work)
        ready = perf_counter()
        report = _search(work, made, progress)
        return keep(work, made, skipped, report, {"candidates": ready - begun, "search": perf_counter() - ready})


def _check(settings: CompressConfig, folder: Path, *, resume: bool) -> None:
    for package in ("onnx", "onnxruntime"):
        require(package, extra="convert", needed_by="acclimate compress")
    if not settings.compress.budget.limits():
        raise InputError(
            "expected a budget, found none. Set one of --max-latency-ms, --max-size-mb and --max-drop, or the like in "
            "[compress]."
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "expected one process, found several. Train large models with pretrain under torchrun, and compress them "
            "in one process."
        )
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"expected a folder at {folder}, found a file. Choose another one with --out.")
    refuse_held(folder)
    _check_folder(folder, resume=resume)


def _check_folder(folder: Path, *, resume: bool) -> None:
    # A lock that a killed process left holds nothing.
    found = sorted(path.name for path in folder.iterdir() if path.name != LOCK_FILE) if folder.is_dir() else []
    if found and not resume:
        raise OutputExistsError(
            f"expected an empty folder at {folder}, found something in it. Go on with --resume, or choose another."
        )
    if found and INPUTS not in found:
        raise OutputExistsError(
            f"expected an empty folder at {folder}, or one of a compression to resume, found {found[0]!r} and no "
            f"{INPUTS}. Choose another one with --out."
        )


def _resumed(folder: Path, *, resume: bool) -> bool:
    return resume and (folder / INPUTS).exists()


def _open(work: Work, contents: Sequence[str], *, resume: bool) -> None:
    """Write what a run is begun with, or see that it is one with the same settings, data and original."""
    from ..objectives.teacher import teacher_identity

    config = as_json(work.config)
    config["compress"] = {key: value for key, value in config["compress"].items() if key not in _FREE}
    del config["run"]
    inputs = {
        "format": FORMAT,
        "version": VERSION,
        "config": config,
        "original": teacher_identity(work.original),
        "samples": {**identity_of(work.data), "contents": list(contents)},
    }
    path, config_path = work.folder / INPUTS, work.folder / CONFIG
    if _resumed(work.folder, resume=resume):
        _same(path, inputs)
    else:
        with told_if_full("what it is begun with", path):
            write_file(path, (json.dumps(inputs, indent=2) + "\n").encode(), overwrite=resume)
    with told_if_full("the settings", config_path):
        write_file(config_path, as_toml(work.config).encode(), overwrite=resume)


def _rehearse(work: Work) -> None:
    from ...converters import convert

    (work.stage or _silent)("rehearsal")
    rehearse(work)
    runtime = cast(Runtime, work.config.compress.runtime)
    with tempfile.TemporaryDirectory() as folder:
        convert(
            work.samples.wrapped(work.original),
            work.samples.calibration,
            out=Path(folder, "original.acc"),
            runtimes=(runtime,),
            quantize=False,
            **work.samples.options,
        )


def _same(path: Path, inputs: dict[str, Any]) -> None:
    from ..training.position import check_config

    try:
        found = json.loads(path.read_bytes())
        known = found["config"] | {name: found[name] for name in ("original", "samples")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TrainingError(
            f"expected what a compression was begun with in {path}, found that {error}. Begin anew in another folder."
        ) from error
    check_config(known, inputs["config"] | {name: inputs[name] for name in ("original", "samples")}, path)


def _search(work: Work, made: Sequence[Made], progress: "Progress | None") -> SearchReport:
    settings, samples = work.config.compress, work.samples
    aware = "quantize-aware" in settings.steps
    target, fresh = work.folder / CANDIDATES, work.folder / _FRESH
    # What an attempt that was cut off has left.
    shutil.rmtree(fresh, ignore_errors=True)

    def candidate(one: Made) -> Candidate:
        return Candidate(
            one.name,
            lambda: samples.wrapped(one.model),
            (lambda: samples.wrapped(aware_model(work, one))) if aware else None,
        )

    (work.stage or _silent)("export and measure")
    try:
        # Latencies compare only with those that were measured in turn: all are exported and measured anew.
        found = search(
            [candidate(one) for one in made],
            samples.calibration,
            (samples.evaluation, samples.evaluation_y),
            settings.budget,
            folder=fresh,
            runtime=cast(Runtime, settings.runtime),
            options=samples.options,
            progress=progress,
        )
    except BaseException:
        # Those of an earlier choice stay.
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    remove_folder(target)
    fresh.rename(target)
    return replace(found, paths=tuple(target / path.name for path in found.paths))


def _silent(name: str) -> None:
    pass
