"""Discriminative learning rates: what is nearer to the input learns more slowly."""

from torch import nn

from .layers import Block, within


def rate_factors(model: nn.Module, blocks: tuple[Block, ...], factor: float) -> dict[str, float]:
    """Return the factor of the learning rate of every parameter.

    1 in the last block, `factor` in the one before it, its square in the next, and so on. Parameters that a module has
    beside its parts, such as the embedding of positions, go with the first block of that module.

    Args:
        model: The model.
        blocks: Its blocks, from stem to head.
        factor: From each block to the one before it, above 0 to 1.

    Returns:
        Factors by the parameters' names.

    References:
        Howard and Ruder 2018, "Universal language model fine-tuning for text classification", with 1 / 2.6.
    """
    last = len(blocks) - 1
    found: dict[str, float] = {}
    for name, _ in model.named_parameters():
        at = next((i for i, block in enumerate(blocks) if within(name, block.modules)), 0)
        found[name] = factor ** (last - at)
    return found
