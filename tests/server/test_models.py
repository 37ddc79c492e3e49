"""Models by name: heads for the classes of the data, first layers for its channels, and back from a checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from torch import nn

from acclimate.errors import InputError, TrainingError
from acclimate.server.checkpoint import save_checkpoint
from acclimate.server.config.model import ModelSettings
from acclimate.server.model_ends import fit_channels, fit_ends
from acclimate.server.models import architecture_of, build_model, load_model

pytestmark = pytest.mark.needs_torch

CODE = """
import torch
from torch import nn

def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5), nn.Identity())

def two_linears():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 5))

def unnamed():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(12, 5))
        def forward(self, x):
            return x.flatten(1) @ self.weight
    return Net()

def pair():
    class Net(nn.Module):
        def forward(self, x):
            return x, x
    return Net()
"""
HF = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "own_models.py"
    path.write_text(CODE)
    return str(path)


def named(folder: Path, kind: str) -> str:
    if kind == "hf":
        (folder / "config.json").write_text(json.dumps(HF))
        pytest.importorskip("transformers", reason="acclimate[sources] is not installed")
        return f"hf-config:{folder / 'config.json'}"
    pytest.importorskip(kind.partition(":")[0], reason="acclimate[sources] is not installed")
    return f"{kind}@random"


@pytest.mark.parametrize(
    ("kind", "channels"),
    [
        ("torchvision:mobilenet_v3_small", 1),
        ("torchvision:squeezenet1_1", 3),
        ("timm:mobilenetv3_small_050", 3),
        ("timm:resnet10t", 1),
        ("hf", 3),
    ],
)
def test_a_library_model_fits_the_data_and_comes_back_from_its_checkpoint(
    tmp_path: Path, kind: str, channels: int
) -> None:
    """Seven outputs for seven classes, grey or colour; saved, loaded without its library's weights, equal to the bit.

    From the checkpoint it can be trained on for other classes, and that one is saved and loaded again.
    """
    x = torch.rand(2, channels, 64, 64)
    settings = ModelSettings(name=named(tmp_path, kind))
    model = build_model(settings, 7, x.shape[1:])
    assert model(x).shape == (2, 7)
    assert all(p.requires_grad for p in model.parameters())
    save_checkpoint(tmp_path / "first", model, architecture=architecture_of(settings, 7, x.shape[1:]))
    if kind == "hf":
        (tmp_path / "config.json").unlink()
    assert torch.equal(load_model(tmp_path / "first")(x), model(x))
    again = ModelSettings(name=str(tmp_path / "first"), seed=3)
    other = build_model(again, 3, x.shape[1:])
    assert other(x).shape == (2, 3)
    save_checkpoint(tmp_path / "second", other, architecture=architecture_of(again, 3, x.shape[1:]))
    assert torch.equal(load_model(tmp_path / "second")(x), other(x))


def test_only_the_last_layer_is_new(code: str) -> None:
    """All other weights stay; the new head's follow the seed, and the caller's generator is left alone."""
    name = f"{code}:small"
    whole = build_model(ModelSettings(name=name), 5, (3, 8, 8))
    heads = [build_model(ModelSettings(name=name, seed=seed), 2, (3, 8, 8)).get_submodule("3") for seed in (1, 1, 2)]
    model = build_model(ModelSettings(name=name), 2, (3, 8, 8))
    assert torch.equal(whole.get_parameter("0.weight"), model.get_parameter("0.weight"))
    weights = [head.get_parameter("weight") for head in heads]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    new = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    torch.manual_seed(9)
    wanted = torch.rand(2)
    torch.manual_seed(9)
    fit_ends(new, 3, (4,), seed=5)
    assert torch.equal(torch.rand(2), wanted)


def test_the_seed_fixes_what_a_function_draws(code: str) -> None:
    """Whatever was drawn before; another seed gives another network, and the caller's draws go on as they were."""

    def weight(seed: int) -> torch.Tensor:
        return next(build_model(ModelSettings(name=f"{code}:two_linears", seed=seed), 3, (12,)).parameters()).detach()

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other = weight(1), weight(2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(weight(1), one)
    assert not torch.equal(one, other)


def test_a_head_can_be_named(code: str) -> None:
    """The last of the linear layers is taken by itself; where another is named, or none fits, it is told."""
    name = f"{code}:two_linears"
    model = build_model(ModelSettings(name=name), 3, (3, 2, 2))
    assert [m.out_features for m in model.modules() if isinstance(m, nn.Linear)] == [5, 3]
    assert build_model(ModelSettings(name=name, head="3"), 3, (3, 2, 2))(torch.rand(1, 3, 2, 2)).shape == (1, 3)
    for head, message in (("9", "expected a layer '9'"), ("2", "as a linear layer"), ("1", "to take samples of shape")):
        with pytest.raises(InputError, match=message):
            build_model(ModelSettings(name=name, head=head), 3, (3, 2, 2))


@pytest.mark.parametrize(
    ("head", "message"),
    [("9", "expected a layer '9'"), ("1", "as a linear layer"), ("0", "with the model's 5 outputs, found 7")],
)
def test_a_wrong_head_is_told_where_none_has_to_be_replaced(head: str, message: str) -> None:
    """The model has as many outputs as there are classes: its head is looked up all the same."""
    model = nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 5))
    assert fit_ends(model, 5, (12,), head="2") is model
    with pytest.raises(InputError, match=message):
        fit_ends(model, 5, (12,), head=head)


