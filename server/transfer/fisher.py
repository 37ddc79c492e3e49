"""The diagonal of a classifier's Fisher information: how much its samples say of each of its weights."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError
from ..objectives.supervised import logits_of

# Samples whose gradients are held at once: so many at most, and so many numbers.
_BLOCK, _NUMBERS = 16, 2**26
# Of more classes than these, one is drawn for a sample instead of weighing all.
_MOST_CLASSES = 32

_Gradients: TypeAlias = Callable[[Tensor, Tensor], Mapping[str, Tensor]]


def fisher_diagonal(
    model: nn.Module, inputs: Tensor, labels: Tensor | None = None, *, block: int | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Return the mean over samples of the squared gradients of ``ln p(y | x)``, each sample's for itself.

    Squares of the mean gradient of batches would depend on the size of the batches, and vanish as they grow. The model
    is run in evaluation mode. For a linear softmax head this is ``mean((p - y)² ⊗ x²)``.

    Args:
        model: Takes ``(b, ...)`` and returns logits ``(b, k)``; stays as it is.
        inputs: ``(n, ...)``, one sample or more.
        labels: ``(n,) int64``; where None, y is the model's own: all classes weighted by its probabilities, or of more
            than 32 classes one drawn from them.
        block: Samples whose gradients are held at once, as many as fit where None; the result is the same to rounding.
        seed: Fixes what is drawn.

    Returns:
        By parameter name, of each parameter's shape; of the parameters that are not frozen.

    Raises:
        InputError: If there are no samples, or the result is not finite.

    References:
        Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks"; Martens 2020, "New insights
        and perspectives on the natural gradient method", for y from the model.
    """
    if not len(inputs) or (labels is not None and labels.shape != inputs.shape[:1]):
        raise InputError(
            f"expected samples (n, ...), n of 1 or more, with labels (n,) or none, found {tuple(inputs.shape)} with "
            f"{None if labels is None else tuple(labels.shape)}."
        )
    was_training = model.training
    model.eval()
    try:
        return _diagonal(model, inputs, labels, block, seed)
    finally:
        model.train(was_training)


def _diagonal(
    model: nn.Module, inputs: Tensor, labels: Tensor | None, block: int | None, seed: int
) -> dict[str, Tensor]:
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        return {}
    block = block or max(1, min(_BLOCK, _NUMBERS // sum(p.numel() for p in parameters.values())))
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    generator = torch.Generator().manual_seed(seed)
    gradients = _vectorised(model, parameters)
    for begin in range(0, len(inputs), block):
        x = inputs[begin : begin + block]
        given = None if labels is None else labels[begin : begin + block]
        for classes, weight in _targets(model, x, given, generator):
            try:
                found = gradients(x, classes)
            # Not everything a module does can be vectorised.
            except RuntimeError:
                gradients = _one_by_one(model, parameters)
                found = gradients(x, classes)
            for name, each in found.items():
                total[name] += (each.square() * weight.view(-1, *[1] * (each.dim() - 1))).sum(0)
    diagonal = {name: found / len(inputs) for name, found in total.items()}
    broken = [name for name, found in diagonal.items() if not bool(found.isfinite().all())]
    if broken:
        raise InputError(f"expected finite gradients, found NaN or infinity in {broken[0]!r}. Check model and samples.")
    return diagonal


def _targets(
    model: nn.Module, x: Tensor, labels: Tensor | None, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Return classes ``(b,)`` to take gradients of, and the weight ``(b,)`` of each sample's."""
    with torch.no_grad():
        (logits,) = logits_of(model(x), (_classes(model(x[:1])),))
    if labels is not None:
        return [(labels.to(x.device), torch.ones_like(logits[:, 0]))]
    share = torch.softmax(logits, 1)
    if share.shape[1] > _MOST_CLASSES:
        drawn = torch.multinomial(share.cpu(), 1, generator=generator)[:, 0]
        return [(drawn.to(x.device), torch.ones_like(share[:, 0]))]
    return [(torch.full((len(x),), c, device=x.device), share[:, c]) for c in range(share.shape[1])]


def _classes(outputs: object) -> int:
    found = getattr(outputs, "logits", outputs)
    if not isinstance(found, Tensor) or found.dim() != 2:
        raise InputError(f"expected a model of one task that returns logits (b, k), found {type(found).__name__}.")
    return found.shape[1]


def _vectorised(model: nn.Module, parameters: Mapping[str, Tensor]) -> _Gradients:
    held = {name: p.detach() for name, p in parameters.items()}

    def log_share(moving: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, moving, (x[None],))
        logits: Tensor = getattr(outputs, "logits", outputs)
        return functional.log_softmax(logits[0], 0).gather(0, y[None])[0]

    each = torch.func.vmap(torch.func.grad(log_share), in_dims=(None, 0, 0))
    return lambda x, y: each(held, x, y)


def _one_by_one(model: nn.Module, parameters: Mapping[str, Tensor]) -> _Gradients:
    def gradients(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        rows: list[tuple[Tensor, ...]] = []
        for one, label in zip(x, y, strict=True):
            outputs = model(one[None])
            loss = functional.cross_entropy(getattr(outputs, "logits", outputs), label[None])
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
            rows.append(found)
        return {name: torch.stack(part) for name, part in zip(parameters, zip(*rows, strict=True), strict=True)}

    return gradients
