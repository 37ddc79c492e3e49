"""What pretraining without labels gains where few images have one: a linear probe on features, with 1 % of the labels.

A small network (1.7 million multiply-adds an image) is trained by SimCLR on 4,000 digits of MNIST without their labels.
On the features in front of its head, a logistic regression is fitted to 40 labelled ones among them, four of each
class; its penalty is chosen by cross-validation on those 40 alone. The same is done with the same network as it was
before training, its first weights. BatchNorm's statistics of both are those of the same 4,000 images: without, the
untrained network would not have any. Five labelled draws for each seed, all scored on 1,000 other images; differences
are of means over a seed's draws, paired by seed, with a 95 % interval.

Beside these, without a goal: a probe on the pixels themselves, probes on the last maps before they are averaged over
their places, which an untrained network says more by, and the network trained on the same 40 labels from scratch.
Settings were chosen on validation images, with another seed; those of training from scratch were not tuned. Digits were
taken since untrained features leave room there (43 % of validation images right with 40 labels; on Fashion-MNIST with
600, 69 %, and SimCLR on 100,000 pairs of views gained 6 points of those).

`python -m benchmarks.self_supervised --json FILE`
"""

import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn

from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data import DataSettings
from acclimate.server.pretrain import pretrain
from acclimate.server.splits import draw_budgets
from acclimate.server.training.settings import ObjectiveSettings, RunSettings, TrainingSettings

from .digit_images import MEAN, STD, Frames, Int64, Labelled, as_tensor, digits
from .harness import Row, finish
from .lite0 import FOLDER
from .paired import paired

SEEDS, DRAWS, OF_EACH = 5, 5, 4
HOME = FOLDER / "self_supervised"
TRAINING = TrainingSettings(epochs=20, batch_size=128, learning_rate=3e-3, weight_decay=1e-4)
OBJECTIVE = ObjectiveSettings(name="simclr", temperature=0.2, hidden=256, projection=64)
VIEWS = DataSettings(
    train=str(HOME / "unlabelled.npz"),
    validation_share=0.0,
    mean=(MEAN,),
    std=(STD,),
    augment=("crop", "shift"),
    crop_scale=(0.5, 1.0),
)
SCRATCH = TrainingSettings(epochs=100, batch_size=20, weight_decay=0.05)
_BATCH = 500
_PENALTIES = np.logspace(-4, 1, 6)
_RUN = RunSettings(tensorboard=False, log_every=50)
Features = NDArray[np.float32]
Encoder = Callable[[Frames], Features]


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    # That there are neither labels nor validation samples, which is meant.
    logging.getLogger("acclimate").setLevel(logging.ERROR)
    (learnt, fresh), found = digits(), defaultdict(list)
    with threadpool_limits(1):
        for seed in range(SEEDS):
            for name, accuracy in scores(seed, learnt, fresh).items():
                found[name].append(accuracy)
    finish("self_supervised", _rows({name: np.array(each) for name, each in found.items()}), ["torch", "scikit-learn"])


def network(seed: int = 0) -> nn.Sequential:
    """Return the untrained network, its last three steps pooling, flattening and the head."""
    torch.manual_seed(seed)
    steps: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, (inputs, outputs, stride) in enumerate(((1, 16, 2), (16, 32, 2), (32, 64, 2), (64, 128, 1)), 1):
        steps[f"conv{stage}"] = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        steps[f"norm{stage}"], steps[f"relu{stage}"] = nn.BatchNorm2d(outputs), nn.ReLU()
    steps.update(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), head=nn.Linear(128, 10))
    return nn.Sequential(steps)


def pretrained(seed: int, x: Frames) -> nn.Sequential:
    """Return the network of a seed, trained on images without labels; a run that ended is read again."""
    if not Path(VIEWS.train).exists():
        HOME.mkdir(parents=True, exist_ok=True)
        np.savez(VIEWS.train, x=x)
    return _trained(network(seed), VIEWS, replace(TRAINING, seed=seed), OBJECTIVE, HOME / f"simclr-{seed}")


def from_scratch(seed: int, x: Frames, y: Int64) -> nn.Sequential:
    """Return the network of a seed, trained on labelled images alone."""
    path = HOME / f"labelled-{seed}.npz"
    np.savez(path, x=x, y=y)
    data = replace(VIEWS, train=str(path), augment=("shift",))
    return _trained(network(seed), data, replace(SCRATCH, seed=seed), ObjectiveSettings(), HOME / f"scratch-{seed}")