def test_a_grey_image_gives_what_it_gave_three_times() -> None:
    """Weights of three channels added up for one are the same function of a grey image; spread, of the mean."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    grey = torch.rand(2, 1, 5, 5)
    wanted = model(grey.expand(-1, 3, -1, -1))
    fit_channels(model, 1)
    assert torch.allclose(model(grey), wanted, atol=1e-6)
    colour = torch.rand(2, 3, 5, 5)
    wanted = model(colour.mean(dim=1, keepdim=True))
    fit_channels(model, 3)
    assert torch.allclose(model(colour), wanted, atol=1e-6)


def test_building_leaves_no_trace_of_the_trial(code: str) -> None:
    """The model is run once to see its outputs: statistics of normalisation layers stay as they were."""
    Path(code).write_text(
        "from torch import nn\n"
        "def norm():\n"
        "    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 4)).train()\n"
    )
    model = build_model(ModelSettings(name=f"{code}:norm"), 3, (1, 2, 2))
    assert torch.equal(model.get_buffer("1.running_mean"), torch.zeros(2))
    assert int(model.get_buffer("1.num_batches_tracked")) == 0
    assert not model.training


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        ("small", (12,), "to take samples of shape"),
        ("unnamed", (3, 2, 2), "a last layer, linear or a convolution, with the model's 5 outputs, found none in Net"),
        ("pair", (3, 2, 2), r"to return logits \(b, k\), found tuple"),
        ("none", (3, 2, 2), "expected a function 'none'"),
    ],
)
def test_what_does_not_fit_is_told(code: str, function: str, shape: tuple[int, ...], message: str) -> None:
    """Samples of another shape, no layer to replace, no logits, no such function."""
    with pytest.raises(InputError, match=message):
        build_model(ModelSettings(name=f"{code}:{function}"), 3, shape)


def test_what_cannot_be_trained_is_told() -> None:
    """An ONNX file, and what names nothing."""
    with pytest.raises(InputError, match="expected a model that can be trained"):
        build_model(ModelSettings(name="net.onnx"), 3, (3, 8, 8))
    with pytest.raises(InputError, match="found 'nonsense'"):
        build_model(ModelSettings(name="nonsense"), 3, (3, 8, 8))


def test_a_checkpoint_does_not_choose_code_to_run(tmp_path: Path, code: str) -> None:
    """A network of the user's function comes back only where the user names that function, too."""
    settings = ModelSettings(name=f"{code}:small")
    model = build_model(settings, 3, (3, 8, 8))
    save_checkpoint(tmp_path / "run", model, architecture=architecture_of(settings, 3, (3, 8, 8)))
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(load_model(tmp_path / "run", code=f"{code}:small")(x), model(x))
    assert build_model(ModelSettings(name=str(tmp_path / "run"), code=f"{code}:small"), 2, (3, 8, 8))(x).shape == (2, 2)
    Path(code).write_text("raise SystemExit('it ran')")
    with pytest.raises(
        TrainingError,
        match=r"own_models.py:small' builds. If you know that code, name it: model.code in settings, --code",
    ):
        load_model(tmp_path / "run")


