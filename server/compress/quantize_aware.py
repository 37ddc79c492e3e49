"""Quantization-aware training: a model learns to keep its features where weights and activations have 8 bits."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from ...errors import InputError, TrainingError
from .feature_distance import FeatureDistance
from .fold_norms import fold_norms
from .given import checked_batches
from .hold_ranges import held_ranges, hold_ranges, require_no_ranges
from .recording import record
from .scheme import find_scheme
from .simulation import Simulation

# Batches that show the ranges, and on which training is judged.
_SHOWN = 8


@dataclass(frozen=True)
class QuantizeAwareReport:
    """What quantization-aware training did.

    Args:
        steps: Steps taken.
        before: Mean squared difference of the features with the 8 bits simulated from those in float, as a share of
            the variance of the latter, before training: that of static quantization with the ranges that were seen.
        after: The same of the model that is returned.
        ranges: Ranges that were kept, by place (`hold_ranges`).
        without_place: Activations in 8 bits that no module called once takes or returns: their ranges are found anew
            when the model is converted.
        improved: Whether training improved it. Where it did not, the weights are those before training.
    """

    steps: int
    before: float
    after: float
    ranges: dict[str, tuple[float, float]]
    without_place: int
    improved: bool


def quantize_aware(
    model: nn.Module,
    batches: Iterable[Tensor],
    *,
    steps: int = 300,
    learning_rate: float = 1e-4,
    range_rate: float = 3e-3,
    head: str | None = None,
    features: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[nn.Module, QuantizeAwareReport]:
    """Train a copy of a model so that its features survive 8 bits; labels are not needed.

    BatchNorm is folded; the scheme of ONNX Runtime's static quantization is simulated (weights signed per channel,
    activations unsigned per tensor; LiteRT's has the same levels); the features in front of the head, and any others,
    follow those of the model in float; gradients pass rounding straight through. What is returned is an ordinary float
    model of the same modules and names of tensors, with ranges that `acclimate.converters.convert` keeps. All of its
    weights train but those of the head, also such as were frozen.

    Args:
        model: The model in float. It is not changed.
        batches: ``(n, ...) float32`` each, as the model takes them; gone through again from the start as often as it
            takes, so not an iterator. The first 8 show the ranges.
        steps: Steps of training, one batch each; 0 keeps the ranges that were seen.
        learning_rate: Peak of that of the weights (Adam); it falls along a cosine.
        range_rate: The same of the ranges, as a share of each.
        head: Name of the last layer, which stays in float and is not trained; the last with weights where None.
        features: Further places whose activations are to stay (`captured`), as the taps of a conversion.
        progress: Called with steps done and steps in total.

    Returns:
        The model in evaluation mode, and what was done.

    Raises:
        InputError: If the model cannot be simulated, holds ranges already, or an argument does not fit.
        TrainingError: If the loss is not finite.

    References:
        Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
        inference".
    """
    if type(steps) is not int or steps < 0:
        raise InputError(f"expected a whole number of steps, 0 or more, found {steps!r}. 300 are usual.")
    if not (0 < learning_rate < math.inf and 0 < range_rate < math.inf):
        raise InputError(
            f"expected learning_rate and range_rate above 0, found {learning_rate} and {range_rate}. 1e-4 and 3e-3 are "
            f"usual."
        )
    require_no_ranges(model, "train it quantization-aware")
    simulation = simulate(model, batches, head=head)
    last = simulation.head
    distance = FeatureDistance(copy.deepcopy(simulation.model), simulation, (f"{last}:input", *features))
    shown = _first(model, batches)
    before = distance.mean(shown)
    start = {name: value.clone() for name, value in simulation.state_dict().items()}
    optimiser = torch.optim.Adam(_groups(simulation, learning_rate, range_rate))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: (1 + math.cos(math.pi * n / max(steps, 1))) / 2)
    for number, x in zip(range(steps), _endless(batches), strict=False):
        loss = distance(x)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"expected a finite difference of features, found {float(loss.detach())} in step {number + 1}. "
                f"Lower the learning rate of {learning_rate:g}."
            )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(number + 1, steps)
    after = distance.mean(shown)
    improved = after < before
    if not improved:
        simulation.load_state_dict(start)
    ranges = simulation.trained_ranges()
    trained = simulation.model
    for own, given in zip(trained.parameters(), model.parameters(), strict=True):
        own.grad = None
        own.requires_grad_(given.requires_grad)
    hold_ranges(trained, ranges)
    lost = sum(not site.name for site in simulation.scheme.sites)
    return trained, QuantizeAwareReport(steps, before, min(before, after), ranges, lost, improved)


def simulate(model: nn.Module, batches: Iterable[Tensor], *, head: str | None = None) -> Simulation:
    """Return a copy of a model with its 8 bits simulated: what static quantization makes of it.

    Args:
        model: The model in float; ranges that it holds are kept.
        batches: See `quantize_aware`; they show the other ranges.
        head: See `quantize_aware`.

    Returns:
        The simulation, in evaluation mode. Its `model` is the copy, with BatchNorm folded.

    Raises:
        InputError: If the model cannot be simulated, or there is no batch.
    """
    shown = _first(model, batches)
    held, copied = held_ranges(model), copy.deepcopy(model).eval()
    folded = fold_norms(copied, record(copied, shown[0]))
    recording = record(copied, shown[0])
    simulation = Simulation(copied, recording, find_scheme(recording, head=head, folded=folded))
    simulation.eval().to(shown[0].device)
    simulation.calibrate(shown, held)
    return simulation


def _first(model: nn.Module, batches: Iterable[Tensor]) -> list[Tensor]:
    if isinstance(batches, Iterator):
        raise InputError("expected batches that can be gone through again, found an iterator. Give a list.")
    shown = list(islice(checked_batches(model, batches), _SHOWN))
    if not shown:
        raise InputError("expected one batch of samples or more, found none. Give some dozen samples at least.")
    return shown


def _endless(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    while True:
        count = 0
        for x in batches:
            count += 1
            yield x
        if not count:
            raise InputError("expected batches that can be gone through again, found that there are none any more.")


def _groups(simulation: Simulation, learning_rate: float, range_rate: float) -> list[dict[str, object]]:
    model = simulation.model
    fixed = {id(parameter) for parameter in model.get_submodule(simulation.head).parameters()}
    # The scale of a folded norm is 1 and stays so: it stands in the weights of the layer before it.
    for number in simulation.scheme.kept:
        fixed.add(id(model.get_submodule(simulation.recording.operations[number].module).weight))
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) not in fixed)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [{"params": weights, "lr": learning_rate}, {"params": [simulation.shares], "lr": range_rate}]