def scores(seed: int, labelled: Labelled, fresh: Labelled) -> dict[str, float]:
    """Return the accuracy of each way of one seed, percent, the mean over its draws.

    Args:
        seed: Of the network and of the draws.
        labelled: Training images and their labels, of which few are looked at.
        fresh: Images to score on, and their labels.
    """
    x, y = labelled
    untrained, trained = with_statistics(network(seed), x), with_statistics(pretrained(seed, x), x)
    ways: dict[str, Encoder] = {
        "untrained": encoder(untrained, "flatten"),
        "trained": encoder(trained, "flatten"),
        "untrained maps": encoder(untrained, "relu4"),
        "trained maps": encoder(trained, "relu4"),
        "pixels": lambda frames: frames.reshape(len(frames), -1).astype(np.float32),
    }
    rows = draws(y, seed)
    found = {name: probed(encode, rows, labelled, fresh) for name, encode in ways.items()}
    learnt = encoder(from_scratch(seed, x[rows[0]], y[rows[0]]), "head")
    found["scratch"] = _accuracy(learnt(fresh[0]).argmax(1), fresh[1])
    return found


def draws(y: Int64, seed: int) -> list[Int64]:
    """Return the rows of each labelled draw of a seed, ``(40,)``."""
    return [draw_budgets(y, (OF_EACH,), seed=DRAWS * seed + turn).budgets[OF_EACH] for turn in range(DRAWS)]


def with_statistics(net: nn.Sequential, x: Frames) -> nn.Sequential:
    """Take BatchNorm's statistics anew, of images without labels, and return the network, ready to be asked."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            # The mean over all batches.
            module.momentum = None
    net.train()
    with torch.no_grad():
        for batch in torch.split(as_tensor(x), _BATCH):
            net(batch)
    return net.eval()


def encoder(net: nn.Sequential, last: str) -> Encoder:
    """Return what gives the results of a network's step, flat."""
    part = net[: [name for name, _ in net.named_children()].index(last) + 1]

    def encode(frames: Frames) -> Features:
        with torch.no_grad():
            found: Features = torch.cat([part(b).flatten(1) for b in torch.split(as_tensor(frames), _BATCH)]).numpy()
        return found

    return encode


def probed(encode: Encoder, rows: list[Int64], labelled: Labelled, fresh: Labelled) -> float:
    """Return the mean accuracy of linear probes, percent: one fitted to each draw of rows, and chosen on it."""
    tested = encode(fresh[0])
    found = []
    for draw in rows:
        x, y = encode(labelled[0][draw]), labelled[1][draw]
        regression = LogisticRegressionCV(
            Cs=_PENALTIES, cv=OF_EACH, l1_ratios=(0.0,), max_iter=2_000, use_legacy_attributes=False, scoring="accuracy"
        )
        probe = make_pipeline(StandardScaler(), regression).fit(x, y)
        found.append(_accuracy(probe.predict(tested), fresh[1]))
    return float(np.mean(found))


def _trained(
    net: nn.Sequential, data: DataSettings, training: TrainingSettings, objective: ObjectiveSettings, out: Path
) -> nn.Sequential:
    settings = PretrainConfig(ModelSettings(name="benchmarks.self_supervised:network"), data, training, objective, _RUN)
    run = pretrain(settings, out=out, resume=True, device="cpu", model=net)
    assert isinstance(run.model, nn.Sequential)  # noqa: S101
    return run.model


def _rows(found: dict[str, NDArray[np.float64]]) -> list[Row]:
    gain, start = paired(found["trained"] - found["untrained"]), float(found["untrained"].mean())

    def row(name: str, metric: str, against: str = "", note: str = "") -> Row:
        spread = f"{found[name].min():.1f} to {found[name].max():.1f} by seed"
        if against:
            note = f"{note}, paired {paired(found[name] - found[against])}".removeprefix(", ")
        return Row(
            f"accuracy of {metric}",
            float(found[name].mean()),
            "%",
            float(found[against].mean()) if against else None,
            note="; ".join(filter(None, (spread, note))),
        )

    return [
        Row(
            "points by which first weights are above pretrained ones, unfavourable end (95 %)",
            0.0 - gain.low,
            "%",
            0.0,
            "gain",
            f"pretraining gains {gain}, from {start:.1f}; {SEEDS} seeds of {DRAWS} draws",
        ),
        row("trained", "a probe on pretrained features", "untrained", "against first weights"),
        row("trained", "the same", "pixels", "against the pixels"),
        row("trained maps", "a probe on pretrained maps", "untrained maps", "against maps of first weights"),
        row("scratch", "the network trained on 40 labels from scratch"),
        row("trained", "a probe on pretrained features", "scratch", "against training from scratch"),
    ]


def _accuracy(predicted: Int64, truth: Int64) -> float:
    return 100 * float((predicted == truth).mean())


if __name__ == "__main__":
    main()
