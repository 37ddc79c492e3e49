"""A model whose head is set aside, and a projector in its place, for objectives without labels."""

import torch
from torch import Tensor, nn

from ...errors import InputError


class Projected(nn.Module):
    """The features of a model, projected.

    Args:
        model: A classifier. Its head stays in it, and trains no more.
        head: Name of its last linear layer.
        hidden: Hidden units of the projector.
        outputs: Outputs of the projector.
        seed: Fixes the first weights of the projector.
    """

    def __init__(self, model: nn.Module, head: str, hidden: int, outputs: int, *, seed: int = 0) -> None:
        super().__init__()
        self.model, self.head = model, head
        layer = linear_head(model, head)
        layer.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            projector = nn.Sequential(nn.Linear(layer.in_features, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        self.projector = projector.to(layer.weight.device, layer.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return projections ``(b, outputs)`` of a batch."""
        projections: Tensor = self.projector(features(self.model, self.head, x))
        return projections


def features(model: nn.Module, head: str, x: Tensor) -> Tensor:
    """Return what a model's head takes, ``(b, d)``.

    Args:
        model: The model; its head is run, too.
        head: Name of the head.
        x: What the model takes.
    """
    taken: list[Tensor] = []
    hook = model.get_submodule(head).register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    try:
        model(x)
    finally:
        hook.remove()
    if len(taken) != 1 or taken[0].dim() != 2:
        shapes = [tuple(t.shape) for t in taken]
        raise InputError(
            f"expected the model to call its head {head!r} once on (b, d), found {shapes}. Name another one as "
            f"model.head."
        )
    return taken[0]


def last_linear(model: nn.Module) -> str:
    """Return the name of the last linear layer.

    Raises:
        InputError: If there is none.
    """
    names: list[str] = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise InputError("expected a model with a linear head, found no linear layer. Choose another model.")
    return names[-1]


def linear_head(model: nn.Module, head: str) -> nn.Linear:
    """Return the head of that name.

    Raises:
        InputError: If it is no linear layer.
    """
    try:
        layer = model.get_submodule(head)
    except AttributeError as error:
        raise InputError(f"expected a layer {head!r} as model.head, found none. Check the name.") from error
    if not isinstance(layer, nn.Linear):
        raise InputError(f"expected a linear layer as model.head, found {type(layer).__name__} at {head!r}.")
    return layer


def set_head(model: nn.Module, head: str, weight: Tensor, bias: Tensor) -> None:
    """Copy weights ``(k, d)`` and biases ``(k,)`` into a head, which may train again."""
    layer = linear_head(model, head)
    layer.requires_grad_(True)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if layer.bias is None:
            raise InputError(f"expected the head {head!r} with a bias, found none. Name another one as model.head.")
        layer.bias.copy_(bias)
