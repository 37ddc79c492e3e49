"""A compressed network is built again from what its checkpoint notes, and from nothing that is not a narrower one."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torch_pruning", reason="acclimate[server] is not installed")

import torch
from torch import nn

from acclimate.errors import TrainingError
from acclimate.server.checkpoint import save_checkpoint
from acclimate.server.compress import hold_ranges, low_rank, prune
from acclimate.server.compress.hold_ranges import held_ranges
from acclimate.server.compress.narrowed import narrowed, narrowing_of, with_narrowing
from acclimate.server.config.model import ModelSettings
from acclimate.server.models import architecture_of, build_model, load_model

from .compress_nets import Net, frames, net

pytestmark = pytest.mark.needs_torch
SHOWN, UNSEEN = frames(32, seed=1), frames(8, seed=2)
_CODE = f"{Path(__file__).parent / 'compress_nets.py'}:Net"


def _narrow() -> tuple[Net, nn.Module, nn.Module]:
    """Return a network, one that was pruned, and one of which the head was factorised besides."""
    model = net()
    pruned, _ = prune(model, SHOWN[:2], ratio=0.4, multiple=2)
    return model, pruned, low_rank(pruned, [SHOWN], error=0.9)[0]


def test_a_pruned_and_factorised_network_is_built_again() -> None:
    """Through JSON, step by step, it has the shapes of the narrow one, and with its weights its answers to the bit."""
    model, pruned, factorised = _narrow()
    noted = [narrowing_of(model, pruned), narrowing_of(pruned, factorised)]
    built: nn.Module = Net()
    for one in json.loads(json.dumps(noted)):
        built = narrowed(built, one)
    built.load_state_dict(factorised.state_dict())
    assert torch.equal(built.eval()(UNSEEN), factorised(UNSEEN))
    assert type(built.get_submodule("head")) is nn.Sequential
    depth = built.get_submodule("depth")
    assert isinstance(depth, nn.Conv2d)
    assert depth.groups == depth.in_channels == depth.out_channels < 24


def test_a_checkpoint_of_it_is_loaded_with_its_ranges(tmp_path: Path) -> None:
    """`load_model` gives network, weights and ranges; to train on, ranges are left out, and another head may follow."""
    model, pruned, factorised = _narrow()
    text = architecture_of(ModelSettings(name=_CODE), 4, (1, 12, 12))
    for before, after in ((model, pruned), (pruned, factorised)):
        found = with_narrowing(text, narrowing_of(before, after))
        assert found is not None
        text = found
    ranges = {"act": (-1.0, 2.0), "stem:input": (0.0, 1.0)}
    save_checkpoint(
        tmp_path / "model", factorised, architecture=text, notes={"ranges": {k: list(v) for k, v in ranges.items()}}
    )
    loaded = load_model(tmp_path / "model", code=_CODE)
    assert torch.equal(loaded(UNSEEN), factorised(UNSEEN))
    assert held_ranges(loaded) == ranges
    settings = ModelSettings(name=str(tmp_path / "model"), code=_CODE)
    again = build_model(settings, 3, (1, 12, 12))
    assert held_ranges(again) == {}
    save_checkpoint(tmp_path / "next", again, architecture=architecture_of(settings, 3, (1, 12, 12)))
    assert torch.equal(load_model(tmp_path / "next", code=_CODE)(UNSEEN), again(UNSEEN))


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": {"stem": {"out_channels": 9}}},
        {"sizes": {"stem": {"out_channels": 0}}},
        {"sizes": {"stem": {"out_channels": True}}},
        {"sizes": {"stem": {"forward": 3}}},
        {"sizes": {"stem": {"__class__": 3}}},
        {"sizes": {"neck": {"out_channels": 3}}},
        {"sizes": ["stem"]},
        {"tensors": {"stem.weight": [8, 1, 3, 10**9]}},
        {"tensors": {"stem.weight": [8, 1]}},
        {"tensors": {"stem.weight": "8133"}},
        {"tensors": {"stem.forward": [1]}},
        {"ranks": {"head": 5}},
        {"ranks": {"stem": 1}},
        {"ranks": {"head": "2"}},
        {"ranks": None},
    ],
)
def test_what_is_no_narrower_network_is_refused(change: dict[str, Any]) -> None:
    """Notes come from elsewhere: they cannot make anything grow, nor name what is no size."""
    noted = {"ranks": {}, "sizes": {}, "tensors": {}} | change
    with pytest.raises(TrainingError, match="expected widths of"):
        narrowed(Net(), noted)
    with pytest.raises(TrainingError, match="expected widths of"):
        narrowed(Net(), {name: value for name, value in noted.items() if name not in change})


def test_ranges_that_are_none_are_refused(tmp_path: Path) -> None:
    """Texts, infinity, other places."""
    text = architecture_of(ModelSettings(name=_CODE), 4, (1, 12, 12))
    for number, ranges in enumerate(([1], {"act": [0]}, {"act": [0, "1"]}, {"act": [0, True]}, {"neck": [0, 1]})):
        folder = tmp_path / str(number)
        save_checkpoint(folder, net(), architecture=text, notes={"ranges": ranges})  # type: ignore[dict-item]
        with pytest.raises(TrainingError, match="expected ranges"):
            load_model(folder, code=_CODE)


def test_a_network_that_was_changed_otherwise_has_no_notes() -> None:
    """Another layer in place of one, and a checkpoint whose text has none then."""
    model = net()
    other = copy.deepcopy(model)
    other.head = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 4))  # type: ignore[assignment]
    assert narrowing_of(model, other) is None
    assert with_narrowing("{}", None) is None
    hold_ranges(model, {"act": (0, 1)})
    assert narrowing_of(net(), model) == {"ranks": {}, "sizes": {}, "tensors": {}}
