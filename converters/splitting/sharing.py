"""Weights that two modules share."""

from torch import nn

from ...errors import CutError


def check_own_weights(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Check that the head shares its weights with no other module.

    Args:
        model: The whole model.
        name: Name of the head in it.
        layer: The head.

    Raises:
        CutError: If another module has one of its weights.
    """
    own = {p.data_ptr() for p in layer.parameters(recurse=False) if p.dim() >= 2}
    for other, module in model.named_modules():
        shared = any(p is not None and p.data_ptr() in own for p in module._parameters.values())
        if shared and module is not layer:
            raise CutError(
                f"expected the head {name!r} to have a weight of its own, found that {other!r} shares it, so the "
                f"head cannot change alone. Give it a copy: weight = nn.Parameter(weight.detach().clone())."
            )
