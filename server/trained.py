"""A trained model on its way to a device: loaded from its checkpoint, with all that is known of its input."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from ..converters.sources.load import Known
from .models import load_model
from .trained_input import TrainedInput, read_input


class ChannelsFirst(nn.Module):
    """A model of series that takes them as they are recorded.

    Args:
        model: Takes ``(b, c, t) float32``.
        shape: c and t.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.shape = model, shape

    def forward(self, x: Tensor) -> Tensor:
        """Return what the model gives for ``(b, t, c)``, or ``(b, t)`` where c is 1."""
        channels, length = self.shape
        found: Tensor = self.model(x.reshape(-1, length, channels).transpose(1, 2))
        return found


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model and what its run noted; takes the place of `acclimate.converters.sources.load.ModelSource`.

    Args:
        model: Takes raw samples after mean and deviation; in evaluation mode.
        input: What its samples were.
        tokens: Never.
    """

    model: nn.Module
    input: TrainedInput
    tokens: bool = field(default=False, init=False)

    @property
    def known(self) -> Known:
        """Height and width, mean, deviation and classes."""
        return self.input.known

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample as `model` takes it, without the batch."""
        return self.input.sample_shape

    def options(self, samples: NDArray[Any], **given: Any) -> dict[str, Any]:
        """Return the arguments of `acclimate.converters.convert` for raw samples: see `TrainedInput.options`."""
        return self.input.options(samples, **given)


def load_trained(path: str | Path, *, code: str | None = None) -> Trained:
    """Load what `pretrain` left, for the converters.

    Args:
        path: The folder of a run, or of its checkpoint.
        code: As for `load_model`.

    Returns:
        The model, and what to tell `acclimate.converters.convert` of its input: ``convert(found.model, frames,
        **found.options(frames), out=...)``.

    Raises:
        InputError: If there is no checkpoint, or the network cannot be built here.
        TrainingError: If the checkpoint is damaged, of another network, or notes nothing of the data.
    """
    model, known = load_model(path, code=code), read_input(path)
    if known.form == "series":
        model = ChannelsFirst(model, (known.shape[0], known.shape[1])).eval()
    return Trained(model, known)
