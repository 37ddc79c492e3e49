"""Models of torchvision and timm, with what these packages know of their input."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ...extras import require
from ..quiet import quiet
from .absent import near_names
from .load import Known, ModelSource
from .weights import load_weights

_RANDOM, _DEFAULT = "random", "DEFAULT"
_LONGEST_NAME = 200
_LISTS = {"torchvision": "models.list_models()", "timm": "list_models()"}


def load_torchvision(name: str, file: Path | None, seed: int) -> ModelSource:
    """Load a classifier of torchvision. Arguments and errors are those of `load_source`.

    Args:
        name: ``NAME`` or ``NAME@WEIGHTS``.
        file: Weights, or None.
        seed: Fixes the weights of an untrained model.
    """
    require("torchvision", extra="sources", needed_by=f"torchvision:{name}")
    with quiet():
        import torchvision

    models = torchvision.models
    # A name that there is not has no weights to choose.
    try:
        choices = models.get_model_weights(name.partition("@")[0])
    except ValueError as error:
        raise InputError(_no_model("torchvision", name, models.list_models())) from error
    name, wanted = _wanted("torchvision", name, file)
    chosen = choices.DEFAULT if wanted in (_RANDOM, _DEFAULT, None) else choices.__members__.get(wanted)
    if chosen is None:
        raise InputError(
            f"expected weights of torchvision:{name} out of {sorted(choices.__members__)}, found {wanted!r}."
        )

    def build(classes: int | None) -> nn.Module:
        # Some have initialisers that take long, and warn that they do.
        options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
        model: nn.Module = models.get_model(name, weights=None, **options)
        return model

    preset = chosen.transforms()
    size = getattr(preset, "crop_size", [None])[0]
    notes: tuple[str, ...] = ()
    if size is not None and preset.resize_size[0] != size:
        notes = (
            f"torchvision evaluates on the middle {size} x {size} of frames resized to {preset.resize_size[0]}: "
            f"here the whole frame is resized to {size} x {size}.",
        )
    known = Known(
        None if size is None else (size, size),
        _numbers(getattr(preset, "mean", None)),
        _numbers(getattr(preset, "std", None)),
        notes=notes,
    )
    if file is not None:
        return ModelSource(load_weights(_seeded(build, seed), file).eval(), known)
    if wanted == _RANDOM:
        return ModelSource(_untrained(_seeded(build, seed)(None)), known)
    model = _download(
        lambda: models.get_model(name, weights=chosen), f"torchvision:{name}@{wanted}", f"{chosen.url} and pass it"
    )
    categories = unique_names(chosen.meta.get("categories", ()))
    return ModelSource(model.eval(), Known(known.size, known.mean, known.std, categories, known.notes))


def load_timm(name: str, file: Path | None, seed: int) -> ModelSource:
    """Load a classifier of timm. Arguments are those of `load_torchvision`."""
    require("timm", extra="sources", needed_by=f"timm:{name}")
    with quiet():
        import timm

    if not timm.is_model(name.partition("@")[0]):
        raise InputError(_no_model("timm", name, timm.list_models()))
    name, wanted = _wanted("timm", name, file)
    if wanted not in (_RANDOM, _DEFAULT, None):
        raise InputError(f"expected timm:NAME@DEFAULT or timm:NAME@random, found {wanted!r}. timm's NAME has the tag.")

    def build(classes: int | None) -> nn.Module:
        options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
        model: nn.Module = timm.create_model(name, pretrained=False, **options)
        return model

    if file is not None:
        model = load_weights(_seeded(build, seed), file)
    elif wanted == _RANDOM:
        model = _untrained(_seeded(build, seed)(None))
    else:
        model = _download(
            lambda: timm.create_model(name, pretrained=True), f"timm:{name}@{wanted}", "the model's file and pass it"
        )
    told: dict[str, Any] = dict(getattr(model, "pretrained_cfg", {}) or {})
    size = tuple(told.get("input_size") or ())
    how = told.get("interpolation", "bilinear")
    notes = () if how == "bilinear" else (f"timm resizes with {how!r}, here frames are resized bilinearly.",)
    names = told.get("label_descriptions") or told.get("label_names") or ()
    return ModelSource(
        model.eval(),
        Known(
            (int(size[1]), int(size[2])) if len(size) == 3 else None,
            _numbers(told.get("mean")),
            _numbers(told.get("std")),
            unique_names(names) if isinstance(names, list | tuple) and file is None and wanted == _DEFAULT else None,
            notes,
        ),
    )


def unique_names(names: Iterable[object]) -> tuple[str, ...] | None:
    """Return class names, each once: a second one of a name (ImageNet has some) gets its place behind it."""
    found: list[str] = []
    for i, name in enumerate(names):
        text = re.sub(r"\s+", " ", str(name)).strip()[: _LONGEST_NAME - 12] or str(i)
        found.append(f"{text} ({i})" if text in found else text)
    return tuple(found) or None


def _no_model(package: str, name: str, names: Sequence[str]) -> str:
    near = near_names(name.partition("@")[0], names)
    advice = f"Close to it: {', '.join(near)}." if near else f"{package}.{_LISTS[package]} has the names."
    return f"expected a model of {package}, found {name!r:.200}, which there is none of. {advice}"


def _wanted(package: str, name: str, file: Path | None) -> tuple[str, str | None]:
    name, _, wanted = name.partition("@")
    if bool(wanted) == (file is not None):
        found = "none" if file is None else "both"
        raise InputError(
            f"expected weights for {package}:{name} either by name or from a file, found {found}. "
            f"{package}:{name}@DEFAULT downloads them, --weights FILE (model.weights of a run) reads them, "
            f"{package}:{name}@random is untrained."
        )
    return name, wanted or None


def _seeded(build: Callable[[int | None], nn.Module], seed: int) -> Callable[[int | None], nn.Module]:
    def run(classes: int | None) -> nn.Module:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build(classes)

    return run


def _untrained(model: nn.Module) -> nn.Module:
    """Let statistics that have seen no data stand: here they were not forgotten, they were asked for."""
    for module in model.modules():
        tracked = getattr(module, "num_batches_tracked", None)
        if tracked is not None:
            tracked.fill_(1)
    return model.eval()


def _download(fetch: Callable[[], nn.Module], what: str, instead: str) -> nn.Module:
    try:
        with quiet():
            return fetch()
    # Every hub raises errors of its own where it cannot be reached.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"expected to download the weights of {what}, found {type(error).__name__}: {reason}. "
            f"Without a connection, fetch {instead} with --weights FILE, without @."
        ) from error


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)
