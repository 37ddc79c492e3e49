"""What each input, or each place, adds to a logit of a torch model: integrated gradients and Grad-CAM, by captum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import InputError
from ...extras import require

Float64 = NDArray[np.float64]
Progress = Callable[[int, int], None]
Targets = int | Sequence[int] | NDArray[np.integer] | None
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Inputs that go through the model together, each at several steps of its path.
_ROWS = 64


@dataclass(frozen=True, eq=False)
class Attribution:
    """What adds to a logit.

    Args:
        values: Of integrated gradients ``(n, *shape)``, a share of the logit for each input; of Grad-CAM
            ``(n, *space)``, for each place of the layer's map.
        target: ``(n,)`` columns of the logits.
        score: ``(n,)`` the logits.
        baseline: ``(n,)`` the logits of the baselines; NaN for Grad-CAM, which has none.
        layer: Name of the layer that Grad-CAM looked at; empty for the other.
    """

    values: Float64
    target: NDArray[np.int64]
    score: Float64
    baseline: Float64
    layer: str = ""

    @property
    def delta(self) -> Float64:
        """``(n,)`` what the values add up to, less the difference of the logits: 0 if they are complete."""
        found: Float64 = self.values.reshape(len(self.values), -1).sum(axis=1) - (self.score - self.baseline)
        return found


def integrated_gradients(
    model: nn.Module,
    inputs: NDArray[np.floating],
    *,
    target: Targets = None,
    baseline: NDArray[np.floating] | float = 0.0,
    steps: int = 64,
    progress: Progress | None = None,
) -> Attribution:
    """Add up gradients on the way from a baseline to each input.

    Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks". The values add up to the logit's
    difference between input and baseline, but for the rounding of the sum over steps, `Attribution.delta`: more steps
    make it smaller. Of a linear model each is weight times input less baseline.

    Args:
        model: From ``(n, *shape) float32`` to logits ``(n, k)``; it is asked in evaluation mode.
        inputs: ``(n, *shape)``.
        target: Column of the logits, one for all or one each; None for the greatest.
        baseline: What stands for nothing: a number, or what broadcasts to the inputs.
        steps: Steps of each path.
        progress: Called with the number of inputs done and of all.

    Returns:
        The attribution.

    Raises:
        InputError: If something does not fit, or is not finite.
        MissingExtraError: If captum is not installed.
    """
    require("captum", extra="explain", needed_by="integrated gradients")
    from captum.attr import IntegratedGradients

    if not 1 <= steps <= 10_000:
        raise InputError(f"expected 1 to 10000 steps, found {steps}.")
    x, score, chosen = _asked(model, inputs, target)
    try:
        start = torch.from_numpy(np.broadcast_to(np.asarray(baseline, np.float32), x.shape).copy())
    except ValueError as error:
        raise InputError(f"expected a baseline that broadcasts to {tuple(x.shape)}, found {error}.") from error
    asked: Any = IntegratedGradients(model)
    values = []
    for i in range(0, len(x), max(1, _ROWS // steps)):
        rows = slice(i, i + max(1, _ROWS // steps))
        found = asked.attribute(
            x[rows], baselines=start[rows], target=chosen[rows], n_steps=steps, internal_batch_size=_ROWS
        )
        values.append(found.detach().double().numpy())
        if progress is not None:
            progress(min(rows.stop, len(x)), len(x))
    picked = torch.arange(len(x))
    base = _logits(model, start)[picked, chosen].double().numpy()
    return Attribution(np.concatenate(values), chosen.numpy(), score, base)


def grad_cam(
    model: nn.Module,
    inputs: NDArray[np.floating],
    *,
    target: Targets = None,
    layer: str | None = None,
    progress: Progress | None = None,
) -> Attribution:
    """Weigh the maps of a layer by the mean of their gradients.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization"; negative
    values are kept, since they speak against the class. For a head that is linear on the mean of the layer's map, the
    values and the head's bias add up to the logit.

    Args:
        model: As for `integrated_gradients`.
        inputs: Likewise.
        target: Likewise.
        layer: Name of the layer; None for the last convolution whose map has more than one place (`last_convolution`).
        progress: As for `integrated_gradients`.

    Returns:
        The attribution, on the grid of the layer's map.

    Raises:
        InputError: If something does not fit, or there is no such layer.
        MissingExtraError: If captum is not installed.
    """
    require("captum", extra="explain", needed_by="Grad-CAM")
    from captum.attr import LayerGradCam

    x, score, chosen = _asked(model, inputs, target)
    name = last_convolution(model, x[:1]) if layer is None else layer
    try:
        looked_at = model.get_submodule(name)
    except AttributeError as error:
        raise InputError(f"expected a layer {name!r} in {type(model).__name__}, found none.") from error
    asked: Any = LayerGradCam(model, looked_at)
    values = []
    for i in range(0, len(x), _ROWS):
        # Without an input that asks for gradients there is no graph: parameters need not ask for any.
        part = x[i : i + _ROWS].clone().requires_grad_()
        found = asked.attribute(part, target=chosen[i : i + _ROWS], relu_attributions=False)
        if not isinstance(found, Tensor) or found.dim() < 3:
            raise InputError(f"expected a layer whose output has places, found {name!r} without. Name a convolution.")
        values.append(found.detach().double().numpy()[:, 0])
        if progress is not None:
            progress(min(i + _ROWS, len(x)), len(x))
    return Attribution(np.concatenate(values), chosen.numpy(), score, np.full(len(x), np.nan), name)


def last_convolution(model: nn.Module, sample: Tensor) -> str:
    """Return the name of the convolution that runs last on a map of more than one place.

    Args:
        model: The model.
        sample: ``(1, *shape)`` what it is run on.

    Raises:
        InputError: If there is none.
    """
    ran: list[str] = []

    def noter(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, _given: object, output: object) -> None:
            if isinstance(output, Tensor) and output[0, 0].numel() > 1:
                ran.append(name)

        return note

    hooks = [
        module.register_forward_hook(noter(name))
        for name, module in model.named_modules()
        if isinstance(module, CONVOLUTIONS)
    ]
    try:
        _logits(model, sample)
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        raise InputError(
            f"expected a convolution on a map of more than one place in {type(model).__name__}, found none. Use "
            f"integrated gradients or occlusion, or name a layer."
        )
    return ran[-1]


def _asked(model: nn.Module, inputs: NDArray[np.floating], target: Targets) -> tuple[Tensor, Float64, Tensor]:
    """Return the inputs, the logits that are looked at, and their columns."""
    array = np.asarray(inputs, np.float32)
    if array.ndim < 2 or not array.size or not np.isfinite(array).all():
        raise InputError(f"expected finite inputs (n, ...), found shape {array.shape}, or NaN or infinity among them.")
    x = torch.from_numpy(array)
    logits = _logits(model.eval(), x)
    n, k = logits.shape
    if target is None:
        chosen = logits.argmax(dim=1)
    else:
        wanted = np.broadcast_to(np.asarray(target), (n,)) if np.ndim(target) == 0 else np.asarray(target)
        if wanted.shape != (n,) or wanted.dtype.kind not in "iu" or not ((wanted >= 0) & (wanted < k)).all():
            raise InputError(f"expected one target, or one for each of {n} inputs, from 0 to {k - 1}, found {target}.")
        chosen = torch.from_numpy(wanted.astype(np.int64))
    return x, logits[torch.arange(n), chosen].double().numpy(), chosen


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(x[i : i + _ROWS]) for i in range(0, len(x), _ROWS)])
