"""Convolutions written as matrix products are PyTorch's convolutions, gradients included, whatever form they take."""

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch.nn import functional

from acclimate.converters.training.convolution import Pair, Window, convolve
from acclimate.converters.training.layout import Constants

# Channels in and out, groups, kernel, stride, padding, dilation, size of the map, whether Winograd's form is meant.
Case = tuple[int, int, int, Pair, Pair, Pair, Pair, Pair, bool]
CASES: dict[str, Case] = {
    "pointwise": (6, 8, 1, (1, 1), (1, 1), (0, 0), (1, 1), (5, 4), False),
    "pointwise, strided and padded": (6, 8, 1, (1, 1), (2, 3), (1, 0), (1, 1), (5, 7), False),
    "uneven": (6, 8, 1, (3, 5), (2, 1), (0, 3), (2, 1), (9, 6), False),
    "grouped": (6, 9, 3, (3, 3), (1, 1), (1, 1), (1, 1), (5, 4), False),
    "depthwise": (6, 6, 6, (3, 3), (2, 1), (1, 1), (1, 2), (6, 5), False),
    "depthwise, large": (6, 12, 6, (5, 3), (2, 1), (2, 0), (1, 2), (19, 15), False),
    "Winograd": (256, 256, 1, (3, 3), (1, 1), (1, 1), (1, 1), (7, 7), True),
    "Winograd, no padding": (256, 320, 1, (3, 3), (1, 1), (0, 0), (1, 1), (10, 6), True),
    "Winograd, more padding": (320, 256, 1, (3, 3), (1, 1), (2, 1), (1, 1), (6, 8), True),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forms(case: Case) -> None:
    """Results and gradients are PyTorch's."""
    torch.set_num_threads(1)
    c, o, groups, kernel, stride, padding, dilation, size, winograd = case
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, c, *size, generator=generator).requires_grad_()
    weight = (torch.randn(o, c // groups, *kernel, generator=generator) / c**0.5).requires_grad_()
    bias = torch.randn(o, generator=generator).requires_grad_()
    expected = functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    constants = Constants()
    window = Window(kernel, stride, padding, dilation, size)
    found = convolve(x.permute(1, 2, 3, 0), weight, bias, window, groups, constants).permute(3, 0, 1, 2)
    assert ("winograd kernel" in constants.made) == winograd
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    gradient = torch.randn(expected.shape, generator=generator)
    pairs = zip(
        torch.autograd.grad(found, (x, weight, bias), gradient),
        torch.autograd.grad(expected, (x, weight, bias), gradient),
        strict=True,
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))
