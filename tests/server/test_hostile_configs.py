"""A configuration of Hugging Face inside a checkpoint asks for no more than its weights can fill."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")
pytest.importorskip("transformers", reason="acclimate[sources] is not installed")

import torch

from acclimate.errors import TrainingError
from acclimate.server import hf_bounds, models
from acclimate.server.checkpoint import save_checkpoint
from acclimate.server.config.model import ModelSettings
from acclimate.server.models import architecture_of, build_model, load_model

pytestmark = pytest.mark.needs_torch
TINY = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
VIT = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of a small network of Hugging Face."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY))
    settings = ModelSettings(name=f"hf-config:{path}")
    model = build_model(settings, 3, (3, 32, 32))
    save_checkpoint(tmp_path / "model", model, architecture=architecture_of(settings, 3, (3, 32, 32)))
    return tmp_path / "model"


def _ask(folder: Path, config: Any) -> None:
    path = folder / "checkpoint.json"
    record = json.loads(path.read_text())
    record["architecture"] = json.dumps({**json.loads(record["architecture"]), "config": config})
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**TINY, "num_labels": 10**9}, "with num_labels of at most 65,536, found 1000000000"),
        ({**TINY, "depths": [10**9, 1]}, "with depths of at most 4,096, found 1000000000"),
        ({**TINY, "depths": [1] * 10_000}, "with a list depths of at most 4,096, found 10000"),
        ({**TINY, "hidden_sizes": [8, 2**40]}, "with hidden_sizes of at most 16,777,216"),
        ({**TINY, "hidden_sizes": [8, -(2**40)]}, "with hidden_sizes of at most 16,777,216"),
        ({**TINY, "embedding_size": 10**400}, "found a number of more than 15 digits"),
        ({**TINY, "hidden_sizes": [2**13, 2**13]}, "that its weights of .* bytes fill, found one of"),
        ({**VIT, "num_hidden_layers": 10**9}, "with num_hidden_layers of at most 4,096"),
        ({**VIT, "hidden_size": 2**20, "intermediate_size": 2**22}, "bytes fill, found one of"),
        ({**VIT, "nested": {"n_layers": 10**9}}, "with n_layers of at most 4,096"),
        ({**VIT, "num_attention_heads": "x", "hidden_size": 2**20}, "cannot be counted before it is built"),
        ([1], "found list"),
        ("x", "found str"),
    ],
)
def test_what_asks_for_too_much_is_refused_before_it_is_built(
    checkpoint: Path, config: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A billion labels, layers or values: told in words, and the network is not built."""

    def build(settings: ModelSettings) -> None:
        raise AssertionError(f"{settings.name} was built")

    _ask(checkpoint, config)
    monkeypatch.setattr(models, "_load", build)
    with pytest.raises(TrainingError, match=message):
        load_model(checkpoint)


def test_what_a_run_wrote_is_loaded(checkpoint: Path) -> None:
    """As it is, and with the numbers that real configurations hold; one that cannot be counted is built if small."""
    before = load_model(checkpoint).state_dict()
    config = json.loads(json.loads((checkpoint / "checkpoint.json").read_text())["architecture"])["config"]
    _ask(checkpoint, {**config, "vocab_size": 256_000, "max_position_embeddings": 10**7, "pad_token_id": None})
    after = load_model(checkpoint).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_model_that_cannot_be_made_without_memory_is_built_where_it_is_small(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some read a value while they are made, which has none on the device without memory."""
    monkeypatch.setattr(hf_bounds, "_values", lambda config: None)
    assert load_model(checkpoint)(torch.rand(1, 3, 32, 32)).shape == (1, 3)
