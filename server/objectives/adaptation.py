"""Objectives of unsupervised domain adaptation: labels of the source, and features alike in source and target."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError
from ..compress.captured import captured
from ..training.settings import ADAPTATION, ObjectiveSettings
from ..transfer.adversarial import DomainClassifier, domain_loss, ramp, reversed_gradient
from ..transfer.coral_loss import Coral
from ..transfer.discrepancy import Discrepancy, MultiKernelMMD
from ..transfer.joint import JointMMD
from .gather import gathered
from .projector import last_linear
from .supervised import logits_of

# Chosen on MNIST and UCI digits, never on the pairs that are reported.
_WEIGHTS = {"dann": 1.0, "dan": 1.0, "jan": 1.0, "deep-coral": 100.0}
# The papers align all layers of the task, of which the answers are one.
_WITH_ANSWERS = ("dan", "jan")


class Adapted(nn.Module):
    """Cross-entropy of a classifier on the source, and the distance of its features between source and target.

    dan and jan count the probabilities of the answers among the features; dan adds up the distances of all, jan takes
    one of all together. The weight of the distance rises from 0 as `ramp` says. With several sources, each is aligned
    with the target by itself, and they count alike. With a weight of 0 the target is not looked at: training is that of
    `Supervised`.

    Args:
        model: Takes a batch and returns logits ``(b, k)``.
        classes: k.
        settings: Which objective (dann, dan, jan, deep-coral) and how.
        places: Modules whose results are aligned, or ``module:input`` for what one takes.
        sample: ``(n, ...)`` what the model takes; tells the widths of the features.
        sources: Source domains.
        label_smoothing: As in `Supervised`.
        seed: Fixes the first weights of the domain classifier.

    Raises:
        InputError: If there is no such place, or no tensor with a vector per sample passes there.

    References:
        See `ObjectiveSettings`; the ramp is that of Ganin et al. 2016 for all four.
    """

    projects = False

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        settings: ObjectiveSettings,
        places: Sequence[str],
        sample: Tensor,
        *,
        sources: int = 1,
        label_smoothing: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.classes, self.label_smoothing = model, (classes,), label_smoothing
        self.name, self.places, self.sources = settings.name, tuple(places), sources
        self.weight = weight_of(settings)
        widths = self._widths(sample)
        self._joint = JointMMD(settings.bandwidths)
        self._each: Discrepancy = Coral() if settings.name == "deep-coral" else MultiKernelMMD(settings.bandwidths)
        self.domain: DomainClassifier | None = None
        if settings.name == "dann" and self.weight:
            made = DomainClassifier(sum(widths), settings.domain_units, sources, seed=seed)
            self.domain = made.to(sample.device, sample.dtype)

    def forward(
        self, x: Tensor, y: Tensor | tuple[Tensor, Tensor, Tensor] | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Return the losses of the tasks ``(1,)``, or without labels the logits of each, as a tuple of one.

        Args:
            x: ``(b + m, ...)`` what the model takes, source before target.
            y: Labels ``(b,) int64`` of the source, -1 for unlabelled; domain ``(b + m,) int64`` of each sample, 0 for
                the target; share ``(1,)`` of training done so far. Or labels alone, of the source alone.
        """
        if y is None:
            return logits_of(self.model(x), self.classes)
        labels, domains, progress = (y, y, y) if isinstance(y, Tensor) else y
        count = len(labels)
        # A pair of samples is the least that has a spread.
        aligned = bool(self.weight) and len(x) - count > 1 and count > 1
        with captured(self.model, self.places if aligned else ()) as found:
            logits = logits_of(self.model(x if aligned else x[:count]), self.classes)[0]
        loss = functional.cross_entropy(logits[:count], labels, label_smoothing=self.label_smoothing, ignore_index=-1)
        if aligned:
            # Distances lose too many digits in half precision.
            with torch.autocast(x.device.type, enabled=False):
                features = [_full(found[place]) for place in self.places]
                loss = loss + self._alignment(features, _full(logits), domains, count, self.weight * ramp(progress[0]))
        # A view of one number would upset sharded modules.
        return torch.stack([loss])

    def _alignment(self, features: list[Tensor], logits: Tensor, domains: Tensor, count: int, weight: Tensor) -> Tensor:
        if self.domain is not None:
            # A mean over samples is the same over all processes as over each.
            return domain_loss(self.domain(reversed_gradient(torch.cat(features, 1), weight)), domains)
        layers = [*features, logits.softmax(1)] if self.name in _WITH_ANSWERS else features
        own, others = [gathered(layer[:count]) for layer in layers], [gathered(layer[count:]) for layer in layers]
        if self.sources == 1:
            return weight * self._distance(own, others)
        numbers = gathered(domains[:count])
        found = [
            self._distance([layer[numbers == source] for layer in own], others)
            for source in range(1, self.sources + 1)
            # Of one that has hardly a sample in a batch, nothing is known.
            if int((numbers == source).sum()) > 1
        ]
        return weight * torch.stack(found).mean() if found else 0 * logits.sum()

    def _distance(self, source: list[Tensor], target: list[Tensor]) -> Tensor:
        if self.name == "jan":
            return self._joint(source, target)
        return torch.stack([self._each(a, b) for a, b in zip(source, target, strict=True)]).sum()

    def _widths(self, sample: Tensor) -> list[int]:
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), captured(self.model, self.places) as found:
                self.model(sample)
        finally:
            self.model.train(was_training)
        shapes = [tuple(found[p].shape) if isinstance(found.get(p), Tensor) else None for p in self.places]
        if wrong := [p for p, shape in zip(self.places, shapes, strict=True) if not shape or shape[0] != len(sample)]:
            raise InputError(
                f"expected modules with one vector per sample as objective.layers, found {wrong[0]!r}. Name another."
            )
        return [found[place].flatten(1).shape[1] for place in self.places]


def weight_of(settings: ObjectiveSettings) -> float:
    """Return the weight of the alignment at the end of training."""
    given = settings.adaptation_weight
    return _WEIGHTS[settings.name] if given is None else given


def places_of(model: nn.Module, settings: ObjectiveSettings, head: str = "auto") -> tuple[str, ...]:
    """Return where the features of a model are taken: what its last linear layer takes, unless settings name others.

    Args:
        model: The model.
        settings: Name places.
        head: Name of the layer that gives the logits; auto takes the last linear one.

    Raises:
        InputError: If there is no linear layer, and settings name none.
    """
    if settings.layers:
        return settings.layers
    if head == "auto" and not any(isinstance(module, nn.Linear) for module in model.modules()):
        raise InputError(
            f"expected a linear layer in {type(model).__name__}, in front of which features are aligned, found none. "
            f"Name modules as objective.layers."
        )
    return (f"{last_linear(model) if head == 'auto' else head}:input",)


def adapts(settings: ObjectiveSettings) -> bool:
    """Return whether an objective adapts to a target without labels."""
    return settings.name in ADAPTATION


def _full(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    return flat if flat.dtype == torch.float64 else flat.float()
