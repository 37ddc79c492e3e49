"""Simulated rounding gives torch's own numbers, and the gradients that training needs."""

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from torch import Tensor

from acclimate.server.compress.fake_quantize import (
    activation_scale,
    fake_quantize,
    fake_quantize_bias,
    fake_quantize_weight,
    weight_scale,
)

pytestmark = pytest.mark.needs_torch


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ends", [(-1.3, 2.1), (0.0, 6.0), (-4.0, 0.0), (-0.001, 0.01)])
def test_activations_are_those_of_torch(ends: tuple[float, float]) -> None:
    """Unsigned 8 bits with the zero point that shows 0 exactly; the gradient is 1 inside and 0 outside."""
    low, high = (torch.tensor(end) for end in ends)
    x = torch.cat((3 * high * normal(500, seed=0), 3 * low * normal(500, seed=1), torch.zeros(1))).requires_grad_()
    scale = activation_scale(low, high)
    zero = int(torch.round(-low / scale))
    expected = torch.fake_quantize_per_tensor_affine(x.detach(), float(scale), zero, 0, 255)
    found = fake_quantize(x, low, high)
    torch.testing.assert_close(found, expected, atol=1e-6 * float(high - low), rtol=1e-5)
    assert float(found[-1].detach()) == 0
    found.sum().backward()  # type: ignore[no-untyped-call]
    inside = (x.detach() > (0 - zero) * scale) & (x.detach() < (255 - zero) * scale)
    assert x.grad is not None
    assert torch.equal(x.grad, inside.float())


def test_ends_follow_what_lies_outside() -> None:
    """Values above the upper end move with it, those below the lower end with that one; finite differences of steps."""
    low, high = torch.tensor(-1.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    fake_quantize(torch.tensor([9.0, 8.0, -7.0]), low, high).sum().backward()  # type: ignore[no-untyped-call]
    assert low.grad is not None
    assert high.grad is not None
    assert float(high.grad) == pytest.approx(2, abs=0.02)
    assert float(low.grad) == pytest.approx(1, abs=0.02)
    # Without a zero point to round: a value between keeps its level, and moves with the step.
    top = torch.tensor(2.55, requires_grad=True)
    value = fake_quantize(torch.tensor(0.994), torch.tensor(0.0), top)
    assert float(value.detach()) == pytest.approx(0.99)
    value.backward()  # type: ignore[no-untyped-call]
    assert top.grad is not None
    assert float(top.grad) == pytest.approx((99 - 99.4) / 255, abs=1e-5)


@pytest.mark.parametrize(("shape", "axis"), [((6, 3, 2, 2), 0), ((3, 6, 2, 2), 1), ((6, 5), 0)])
def test_weights_are_those_of_torch(shape: tuple[int, ...], axis: int) -> None:
    """Signed, symmetric, a step for each output channel; a channel of zeros stays, and the gradient passes."""
    weight = normal(*shape, seed=2) * torch.logspace(-3, 1, 6).reshape(
        [6 if i == axis else 1 for i in range(len(shape))]
    )
    weight.select(axis, 2).zero_()
    weight.requires_grad_()
    steps = weight_scale(weight, axis).flatten()
    found = fake_quantize_weight(weight, axis)
    zeros = torch.zeros(6, dtype=torch.int32)
    expected = torch.fake_quantize_per_channel_affine(weight.detach(), steps, zeros, axis, -127, 127)
    torch.testing.assert_close(found, expected)
    levels = (found.detach().movedim(axis, 0).flatten(1) / steps[:, None]).round()
    assert set(levels.abs().amax(1).tolist()) == {127.0, 0.0}
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_biases_are_multiples_of_their_steps() -> None:
    """The nearest ones."""
    bias, steps = normal(6, seed=3), torch.logspace(-6, -1, 6)
    found = fake_quantize_bias(bias, steps)
    assert bool(((found - bias).abs() <= steps / 2 + 1e-7).all())
    torch.testing.assert_close((found / steps).round() * steps, found)
