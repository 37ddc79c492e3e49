"""Blocks of compression tell what does not fit: arrays, shapes, labels, a tensor where batches are asked for."""

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from torch import nn

from acclimate.errors import InputError
from acclimate.server.compress import low_rank, prune, quantize_aware, simulate

from .compress_nets import frames, net

pytestmark = pytest.mark.needs_torch
SHOWN = frames(16, seed=1)


def _prune(model: Any, given: Any) -> object:
    return prune(model, given, ratio=0.5)


def _low_rank(model: Any, given: Any) -> object:
    return low_rank(model, [given])


def _quantize_aware(model: Any, given: Any) -> object:
    return quantize_aware(model, [given], steps=0)


@pytest.mark.parametrize("block", [_prune, _low_rank, _quantize_aware])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (SHOWN.numpy(), r"a float tensor \(n, ...\), found ndarray \(16, 1, 12, 12\).*torch.from_numpy"),
        ((SHOWN, torch.zeros(16)), "found tuple.*Leave out the labels"),
        (SHOWN.to(torch.uint8), r"found \(16, 1, 12, 12\) uint8"),
        (SHOWN[:0], r"one sample or more, found \(0, 1, 12, 12\)"),
        (SHOWN.repeat(1, 3, 1, 1), r"as Net takes them, found \(16, 3, 12, 12\) float32: RuntimeError"),
    ],
)
def test_samples_that_do_not_fit_are_told(block: Callable[..., object], given: Any, message: str) -> None:
    """What was expected, the shape and type that were found, and what to do."""
    with pytest.raises(InputError, match=message):
        block(net(), given)


def test_a_tensor_is_no_list_of_batches() -> None:
    """It would be gone through sample by sample."""
    for block in (low_rank, quantize_aware, simulate):
        with pytest.raises(InputError, match=r"expected batches, found \(16, 1, 12, 12\) float32.*x.split"):
            block(net(), SHOWN)


def test_what_is_no_model_or_returns_no_tensor_is_told() -> None:
    """A name, and a model that returns a pair."""

    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(InputError, match="torch module, found str"):
        _prune("net", SHOWN)
    with pytest.raises(InputError, match="Pair to return one tensor, found tuple"):
        _prune(Pair(), SHOWN)


def test_a_model_keeps_its_mode() -> None:
    """Looking whether samples fit leaves training as it was, module by module."""
    model = net().train()
    model.norm.eval()
    _prune(model, SHOWN)
    assert [m.training for m in model.modules() if not m.training] == [False]
    assert not model.norm.training
