"""Blocks run in order, are trained where they ask for it, and leave the original as it was."""

from functools import partial

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torch_pruning", reason="acclimate[server] is not installed")

import torch
from torch import nn

from acclimate.errors import InputError
from acclimate.server.compress import (
    LowRankReport,
    PruneReport,
    QuantizeAwareReport,
    Step,
    compress,
    held_ranges,
    low_rank,
    prune,
    quantize_aware,
)

from .compress_nets import frames, net, untouched

pytestmark = pytest.mark.needs_torch
SHOWN = frames(64, seed=1)
BATCHES = torch.split(SHOWN, 16)


def test_all_blocks_one_after_the_other() -> None:
    """Pruned, factorised, quantization-aware: a model with ranges that is smaller after each, and its reports."""
    original, before = untouched(net())
    trained: list[nn.Module] = []

    def train(model: nn.Module) -> int:
        trained.append(model.train())
        return len(trained)

    told: list[tuple[int, int]] = []
    model, reports = compress(
        original,
        [
            Step("prune", partial(prune, sample=SHOWN, ratio=0.4)),
            Step("low rank", partial(low_rank, batches=BATCHES, error=0.6), train=False),
            Step("int8", partial(quantize_aware, batches=BATCHES, steps=2), train=False),
        ],
        train=train,
        progress=lambda *done: told.append(done),
    )
    assert [one.name for one in reports] == ["prune", "low rank", "int8"]
    assert [type(one.report) for one in reports] == [PruneReport, LowRankReport, QuantizeAwareReport]
    assert [one.trained for one in reports] == [1, None, None]
    sizes = [sum(parameter.numel() for parameter in original.parameters()), *(one.parameters for one in reports)]
    assert sizes[0] > sizes[1] > sizes[2] == sizes[3]
    assert held_ranges(model)
    assert not model.training
    assert trained[0] is not original
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())
    with torch.no_grad():
        assert model(SHOWN).shape == (64, 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_the_same_on_a_gpu() -> None:
    """Widths, rank and the start of training are those of the CPU, and what comes back stays on the GPU."""
    found = []
    for device in ("cpu", "cuda"):
        batches = [batch.to(device) for batch in BATCHES]
        model, reports = compress(
            net().to(device),
            [
                Step("prune", partial(prune, sample=batches[0], ratio=0.4), train=False),
                Step("low rank", partial(low_rank, batches=batches, error=0.6), train=False),
                Step("int8", partial(quantize_aware, batches=batches, steps=2), train=False),
            ],
        )
        assert next(model.parameters()).device.type == device
        found.append((reports[0].report, reports[1].report.layers[0].rank, reports[2].report.before))
    assert found[0][:2] == found[1][:2]
    assert found[0][2] == pytest.approx(found[1][2], rel=0.05)


def test_training_starts_where_the_step_ended() -> None:
    """What `train` changes is what the next step and the caller get, and never the original."""
    original, before = untouched(nn.Sequential(nn.Linear(2, 2)))

    def same(model: nn.Module) -> tuple[nn.Module, float]:
        return model, float(model.state_dict()["0.weight"].sum())

    def train(model: nn.Module) -> None:
        with torch.no_grad():
            model.state_dict()["0.weight"].fill_(1.0)

    model, reports = compress(original, [Step("first", same), Step("second", same, train=False)], train=train)
    assert reports[1].report == 4.0
    assert torch.equal(original.state_dict()["0.weight"], before["0.weight"])
    assert float(model.state_dict()["0.weight"].sum()) == 4.0


def test_missing_steps_and_training_are_refused() -> None:
    """Before any work; and another block after quantization-aware training."""
    with pytest.raises(InputError, match="one step or more"):
        compress(net(), [])
    with pytest.raises(InputError, match="trains the model after 'prune'"):
        compress(net(), [Step("prune", partial(prune, sample=SHOWN, ratio=0.4))])
    aware = Step("int8", partial(quantize_aware, batches=BATCHES, steps=0), train=False)
    with pytest.raises(InputError, match=r"without trained ranges to prune it.*Train quantization-aware last"):
        compress(net(), [aware, Step("prune", partial(prune, sample=SHOWN, ratio=0.4), train=False)])
