"""Explain what a model predicts for some frames: a torch model by its gradients, a bundle on what its runtime gives."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...edge.checks import check_frames
from ...edge.learner import Learner
from ...edge.understanding.activation_map import activation_map, resized
from ...edge.understanding.occlusion import Occlusion, occlude, occlude_learner
from ...errors import InputError
from .attributions import CONVOLUTIONS, grad_cam, integrated_gradients, last_convolution
from .explanation import Explanation, Float64, Method
from .raw_model import RawModel

Progress = Callable[[int, int], None]
_PARTS = "the mean of the map and the bias are the logit"


def explain_learner(
    learner: Learner,
    frames: NDArray[Any],
    *,
    method: Method | None = None,
    names: Sequence[str] = (),
    truth: Sequence[str | None] = (),
    patch: int | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Explain what an opened bundle predicts.

    Args:
        learner: The learner.
        frames: ``(n, *shape)`` raw samples.
        method: ``"occlusion"`` or ``"cam"``; None for the latter where it is to be had and no `patch` is given.
        names: What the frames are called; by default their numbers.
        truth: Their labels.
        patch: Sides of what occlusion hides; None for an eighth of the frame.
        progress: Called with the number of looks done and of all.

    Returns:
        The explanation of the class that is predicted for each frame.

    Raises:
        InputError: If the method is none for bundles, or not to be had for this one.
    """
    if method not in (None, "occlusion", "cam"):
        raise InputError(
            f"expected occlusion or cam for a bundle, found {method!r}: a runtime on a device gives no gradients. "
            f"Explain the run or checkpoint that it was made from."
        )
    method = _named(method, patch=patch)
    spec = learner._session.bundle.manifest.input
    checked = check_frames(frames, spec)
    found = learner.predict(checked)
    columns = found.probabilities.argmax(axis=1)
    told = [found.classes[i] for i in columns]
    space = _space(checked, spec.axes)
    remarks: list[str] = []
    if method != "occlusion":
        try:
            cam = activation_map(learner, checked)
        except InputError as error:
            if method == "cam":
                raise
            remarks.append(f"Occlusion stands in for class-activation maps: {error}")
        else:
            if cam.without:
                remarks.append(f"The map is made of {', '.join(cam.taps)}; {', '.join(cam.without)} have none here.")
            heat = cam.map if cam.map.ndim - 1 != len(space) else resized(cam.map, space)
            parts = heat.reshape(len(heat), -1).mean(axis=1) + cam.bias
            # Where a tap has no map, what it says is missing on purpose.
            gap, whole = (np.empty(0), "") if cam.without else (parts - cam.logit, _PARTS)
            return _explanation("cam", checked, heat, names, told, told, truth, cam.logit, "logit", gap, whole, remarks)
    heat, seen = _hidden(occlude_learner(learner, checked, patch=patch, progress=progress), space)
    return _explanation("occlusion", checked, heat, names, told, told, truth, seen, "log-odds", (), "", remarks)


def explain_model(
    model: nn.Module,
    frames: NDArray[Any],
    classes: Sequence[str],
    *,
    method: Method | None = None,
    names: Sequence[str] = (),
    truth: Sequence[str | None] = (),
    layer: str | None = None,
    patch: int | None = None,
    steps: int = 64,
    progress: Progress | None = None,
) -> Explanation:
    """Explain what a torch model predicts.

    Args:
        model: Takes raw frames as float32 (`raw_model`), returns logits ``(n, k)``.
        frames: ``(n, *shape)`` raw samples.
        classes: Names of the k outputs; empty for their numbers.
        method: ``"integrated-gradients"``, ``"grad-cam"`` or ``"occlusion"``; None for Grad-CAM where there is a
            convolution, else integrated gradients.
        names: What the frames are called; by default their numbers.
        truth: Their labels.
        layer: For Grad-CAM, the layer; None for the last convolution.
        patch: For occlusion, as for `explain_learner`.
        steps: For integrated gradients, steps of the path.
        progress: Called with the number of looks or frames done and of all.

    Returns:
        The explanation of the class that is predicted for each frame.

    Raises:
        InputError: If the method is none for torch models, or does not fit this one.
        MissingExtraError: If captum is needed and not installed.
    """
    x, remarks = frames.astype(np.float32), list[str]()
    if method not in (None, "integrated-gradients", "grad-cam", "occlusion"):
        raise InputError(
            f"expected integrated-gradients, grad-cam or occlusion for a torch model, found {method!r}. Grad-CAM is "
            f"the class-activation map where the head is linear on pooled maps."
        )
    method = _named(method, patch=patch, layer=layer) or _usual(model, x)
    axes = ("height", "width", "channel") if x.ndim == 4 else ("time", "channel")[: x.ndim - 1]
    space = _space(x, axes)
    if method == "occlusion":
        hidden = occlude(_scores(model), x, axes=range(len(space)), patch=patch, progress=progress)
        heat, score = _hidden(hidden, space)
        told, unit = [_name(classes, i) for i in hidden.target], "logit"
        return _explanation("occlusion", frames, heat, names, told, told, truth, score, unit, (), "", remarks)
    if method == "grad-cam":
        # Layers are called what they are in the model, not behind its preprocessing.
        inside = "model." if isinstance(model, RawModel) else ""
        _check_layer(model.model if isinstance(model, RawModel) else model, layer)
        found = grad_cam(model, x, layer=None if layer is None else inside + layer, progress=progress)
        remarks.append(f"Of the layer {found.layer.removeprefix(inside)}.")
        heat = found.values if found.values.ndim - 1 != len(space) else resized(found.values, space)
        told = [_name(classes, i) for i in found.target]
        return _explanation("grad-cam", frames, heat, names, told, told, truth, found.score, "logit", (), "", remarks)
    start = x.mean(axis=tuple(range(1, 1 + len(space))), keepdims=True) if x.ndim > 2 else 0.0
    found = integrated_gradients(model, x, baseline=start, steps=steps, progress=progress)
    told = [_name(classes, i) for i in found.target]
    channels = tuple(range(1 + len(space), x.ndim))
    remarks.append("The baseline is " + ("a plain frame of the same mean colour." if x.ndim > 3 else "the mean."))
    return _explanation(
        "integrated-gradients",
        frames,
        found.values.sum(axis=channels),
        names,
        told,
        told,
        truth,
        found.score,
        "logit",
        found.delta,
        "all parts together are the logit less that of the baseline",
        remarks,
    )


