"""What a student learns of its teacher besides its answers: features, and how samples lie to each other."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from .captured import captured, near_name
from .features import FeatureMatch
from .relational import relational_loss

_FEATURES, _RELATIONS = "objective.hints", "objective.relations"
_WHOSE = ("student", "teacher")


@dataclass(frozen=True)
class Hints:
    """Which features of a teacher are shown to its student, and what they weigh beside its answers.

    Args:
        features: Pairs of places, student's and teacher's (`captured`), whose features are matched (`FeatureMatch`).
        feature_weight: Weight of each pair's loss.
        relations: A pair of places, student's and teacher's, between which samples are to lie alike; or None.
        distance_weight: Weight of the loss of distances there (`distance_loss`).
        angle_weight: Weight of the loss of angles (`angle_loss`); 0 leaves them out, for large batches.
        seed: Fixes the first weights of the projections.
    """

    features: tuple[tuple[str, str], ...] = ()
    feature_weight: float = 1.0
    relations: tuple[str, str] | None = None
    distance_weight: float = 25.0
    angle_weight: float = 50.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.features and self.relations is None:
            raise InputError("expected pairs of features, or a pair of relations, found neither. Leave out the hints.")
        if not min(self.feature_weight, self.distance_weight, self.angle_weight) >= 0:
            raise InputError(
                f"expected weights of 0 or more, found {self.feature_weight}, {self.distance_weight} and "
                f"{self.angle_weight}."
            )

    @property
    def named_pairs(self) -> tuple[tuple[str, str, str], ...]:
        """The setting that a pair stands in, the student's place and the teacher's."""
        related = () if self.relations is None else ((_RELATIONS, *self.relations),)
        return (*((_FEATURES, *pair) for pair in self.features), *related)

    def require_places(self, student: nn.Module, teacher: nn.Module) -> None:
        """Refuse names that are none of a module.

        Raises:
            InputError: The first one, with its setting and whose it was to be.
        """
        for setting, *pair in self.named_pairs:
            for whose, place, model in zip(_WHOSE, pair, (student, teacher), strict=True):
                name, _, side = place.partition(":")
                names = dict(model.named_modules())
                if name not in names or side not in ("", "input"):
                    raise InputError(
                        f"expected the name of a module of the {whose} ({type(model).__name__}), or one with ':input', "
                        f"in {setting}, found {place!r}. Write STUDENT=TEACHER where their names differ."
                        f"{near_name(name, names)}"
                    )

    @property
    def places(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The places of the student and those of the teacher."""
        pairs = (*self.features, *(() if self.relations is None else (self.relations,)))
        return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)


class Hinted(nn.Module):
    """A student with the projections that train with it; it answers as the student does.

    Args:
        student: The model that learns.
        teacher: The model that it learns from, in evaluation mode; no part of this module.
        hints: What is shown.
        sample: ``(n, ...) float32`` for both, which tells the widths.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, hints: Hints, sample: Tensor) -> None:
        super().__init__()
        self.student = student
        self.hints = hints
        self._seen: dict[str, Tensor] = {}
        hints.require_places(student, teacher)
        modes = {module: module.training for module in student.modules()}
        student.eval()
        try:
            with torch.no_grad(), captured(teacher, hints.places[1]) as taught:
                self(sample)
                teacher(sample)
        finally:
            for module, training in modes.items():
                module.training = training
        self._require_features(taught)
        self.matches = nn.ModuleList(
            FeatureMatch(self._seen[own].shape[1], taught[other].shape[1], seed=hints.seed + i).to(
                sample.device, sample.dtype
            )
            for i, (own, other) in enumerate(hints.features)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the student's logits ``(n, k) float32``, and keep its features for `loss`."""
        with captured(self.student, self.hints.places[0]) as seen:
            logits: Tensor = self.student(x)
        self._seen = seen
        return logits

    def _require_features(self, taught: dict[str, Tensor]) -> None:
        """Refuse places whose features cannot be compared, before anything is trained."""
        for setting, *pair in self.hints.named_pairs:
            found = []
            for whose, place, seen in zip(_WHOSE, pair, (self._seen, taught), strict=True):
                if place not in seen:
                    raise InputError(
                        f"expected a place of the {whose} that the samples pass through in {setting}, found {place!r}, "
                        f"which is unused. Name another module."
                    )
                features: Any = seen[place]
                if not isinstance(features, Tensor) or features.dim() < 2:
                    told = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
                    raise InputError(
                        f"expected features (n, d, ...) at {place!r} of the {whose} in {setting}, found {told}. Name "
                        f"another module."
                    )
                found.append(features)
            if setting == _FEATURES and found[0].dim() != found[1].dim():
                raise InputError(
                    f"expected features with as many axes at both places of a pair in {setting}, found "
                    f"{tuple(found[0].shape)} at {pair[0]!r} of the student and {tuple(found[1].shape)} at {pair[1]!r} "
                    f"of the teacher. Name places of the same kind."
                )

    def loss(self, taught: dict[str, Tensor]) -> Tensor:
        """Return the loss of the features of the last `forward`, a scalar.

        Args:
            taught: Those of the teacher for the same samples, by place.
        """
        hints = self.hints
        terms: list[Any] = [
            hints.feature_weight * match(self._seen[own], taught[other])
            for match, (own, other) in zip(self.matches, hints.features, strict=True)
        ]
        if hints.relations is not None:
            own, other = hints.relations
            terms.append(
                relational_loss(
                    self._seen[own],
                    taught[other],
                    distance_weight=hints.distance_weight,
                    angle_weight=hints.angle_weight,
                )
            )
        return torch.stack(terms).sum()
