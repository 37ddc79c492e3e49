"""What a step minimises: weighted cross-entropy, and the distance from the shipped weights."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

Penalty = Literal["none", "l2sp", "ewc"]
_LEAST = 1e-12


def cross_entropy(logits: Tensor, target: Tensor, sample_weight: Tensor) -> Tensor:
    """Mean cross-entropy, as PyTorch defines it with class weights: over the sum of the weights.

    Args:
        logits: ``(n, k) float32``.
        target: ``(n, k) float32``, one-hot or soft; rows sum to 1.
        sample_weight: ``(n,) float32``, 0 or more; a row of weight 0 is as if it were not there.

    Returns:
        A scalar.
    """
    share = (sample_weight / sample_weight.sum().clamp_min(_LEAST)).unsqueeze(1)
    loss: Tensor = CrossEntropy.apply(logits, target, share)[0]
    return loss


class CrossEntropy(torch.autograd.Function):
    """Cross-entropy of rows that count by shares, with its gradient in closed form: three operations."""

    @staticmethod
    def forward(logits: Tensor, target: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and the logarithms of the probabilities."""
        logs = torch.log_softmax(logits, 1)
        return -(target * logs * share).sum(), logs

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        """Keep the probabilities, and what they should be."""
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs[1:], output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        """Probability minus target, by share."""
        target, share, logs = ctx.saved_tensors
        return (logs.exp() - target) * share * gradient, None, None


def pull(
    penalty: Penalty,
    strength: Tensor,
    parameters: Mapping[str, Tensor],
    reference: Mapping[str, Tensor],
    fisher: Mapping[str, Tensor],
) -> tuple[Tensor | float, dict[str, Tensor]]:
    """Penalise the distance from the shipped weights: ``strength / 2 * sum(fisher * (parameter - reference) ** 2)``.

    Without Fisher information (1 everywhere) this is L2-SP (Li et al., 2018, "Explicit Inductive Bias for Transfer
    Learning with Convolutional Networks"), with it EWC (Kirkpatrick et al., 2017, "Overcoming catastrophic forgetting
    in neural networks").

    Args:
        penalty: Which.
        strength: A scalar.
        parameters: What is trained, by name.
        reference: The shipped weights, by name.
        fisher: Fisher diagonals, by name; for EWC only.

    Returns:
        The penalty, and its gradient by name.
    """
    if penalty == "none":
        return 0.0, {}
    total: Tensor | float = 0.0
    gradients = {}
    for name, parameter in parameters.items():
        away = parameter - reference[name]
        force = away * fisher[name] if penalty == "ewc" else away
        total = total + (force * away).sum()
        gradients[name] = force * strength
    return total * strength * 0.5, gradients
