"""Samples of a run as a device's sensor gives them: what candidates are calibrated and compared on."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from ...errors import InputError
from ..data.load import form_of
from ..data.settings import DataSettings
from ..data.split import Data

# How far a pixel may be from a whole number after its normalisation was undone.
_ROUNDING = 0.02


@dataclass(frozen=True, eq=False)
class RawSamples:
    """What search and conversion take of a run's data.

    Args:
        calibration: Training samples: ``(n, h, w, c) uint8`` frames, or ``(n, ...) float32`` before normalisation.
        calibration_x: The same as the model takes them, ``(n, ...) float32``.
        calibration_y: Their classes ``(n,) int64``, -1 for unlabelled.
        evaluation: Validation samples likewise.
        evaluation_y: Their classes.
        options: Arguments of `acclimate.converters.convert`: normalisation, axes, classes.
        shape: c and t of series, which devices give as ``(t, c)``; None of others.
    """

    calibration: NDArray[Any]
    calibration_x: Tensor
    calibration_y: Tensor
    evaluation: NDArray[Any]
    evaluation_y: NDArray[np.int64]
    options: Mapping[str, Any]
    shape: tuple[int, int] | None

    def wrapped(self, model: nn.Module) -> nn.Module:
        """Return a model that takes normalised raw samples."""
        from ..trained import ChannelsFirst

        return model if self.shape is None else ChannelsFirst(model, self.shape).eval()


def raw_samples(data: Data, settings: DataSettings, *, calibration: int, evaluation: int, seed: int) -> RawSamples:
    """Draw samples of a run.

    Args:
        data: Of the run.
        settings: Of the data.
        calibration: Most training samples.
        evaluation: Most labelled validation samples.
        seed: Fixes which.

    Raises:
        InputError: If there are several tasks, no labelled samples to validate on, or too few.
    """
    if data.validation is None or len(data.tasks) > 1:
        raise InputError(
            f"expected samples of one task, some of them for validation, found {len(data.tasks)} tasks"
            f"{' and no validation samples' if data.validation is None else ''}. Set data.validation or "
            f"data.validation_share, and name one column as data.labels."
        )
    shown, shown_y = _drawn(_plain(data.train.dataset), calibration, seed, labelled=False)
    judged, judged_y = _drawn(data.validation.dataset, evaluation, seed, labelled=True)
    if len(shown) < 8 or not len(judged):
        raise InputError(
            f"expected 8 training samples and a labelled validation sample or more, found {len(shown)} and "
            f"{len(judged)}. Give more data."
        )
    form = _form(data, settings)
    options: dict[str, Any] = {"classes": data.classes, "mean": 0.0, "std": 1.0}
    if data.mean:
        options["mean"] = data.mean[:1] if form == "sound" else data.mean
    if data.std:
        options["std"] = data.std[:1] if form == "sound" else data.std
    raws: list[NDArray[Any]] = [_undone(x, options, form == "series") for x in (shown, judged)]
    if form.startswith("image") and (form == "image" or all(map(_pixels, raws))):
        raws = [np.rint(255 * raw).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1) for raw in raws]
    elif form == "sound":
        options["axes"] = ("channel", "band", "time")
    shape = (data.shape[0], data.shape[1]) if form == "series" else None
    calibrated, evaluated = map(np.ascontiguousarray, raws)
    return RawSamples(calibrated, shown, shown_y, evaluated, judged_y.numpy(), options, shape)


def _form(data: Data, settings: DataSettings) -> str:
    # Loading models needs the package that this is part of.
    from ..trained_input import form_of as noted_form

    found = form_of(data)
    if found is not None and found != "shards":
        return found
    known = {"kind": settings.kind, "window": settings.window}
    return noted_form({"config": {"data": known}, "source": data.source}, tuple(data.shape))


def _plain(dataset: Dataset[Any]) -> Dataset[Any]:
    plain = getattr(dataset, "plain", None)
    found: Dataset[Any] = plain() if plain else dataset
    return found


def _drawn(dataset: Dataset[Any], most: int, seed: int, *, labelled: bool) -> tuple[Tensor, Tensor]:
    """Return x and y of drawn samples; of a stream those of its beginning."""
    if isinstance(dataset, IterableDataset):
        samples = iter(dataset)
    else:
        order = np.random.default_rng(seed).permutation(len(dataset))  # type: ignore[arg-type]
        samples = (dataset[int(row)] for row in order)
    kept = (
        (x, torch.as_tensor(label))
        for x, y, *_ in samples
        if (label := y[0] if isinstance(y, tuple) else y) >= 0 or not labelled
    )
    found = list(islice(kept, most))
    if not found:
        return torch.empty(0), torch.empty(0, dtype=torch.int64)
    return torch.stack([x for x, _ in found]).float(), torch.stack([y for _, y in found]).to(torch.int64)


def _undone(x: Tensor, options: Mapping[str, Any], series: bool) -> NDArray[np.float32]:
    """Return samples as they were before they were normalised; series with time first."""
    values: NDArray[Any] = x.double().numpy()
    if series:
        values = values.transpose(0, 2, 1)
    # Of images and sounds the channel comes first, of series and tables last.
    axes = (-1, *[1] * (values.ndim - 2)) if values.ndim == 4 else (-1,)
    mean, std = (np.asarray(options[name], np.float64) for name in ("mean", "std"))
    mean, std = (one.reshape(axes) if one.ndim else one for one in (mean, std))
    raw: NDArray[np.float32] = (values * std + mean).astype(np.float32)
    return raw


def _pixels(raw: NDArray[np.float32]) -> bool:
    """Whether values can only be those of pixels."""
    levels = 255 * raw
    near = np.abs(levels - np.rint(levels)).max() < _ROUNDING and levels.min() > -0.5 and levels.max() < 255.5
    return raw.shape[1] in (1, 3) and bool(near)
