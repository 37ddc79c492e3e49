"""Steps that cannot be taken: what to change in the settings, for what torch says of its own insides."""

from torch import nn

_LONGEST = 3


def why_not(error: Exception, module: nn.Module, samples: int) -> str | None:
    """Return what is told instead of an error of torch; None where it is no fault of the settings.

    Args:
        error: What the forward or backward pass raised.
        module: What is trained.
        samples: Number of samples in the pass.
    """
    text = str(error)
    if isinstance(error, ValueError) and "more than 1 value per channel" in text:
        return (
            f"expected two samples or more at once for batch normalisation, found {samples}. Set a larger "
            f"training.batch_size, or a smaller training.accumulation."
        )
    if isinstance(error, RuntimeError) and "does not require grad" in text:
        names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        more = f" and {len(names) - _LONGEST} more" if len(names) > _LONGEST else ""
        return (
            f"expected a loss that depends on what is trained, found that it does not: {', '.join(names[:_LONGEST])}"
            f"{more} take no part in the model's output. Choose other layers, such as with transfer.train_last."
        )
    return None
