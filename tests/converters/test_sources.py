"""A text names a model: what each kind of source gives, and what is refused."""

import json
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import safetensors.torch
import torch
from torch import nn

from acclimate.converters.sources.load import Known, ModelSource, load_source
from acclimate.converters.sources.text import TextClassifier
from acclimate.converters.sources.weights import load_weights, read_weights
from acclimate.converters.sources.zoo import unique_names
from acclimate.converters.splitting.split import split
from acclimate.errors import CutError, InputError

pytestmark = pytest.mark.needs_torch

IMAGENET = (0.485, 0.456, 0.406)
FRAMES = np.zeros((8, 32, 40, 3), np.uint8)


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


def small(classes: int | None) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 10 if classes is None else classes))


@needs("torchvision")
def test_torchvision_knows_its_input() -> None:
    """Size, mean and std come from the weights that the package names, and random weights do not depend on the run."""
    first, again = (load_source("torchvision:squeezenet1_1@random") for _ in range(2))
    assert first.known.size == (224, 224)
    assert first.known.mean == IMAGENET
    assert first.known.classes is None
    assert "middle 224" in first.known.notes[0]
    assert isinstance(first.model, nn.Module)
    assert isinstance(again.model, nn.Module)
    assert not first.model.training
    for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@needs("timm")
def test_timm_knows_its_input() -> None:
    """The configuration that the package keeps for a name gives size, mean, std and how its frames were resized."""
    found = load_source("timm:tf_efficientnet_lite0@random")
    assert found.known.size == (224, 224)
    assert found.known.mean == (0.5, 0.5, 0.5)
    assert "bicubic" in found.known.notes[0]


@needs("torchvision")
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file_bring_their_number_of_classes(tmp_path: Path, suffix: str) -> None:
    """A head of 7 rows in the file makes a model of 7 outputs; every tensor is the file's."""
    import torchvision

    with torch.random.fork_rng(devices=[]):
        own = torchvision.models.squeezenet1_1(num_classes=7).eval()
    file = tmp_path / f"own{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in own.state_dict().items()}, "epoch": 3}, file)
    else:
        safetensors.torch.save_file(own.state_dict(), file)
    found = load_source("torchvision:squeezenet1_1", weights=file)
    assert isinstance(found.model, nn.Module)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(found.model(x), own(x))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("torchvision:resnet18", "either by name or from a file, found none"),
        ("torchvision:resnet18@NO_SUCH", "found 'NO_SUCH'"),
        ("torchvision:no_such_net@random", "expected a model of torchvision"),
        ("timm:resnet18", "timm:resnet18@random is untrained"),
        ("timm:no_such_net@random", "expected a model of timm"),
        ("timm:resnet18@V1", "expected timm:NAME@DEFAULT"),
        ("model.tflite", "such a file cannot be split by itself"),
        ("weights.pth", "such a file cannot be split by itself"),
        ("nothing.onnx", "expected an ONNX file, found nothing"),
        ("hf-config:nothing.json", "expected a configuration"),
        ("nonsense", r"package\.module:function or file\.py:function, found 'nonsense': neither a file nor a folder"),
        ("x" * 10_000, "neither a file nor a folder there"),
        ("no\0path", "neither a file nor a folder there"),
        (
            "torchvision:nope",
            r"expected a model of torchvision, found 'nope', which there is none of\. torchvision.mod",
        ),
        ("torchvision:resnet81", "found 'resnet81', which there is none of. Close to it: resnet18"),
        ("torchvision:Resnet-50@DEFAULT", "Close to it: .*resnet50"),
        ("timm:nope", "expected a model of timm, found 'nope', which there is none of"),
        ("timm:resnet81", "Close to it: .*resnet18"),
    ],
)
def test_a_source_that_names_nothing_is_refused(source: str, message: str) -> None:
    """Each says what was expected, before anything is loaded."""
    for package in ("torchvision", "timm"):
        if source.startswith(package) and find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    if source.startswith("hf") and find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    with pytest.raises(InputError, match=message):
        load_source(source)


