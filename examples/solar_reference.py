"""What the device is compared with: fp32 latents of torch and scikit-learn's logistic regression on them.

The regularisation is chosen by cross-validation on the same photos that the device adapts from. The criterion is the
log loss: on the development photos (20 draws each of 20, 50 and 200) it did as well as the area under the curve and
better than balanced accuracy.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .efficientnet_lite0 import FEATURES, MEAN, STD, EfficientNetLite0
from .elpv import Bools, Indices

FOLDS = 5
STRENGTHS = tuple(10.0**power for power in range(-6, 3))
BATCH = 32

Latents = NDArray[np.float32]


def fp32_latents(
    model: EfficientNetLite0, frames: NDArray[np.uint8], progress: Callable[[int, int], None] | None = None
) -> Latents:
    """Mean activation of every stage end and the last pooled feature, without quantization.

    Args:
        model: The network, in evaluation mode.
        frames: (n, h, w) uint8 grayscale; resized to the network's size by antialiased bilinear interpolation.
        progress: Called with the frames done and their total.

    Returns:
        (n, 2064) float32; the last 1280 columns are the last tap.
    """
    taken: list[Tensor] = []

    def take(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        taken.append(output.mean((2, 3)))

    hooks = [tapped.register_forward_hook(take) for tapped in (*model.stages, model.features)]
    rows = []
    try:
        with torch.inference_mode():
            for start in range(0, len(frames), BATCH):
                photos = torch.from_numpy(frames[start : start + BATCH]).float()[:, None]
                photos = interpolate(photos, model.size, mode="bilinear", antialias=True)
                taken.clear()
                model(((photos - MEAN) / STD).expand(-1, 3, -1, -1))
                rows.append(torch.cat(taken, 1).numpy())
                if progress:
                    progress(start + len(photos), len(frames))
    finally:
        for hook in hooks:
            hook.remove()
    return np.concatenate(rows)


def last_tap(latents: Latents) -> Latents:
    """The last pooled feature only: (n, 1280) of (n, 2064)."""
    return latents[:, -FEATURES:]


def fit_reference(latents: Latents, defective: Bools, arrived: Indices, seed: int) -> Pipeline:
    """Fit logistic regression to standardised latents, classes weighted equally.

    The principal axes are a rotation, under which an L2 penalty gives the same classifier; with fewer photos than
    dimensions it is much faster there.

    Args:
        latents: (n, d) float32.
        defective: (n,) bool.
        arrived: (m,) indices of the photos to fit to, both classes among them.
        seed: Of the folds.

    Returns:
        A fitted pipeline with `predict` and `decision_function`.

    Raises:
        ValueError: A class has fewer than two photos, so that nothing can be chosen by cross-validation.
    """
    truth = defective[arrived]
    folds = min(FOLDS, int(truth.sum()), int((~truth).sum()))
    if folds < 2:
        raise ValueError(f"expected two photos of each class or more, got {truth.sum()} defective of {len(truth)}")
    regression = GridSearchCV(
        LogisticRegression(class_weight="balanced", max_iter=2000),
        {"C": STRENGTHS},
        cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
        scoring="neg_log_loss",
    )
    return make_pipeline(StandardScaler(), PCA(), regression).fit(latents[arrived].astype(np.float64), truth)
