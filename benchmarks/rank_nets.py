"""Six sources of `benchmarks/rank.py`, and how each is fine-tuned: what lies in front of its last block is frozen.

EfficientNet-Lite0 of ImageNet cut after its third stage, after its fifth and at its end, on frames of 96 x 96; the
demo's teacher, which knows MNIST at 8 x 8; the teacher of `benchmarks/clothes.py`, which knows Fashion-MNIST; and the
network of `benchmarks/self_supervised.py`, which learnt MNIST by SimCLR without labels.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from examples.efficientnet_lite0 import pretrained as lite0
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from acclimate.server.models import load_model

from . import clothes_nets, digit_images, self_supervised

Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
TEACHER = Path("build/demo/teacher/model")
_BATCH = 50
# The same for all: chosen beforehand, and tuned for none.
_EPOCHS, _TOGETHER, _HEAD_RATE, _BLOCK_RATE, _DECAY = 20, 32, 3e-3, 3e-4, 1e-2


@dataclass(frozen=True, eq=False)
class Net:
    """A source.

    Args:
        name: What it is.
        side: Height and width of its frames.
        prepare: From grey images ``(n, side, side) uint8`` to what it takes.
        front: Up to the last block in front of the cut; frozen.
        block: That block, to maps ``(n, c, h, w)``.
        head: From pooled maps to the logits of its own classes, or None.
    """

    name: str
    side: int
    prepare: Callable[[NDArray[np.uint8]], Tensor]
    front: nn.Module
    block: nn.Module
    head: nn.Module | None = None

    def maps(self, images: NDArray[np.uint8]) -> Tensor:
        """Return what goes into the last block."""
        with torch.no_grad():
            parts = [self.front(self.prepare(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
        return torch.cat(parts)

    def latents(self, maps: Tensor) -> Tensor:
        """Return the pooled maps of the last block, ``(n, c)``."""
        with torch.no_grad():
            return torch.cat([_pooled(self.block(part)) for part in torch.split(maps, _BATCH)])

    def probabilities(self, latents: Tensor) -> Float32 | None:
        """Return what its own head says, ``(n, z)``."""
        if self.head is None:
            return None
        with torch.no_grad():
            found: Float32 = self.head(latents).softmax(dim=1).numpy()
        return found


def nets() -> list[Net]:
    """Return the sources."""
    net, side = lite0((96, 96)).requires_grad_(False), 96
    stages, end = list(net.stages), nn.Sequential(net.stages[6], net.features)
    found = [
        Net(f"Lite0 to stage {cut}", side, _colour, nn.Sequential(net.stem, *stages[: cut - 1]), stages[cut - 1])
        for cut in (3, 5)
    ]
    found.append(Net("Lite0", side, _colour, nn.Sequential(net.stem, *stages[:6]), end, net.classifier))
    if not TEACHER.exists():
        raise FileNotFoundError(f"expected the demo's teacher in {TEACHER}. Make it with: acclimate demo")
    code = "acclimate.server.digit_nets:build_teacher"
    found.append(_of("MNIST teacher", 8, _plain(0, 1), load_model(TEACHER, code=code), "stage3"))
    worn = clothes_nets.trained_teacher()
    found.append(_of("Fashion-MNIST teacher", 28, _plain(clothes_nets.MEAN, clothes_nets.STD), worn, "stage4"))
    (frames, _), _ = digit_images.digits()
    learnt = self_supervised.with_statistics(self_supervised.pretrained(0, frames), frames)
    plain = _plain(digit_images.MEAN, digit_images.STD)
    found.append(_of("SimCLR on MNIST", 28, plain, learnt, "conv4", labelled=False))
    return found


def fine_tuned(net: Net, maps: Tensor, y: Int64, fresh: Tensor, truth: Int64, seed: int) -> float:
    """Train a source's last block and a new head on some samples, and return the accuracy on others.

    AdamW, 20 epochs, a rate that falls along half a cosine; BatchNorm keeps its statistics. The head stands on latents
    divided by their deviation over the samples, so that sources of all scales are trained alike.

    Args:
        net: The source; it is not changed.
        maps: ``(n, ...)`` what goes into its last block.
        y: ``(n,)`` classes.
        fresh: ``(t, ...)`` the same of samples to test on.
        truth: ``(t,)`` their classes.
        seed: Shuffles the samples.
    """
    block = copy.deepcopy(net.block).eval().requires_grad_(True)
    begun = net.latents(maps)
    centre, spread = begun.mean(0), begun.std(0).clamp_min(1e-3 * float(begun.std()) + 1e-12)
    head = nn.Linear(begun.shape[1], int(y.max()) + 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    groups = [
        {"params": list(head.parameters()), "lr": _HEAD_RATE},
        {"params": list(block.parameters()), "lr": _BLOCK_RATE},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _EPOCHS * -(-len(y) // _TOGETHER))
    generator, labels = torch.Generator().manual_seed(seed), torch.from_numpy(y)
    for _ in range(_EPOCHS):
        for rows in torch.split(torch.randperm(len(y), generator=generator), _TOGETHER):
            optimizer.zero_grad()
            logits = head((_pooled(block(maps[rows])) - centre) / spread)
            torch.autograd.backward(functional.cross_entropy(logits, labels[rows]))
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        logits = torch.cat([head((_pooled(block(part)) - centre) / spread) for part in torch.split(fresh, _BATCH)])
    return float((logits.argmax(1).numpy() == truth).mean())


def _of(
    name: str,
    side: int,
    prepare: Callable[[NDArray[np.uint8]], Tensor],
    net: nn.Module,
    last: str,
    labelled: bool = True,
) -> Net:
    """Return a network of named steps, pooled behind the last of its blocks."""
    steps = dict(net.requires_grad_(False).named_children())
    names: Sequence[str] = list(steps)
    begin, end = names.index(last), names.index("pool")
    front, block = (nn.Sequential(*(steps[one] for one in part)) for part in (names[:begin], names[begin:end]))
    return Net(name, side, prepare, front, block, steps["head"] if labelled else None)


def _pooled(maps: Tensor) -> Tensor:
    return maps.mean((2, 3))


def _colour(images: NDArray[np.uint8]) -> Tensor:
    x = torch.from_numpy(images).float()[:, None]
    return ((x - 127) / 128).expand(-1, 3, -1, -1)


def _plain(mean: float, std: float) -> Callable[[NDArray[np.uint8]], Tensor]:
    return lambda images: (torch.from_numpy(images).float()[:, None] / 255 - mean) / std