def test_another_function_than_the_checkpoints_is_refused_by_name(
    tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are named; the same one may be written otherwise, and lie elsewhere once its file has moved."""
    settings = ModelSettings(name=f"{code}:small")
    model = build_model(settings, 3, (3, 8, 8))
    save_checkpoint(tmp_path / "run", model, architecture=architecture_of(settings, 3, (3, 8, 8)))
    x = torch.rand(2, 3, 8, 8)
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "own_models.py"
    moved.write_bytes(Path(code).read_bytes())
    for given in (f"{code}:pair", f"{moved}:small", "own_models:small", "small"):
        with pytest.raises(TrainingError, match=r"own_models\.py:small', found '.*small'|:small', found '.*:pair'"):
            load_model(tmp_path / "run", code=given)
    monkeypatch.chdir(tmp_path)
    assert torch.equal(load_model("run", code="own_models.py:small")(x), model(x))
    Path(code).unlink()
    assert torch.equal(load_model("run", code=f"{moved}:small")(x), model(x))
    with pytest.raises(TrainingError, match=r"other\.py:small'"):
        load_model("run", code="other.py:small")
    # Whoever trains on it notes where the function is now.
    again = ModelSettings(name="run", code=f"{moved}:small")
    assert json.loads(architecture_of(again, 3, (3, 8, 8)))["name"] == f"{moved}:small"


def test_a_model_for_data_without_classes_keeps_its_head(tmp_path: Path, code: str) -> None:
    """No layer without outputs: as many as it has, also from the checkpoint, on which other classes are trained."""
    settings = ModelSettings(name=f"{code}:small")
    model = build_model(settings, 0, (3, 8, 8))
    x = torch.rand(2, 3, 8, 8)
    assert model(x).shape[1] > 0
    save_checkpoint(tmp_path / "run", model, architecture=architecture_of(settings, 0, (3, 8, 8)))
    assert torch.equal(load_model(tmp_path / "run", code=f"{code}:small")(x), model(x))
    named = ModelSettings(name=str(tmp_path / "run"), code=f"{code}:small")
    assert build_model(named, 7, (3, 8, 8))(x).shape == (2, 7)


@pytest.mark.parametrize(
    "architecture",
    [
        "[]",
        '{"kind": "acclimate-model", "name": "timm:resnet10t@random", "config": null, "heads": []}',
        '{"kind": "acclimate-model", "name": 3, "config": null, "heads": [[3, [3, 8, 8], "auto"]]}',
        '{"kind": "acclimate-model", "name": "x", "config": null, "heads": [[1000000000, [3, 8, 8], "auto"]]}',
        '{"kind": "acclimate-model", "name": "x", "config": null, "heads": [[3, [3, 99999999, 8], "auto"]]}',
        '{"kind": "acclimate-model", "name": "x", "config": null, "heads": 7}',
    ],
)
def test_a_checkpoint_of_another_origin_is_refused(tmp_path: Path, architecture: str) -> None:
    """One of another program, or with sizes that no model has, is refused before anything is built."""
    save_checkpoint(tmp_path / "run", nn.Linear(2, 2), architecture=architecture)
    with pytest.raises(TrainingError, match="expected a checkpoint of a model that settings named"):
        load_model(tmp_path / "run")


def test_a_network_that_was_handed_over_is_built_by_a_function_that_is_named(tmp_path: Path, code: str) -> None:
    """It has a name alone: the message says how to load it, and so it is loaded, trained on, and loaded again."""
    model = build_model(ModelSettings(name=f"{code}:small"), 5, (3, 8, 8))
    save_checkpoint(tmp_path / "run", model, architecture="mine")
    where = str(tmp_path / "run")
    message = f"was handed over, known as 'mine' alone.*model.code.*--code.*load_checkpoint.'{where}', network, archi"
    with pytest.raises(TrainingError, match=message):
        load_model(tmp_path / "run")
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(load_model(tmp_path / "run", code=f"{code}:small")(x), model(x))
    with pytest.raises(TrainingError, match="tensors differ"):
        load_model(tmp_path / "run", code=f"{code}:two_linears")
    settings = ModelSettings(name=where, code=f"{code}:small")
    again = build_model(settings, 2, (3, 8, 8))
    save_checkpoint(tmp_path / "next", again, architecture=architecture_of(settings, 2, (3, 8, 8)))
    assert torch.equal(load_model(tmp_path / "next", code=f"{code}:small")(x), again(x))


def test_the_folder_of_a_run_names_its_model(tmp_path: Path, code: str) -> None:
    """Where it has come to its end; of one that has not, the best weights so far are named, and nothing else is one."""
    settings = ModelSettings(name=f"{code}:small")
    model = build_model(settings, 3, (3, 8, 8))
    text = architecture_of(settings, 3, (3, 8, 8))
    save_checkpoint(tmp_path / "run" / "best-000000012", model, architecture=text)
    with pytest.raises(InputError, match=r"came to its end, found .*--resume.* or name .*best-000000012"):
        load_model(tmp_path / "run")
    (tmp_path / "run" / "best-000000012").rename(tmp_path / "run" / "model")
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(load_model(tmp_path / "run", code=settings.name)(x), model(x))
    named_run = ModelSettings(name=str(tmp_path / "run"), code=settings.name)
    assert torch.equal(build_model(named_run, 3, (3, 8, 8))(x), model(x))
    assert json.loads(architecture_of(named_run, 3, (3, 8, 8)))["name"] == settings.name
    for path, found in (("none", "nothing"), (".", "no checkpoint.json")):
        with pytest.raises(
            InputError, match=f"expected a checkpoint or the folder of a run at .*, found {found} there"
        ):
            load_model(tmp_path / path)


def test_weights_of_another_network_are_refused(tmp_path: Path, code: str) -> None:
    """A checkpoint whose text names one network and whose tensors are another's."""
    settings = ModelSettings(name=f"{code}:small")
    text = architecture_of(settings, 3, (3, 8, 8))
    save_checkpoint(tmp_path / "run", nn.Linear(2, 2), architecture=text)
    with pytest.raises(TrainingError, match="tensors differ"):
        load_model(tmp_path / "run", code=settings.name)


def test_downloads_are_not_named_in_a_checkpoint() -> None:
    """What weights a run began with is of no use to build the network again: nothing is fetched for that."""
    told: dict[str, Any] = json.loads(architecture_of(ModelSettings(name="torchvision:resnet18@DEFAULT"), 3, (3, 8, 8)))
    assert told["name"] == "torchvision:resnet18@random"