def test_a_mistyped_path_is_told_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is spelt like it beside it; a folder of something else, and a file that lacks its function, too."""
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    (tmp_path / "net.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for source, message in (
        ("runs/digit", "there. Check the path. Close to it: runs/digits."),
        ("run/digits", "neither a file nor a folder there. Check the path."),
        ("runs/digits", "a folder without checkpoint.json.*hf:FOLDER"),
        ("net.py", "name the function as well: file.py:function"),
        ("nte.py", r"Close to it: net\.py"),
    ):
        with pytest.raises(InputError, match=message) as told:
            load_source(source)
        assert f"found '{source}': " in str(told.value)


def test_both_names_and_files_of_weights_are_refused(tmp_path: Path) -> None:
    """It would not be clear which counts; for other kinds of sources a file means nothing."""
    if find_spec("torchvision") is not None:
        with pytest.raises(InputError, match="found both"):
            load_source("torchvision:resnet18@random", weights=tmp_path / "w.pth")
    with pytest.raises(InputError, match="only for torchvision:NAME and timm:NAME"):
        load_source("model.py:build", weights=tmp_path / "w.pth")


@needs("torchvision")
def test_without_a_connection_the_option_for_a_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own error becomes one that says what to do."""
    import torchvision

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.models, "get_model", fail)
    with pytest.raises(InputError, match=r"Name or service not known\. Without a connection, fetch .*--weights FILE"):
        load_source("torchvision:resnet18@DEFAULT")


@needs("torchvision")
def test_weights_by_name_bring_class_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that ImageNet has twice are told apart, since a bundle wants each once."""
    import torchvision

    monkeypatch.setattr(torchvision.models, "get_model", lambda *a, **k: nn.Linear(4, 1000))
    names = load_source("torchvision:resnet18@DEFAULT").known.classes
    assert names is not None
    assert len(names) == len(set(names)) == 1000
    assert names[0] == "tench"


def test_names_that_occur_twice_get_their_place() -> None:
    assert unique_names(["crane", "ox", "crane", " two\n lines "]) == ("crane", "ox", "crane (2)", "two lines")
    assert unique_names([]) is None


class Trap:
    """Runs something as soon as it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("trap.sprung"),))


def test_weights_never_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickled object is refused, in torch's own format and in a bare pickle; what it would do did not happen."""
    monkeypatch.chdir(tmp_path)
    torch.save({"w": Trap()}, tmp_path / "own.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Trap()))
    for name in ("own.pth", "bare.pth"):
        with pytest.raises(InputError, match="never loaded since they can run code"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "trap.sprung").exists()


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    """Missing, unknown and misshapen tensors are named; so are files that are none."""
    state = small(None).state_dict()
    torch.save({**{k: v for k, v in state.items() if k != "0.bias"}, "extra": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"1 missing \['0.bias'\], 1 unknown \['extra'\]"):
        load_weights(small, tmp_path / "a.pth")
    torch.save({**state, "0.weight": torch.ones(5, 9)}, tmp_path / "b.pth")
    with pytest.raises(InputError, match=r"1 of another shape \['0.weight'\]"):
        load_weights(small, tmp_path / "b.pth")
    (tmp_path / "c.pth").write_bytes(b"PK\x03\x04 damaged")
    (tmp_path / "d.safetensors").write_bytes(b"\xff" * 40)
    torch.save(torch.ones(3), tmp_path / "e.pth")
    for name, message in (
        ("c.pth", "damaged file"),
        ("d.safetensors", "expected safetensors"),
        ("e.pth", "found Tensor"),
        ("none.pth", "expected a file of weights"),
    ):
        with pytest.raises(InputError, match=message):
            read_weights(tmp_path / name)


def test_what_is_known_becomes_the_default_and_what_is_said_wins() -> None:
    """Frames of the model's own size are not resized; samples that are no frames take nothing over but class names."""
    source = ModelSource(nn.Identity(), Known((24, 24), (0.5,), (0.25,), ("a", "b")))
    assert source.options(FRAMES) == {"resize": (24, 24), "mean": (0.5,), "std": (0.25,), "classes": ("a", "b")}
    said = source.options(FRAMES, resize=(16, 16), mean=0.1, std=0.2, classes=["x", "y"])
    assert said == {"resize": (16, 16), "mean": 0.1, "std": 0.2, "classes": ["x", "y"]}
    assert source.options(np.zeros((8, 24, 24, 3), np.uint8), keeps_head=False) == {
        "resize": None,
        "mean": (0.5,),
        "std": (0.25,),
        "classes": None,
    }
    assert source.options(np.zeros((8, 6), np.float32))["mean"] == 0.0


BERT = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "max_position_embeddings": 16,
    "num_labels": 3,
    "pad_token_id": 0,
}
VIT = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 8,
    "num_labels": 3,
}