def _named(method: Method | None, *, patch: int | None, layer: str | None = None) -> Method | None:
    """Return the method that is asked for, by its name or by an option that only it has; None where none is."""
    for given, option, owner in ((patch, "patch", "occlusion"), (layer, "layer", "grad-cam")):
        if given is not None and method not in (None, owner):
            raise InputError(f"expected a {option} with {owner} alone, found it with {method}. Leave it out.")
    return method or ("occlusion" if patch is not None else "grad-cam" if layer is not None else None)


def _check_layer(model: nn.Module, layer: str | None) -> None:
    """Raise InputError where a model has no such layer, with the names of its convolutions."""
    modules = dict(model.named_modules())
    if layer is None or (layer and layer in modules):
        return
    known = [name for name, module in modules.items() if isinstance(module, CONVOLUTIONS)]
    raise InputError(
        f"expected the name of a layer of {type(model).__name__}, found {layer!r}. Its convolutions are "
        f"{', '.join([*known[:4], '...', *known[-8:]] if len(known) > 12 else known) or 'none'}."
    )


def _usual(model: nn.Module, x: NDArray[np.float32]) -> Method:
    if x.ndim < 3:
        return "integrated-gradients"
    try:
        last_convolution(model, torch.from_numpy(x[:1]))
    except InputError:
        return "integrated-gradients"
    return "grad-cam"


def _scores(model: nn.Module) -> Callable[[NDArray[Any]], Float64]:
    def scores(frames: NDArray[Any]) -> Float64:
        with torch.no_grad():
            found: Float64 = model(torch.from_numpy(frames)).double().numpy()
        return found

    return scores


def _space(frames: NDArray[Any], axes: Sequence[str]) -> tuple[int, ...]:
    """Return the sides of a frame but for its channels."""
    sides = tuple(side for side, name in zip(frames.shape[1:], axes, strict=False) if name != "channel")
    return sides or frames.shape[1:2]


def _hidden(found: Occlusion, space: tuple[int, ...]) -> tuple[Float64, Float64]:
    heat = found.heat if found.heat.ndim - 1 != len(space) else resized(found.heat, space)
    return heat, found.score


def _name(classes: Sequence[str], place: int) -> str:
    return classes[place] if place < len(classes) else str(int(place))


def _explanation(
    method: Method,
    frames: NDArray[Any],
    heat: Float64,
    names: Sequence[str],
    explained: Sequence[str],
    predicted: Sequence[str],
    truth: Sequence[str | None],
    score: Float64,
    unit: str,
    gap: Sequence[float] | Float64,
    whole: str,
    remarks: Sequence[str],
) -> Explanation:
    n = len(frames)
    called = tuple(names) or tuple(str(i) for i in range(n))
    labels = tuple(truth) or (None,) * n
    if len(called) != n or len(labels) != n:
        raise InputError(f"expected a name and a label for each of {n} frames, found {len(called)} and {len(labels)}.")
    return Explanation(
        method, frames, heat, called, tuple(explained), tuple(predicted), labels, score, unit, np.asarray(gap), whole,
        tuple(remarks),
    )  # fmt: skip