@needs("transformers")
def test_a_text_classifier_takes_token_ids_and_masks_padding(tmp_path: Path) -> None:
    """As float32 and as whole numbers alike; what stands in the padding's place counts, how much padding does not."""
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    found = load_source(f"hf-config:{tmp_path / 'config.json'}")
    assert found.tokens
    assert isinstance(found.model, TextClassifier)
    ids = torch.tensor([[5, 7, 9, 0, 0, 0], [8, 8, 1, 2, 3, 4]])
    with torch.no_grad():
        whole = found.model(ids)
        assert whole.shape == (2, 3)
        torch.testing.assert_close(found.model(ids.float()), whole)
        torch.testing.assert_close(found.model(ids[:1, :4]), whole[:1], rtol=1e-4, atol=1e-5)
        # Ids that no vocabulary has do not read beyond it.
        assert torch.isfinite(found.model(torch.tensor([[-3.0, 1e9, 4.4]]))).all()
    parts = split(found.model, ids.float())
    assert parts.weight.shape == (3, 16)
    with pytest.raises(CutError, match="vocabulary"):
        TextClassifier(nn.Identity(), 2**25, None)


@needs("transformers")
def test_an_image_classifier_of_hugging_face_loads_from_a_folder(tmp_path: Path) -> None:
    """Weights, class names, size and normalisation come from the folder that `save_pretrained` wrote."""
    (tmp_path / "vit.json").write_text(json.dumps(VIT))
    untrained = load_source(f"hf-config:{tmp_path / 'vit.json'}")
    assert untrained.known.size == (16, 16)
    model: Any = untrained.model
    model.config.id2label = {0: "moss", 1: "brick", 2: "gravel"}
    model.save_pretrained(tmp_path / "vit")
    preparing = {
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
        "size": {"height": 16, "width": 16},
    }
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(preparing))
    found = load_source(f"hf:{tmp_path / 'vit'}")
    assert found.known.classes == ("moss", "brick", "gravel")
    assert (found.known.size, found.known.mean, found.known.std) == ((16, 16), (0.5,) * 3, (0.25,) * 3)
    assert isinstance(found.model, nn.Module)
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(found.model(x).logits, model(x).logits)


@needs("transformers")
def test_what_is_no_classifier_of_hugging_face_is_refused(tmp_path: Path) -> None:
    """Damaged configurations, types without a classifier, and folders that are none."""
    for name, content, message in (
        ("damaged.json", "{", "expected a configuration of a classifier"),
        ("untyped.json", "{}", "KeyError"),
        ("sound.json", json.dumps({"model_type": "sam"}), "expected a classifier of images or of texts"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=message):
            load_source(f"hf-config:{tmp_path / name}")
    with pytest.raises(InputError, match="Without a connection, fetch the model's folder elsewhere"):
        load_source(f"hf:{tmp_path / 'nothing'}")


def test_untrained_weights_are_taken_where_they_were_asked_for() -> None:
    """A model with batch norm as it was made passes, since nobody forgot to load anything."""
    from acclimate.converters.splitting.soundness import check_state

    model = load_source("torchvision:mobilenet_v3_small@random").model
    assert isinstance(model, nn.Module)
    check_state(model)
