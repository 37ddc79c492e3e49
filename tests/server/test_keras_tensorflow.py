"""Keras models trained by TensorFlow itself: parity with torch, resumption, files, and what is refused.

TensorFlow may be in another Python, which `ACCLIMATE_KERAS_PYTHON` names.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import torch
from PIL import Image

from acclimate.server.config.read import PretrainConfig, read_config
from acclimate.server.keras.process import PYTHON, keras_python
from acclimate.server.pretrain import pretrain
from acclimate.server.training.logs import read_log

from . import keras_runs, small_runs

pytestmark = [pytest.mark.needs_torch, pytest.mark.slow, keras_runs.needs_tensorflow]

NET = """
import numpy as np
import keras

def plain():
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(3)]
    )
    given = np.load({weights!r})
    model.set_weights([given["0.weight"].T, given["0.bias"], given["2.weight"].T, given["2.bias"]])
    return model

def drawing():
    return keras.Sequential([
        keras.Input((6,)), keras.layers.Dense(16), keras.layers.BatchNormalization(), keras.layers.ReLU(),
        keras.layers.Dropout(0.2), keras.layers.Dense(3, activation="softmax"),
    ])

def photos():
    return keras.Sequential([
        keras.Input((32, 32, 3)), keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
        keras.layers.Conv2D(16, 3, activation="relu"), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5),
    ])
"""


@pytest.fixture
def nets(tmp_path: Path) -> str:
    """Return a file with functions that build Keras models, `plain` with the weights of torch's."""
    state = small_runs.make_net(plain=True).state_dict()
    np.savez(tmp_path / "plain.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    file = tmp_path / "nets.py"
    file.write_text(NET.format(weights=str(tmp_path / "plain.npz")))
    return str(file)


@pytest.mark.parametrize("blended", [False, True])
def test_steps_are_those_of_torch(tmp_path: Path, nets: str, blended: bool) -> None:
    """From the same weights: losses, gradient lengths, scores of the averaged weights, to float32's rounding.

    Rates, decay of matrices alone, smoothing, shortened gradients, order and blends are then the same.
    """
    options: dict[str, Any] = {"weight_decay": 0.3, "gradient_norm": 0.2, "ema": 0.8, "label_smoothing": 0.1}
    if blended:
        options |= {"mixup": 0.4, "schedule": "cosine", "warmup": 0.2, "balanced": True, "monitor": "loss"}
    config = keras_runs.keras_config(f"keras:{nets}:plain", **options)
    data = small_runs.make_data(vary=0.1)
    found = keras_runs.run_keras(tmp_path / "keras", config, data=data)
    wanted = small_runs.run_small(tmp_path / "torch", config, net=small_runs.make_net(plain=True), data=data)
    for kind, names in (("step", ("loss", "gradient_norm", "learning_rate")), ("epoch", ("loss", "score"))):
        for name in names:
            lines = [[r[name] for r in read_log(tmp_path / n) if r["kind"] == kind] for n in ("keras", "torch")]
            np.testing.assert_allclose(lines[0], lines[1], rtol=2e-4, err_msg=name)
    assert found.metrics[0].loss == pytest.approx(wanted.metrics[0].loss, rel=2e-4)
    assert found.metrics[0].recall == wanted.metrics[0].recall
    x = torch.randn(5, 6)
    with torch.no_grad():
        torch.testing.assert_close(found.model(x), wanted.model(x), rtol=1e-3, atol=1e-3)


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(tmp_path: Path, nets: str) -> None:
    """Bit for bit, on a processor: weights, moving statistics, the optimiser, the average, what dropout draws next."""
    config = keras_runs.keras_config(f"keras:{nets}:drawing", ema=0.9, mixup=0.4, run={"checkpoint_every": 4})
    data = small_runs.make_data(vary=0.2)

    def stop(done: int, total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    keras_runs.run_keras(tmp_path / "whole", config, data=data)
    # Nobody asks the process to end: it is killed.
    with pytest.raises(KeyboardInterrupt):
        keras_runs.run_keras(tmp_path / "cut", config, data=data, progress=stop)
    keras_runs.run_keras(tmp_path / "cut", config, data=data, resume=True)
    found, wanted = (keras_runs.tensors_of(tmp_path / name, 18) for name in ("cut", "whole"))
    assert found.keys() == wanted.keys()
    assert {name.partition("/")[0] for name in found} == {"module", "optimizer", "average"}
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


def test_from_a_folder_of_images_to_a_bundle(tmp_path: Path, nets: str) -> None:
    """A convolutional network learns two colours from files, and what the run leaves is converted."""
    config = _photos(tmp_path, f"keras:{nets}:photos")
    run = pretrain(config, out=tmp_path / "run", device="cpu")
    assert run.metrics[0].samples == 8
    assert run.metrics[0].accuracy == 1
    record = json.loads((tmp_path / "run" / "model" / "checkpoint.json").read_text())
    assert record["notes"]["shape"] == [3, 32, 32]
    assert record["notes"]["classes"] == ["blue", "red"]
    file = tmp_path / "run" / "model" / "model.keras"
    code = (
        "import numpy as np\n"
        "from acclimate.converters import convert_keras\n"
        "frames = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)\n"
        f"report = convert_keras({str(file)!r}, frames, out={str(tmp_path / 'made.acc')!r}, classes=['blue', 'red'],\n"
        "    mean=0.5, std=0.5, runtimes=('onnx',), quantize=False, taps='last')\n"
        "assert report.classes == ('blue', 'red'), report.classes\n"
    )
    done = subprocess.run([keras_python(), "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "made.acc").is_file()


def _photos(folder: Path, name: str) -> PretrainConfig:
    generator = np.random.default_rng(0)
    for number, colour in enumerate(("red", "blue")):
        (folder / "photos" / colour).mkdir(parents=True)
        for i in range(16):
            pixels = generator.integers(0, 60, (32, 32, 3), np.uint8)
            pixels[..., 2 * number] += 150
            Image.fromarray(pixels).save(folder / "photos" / colour / f"{i}.png")
    settings = folder / "run.toml"
    settings.write_text(
        f"[model]\nname = {name!r}\n[data]\ntrain = {str(folder / 'photos')!r}\nsize = [32, 32]\n"
        "validation_share = 0.25\naugment = ['flip']\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
        "[training]\nepochs = 6\nbatch_size = 8\nlearning_rate = 0.05\n[run]\ntensorboard = false\n"
    )
    return read_config(settings)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what `keras_builds.py` found."""
    folder = tmp_path_factory.mktemp("built")
    script = Path(__file__).with_name("keras_builds.py")
    done = subprocess.run(
        [os.environ.get(PYTHON) or sys.executable, str(script), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def test_heads_are_fitted(built: dict[str, Any]) -> None:
    """Logits of a head with the right classes are those that its softmax had; another number gets a new head.

    An application of `keras.applications` is built for the size and the channels of the data; its BatchNorm follows
    the data as torch's does.
    """
    assert built["heads"]["dense"] < 1e-6
    assert built["heads"]["apart"] < 1e-6
    assert built["heads"]["five"] == [None, 3]
    assert built["heads"]["application"] == [None, 3]
    assert built["heads"]["momentum"] == [0.9]
    assert built["seeds"] == [True, False]


def test_the_average_is_its_definition(built: dict[str, Any]) -> None:
    """Of weights and of moving statistics, by a recursion in numpy; torch was never loaded."""
    assert built["average"] < 1e-6
    assert built["torch"] is False


def test_bfloat16_changes_passes_alone(built: dict[str, Any]) -> None:
    """Weights and logits stay in float32; losses are near, and not the same."""
    half = built["half"]
    assert (half["types"], half["logits"]) == (["float32"], "float32")
    np.testing.assert_allclose(half["losses"]["bfloat16"], half["losses"]["float32"], rtol=0.01)
    assert half["losses"]["bfloat16"] != half["losses"]["float32"]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nothing of that name", "InputError: expected a model of keras.applications, found 'Mobilenet'"),
        ("too small", "Change data.size or data.channels"),
        ("offline", "with weights imagenet, found: no way to the network"),
        ("broken", "ConversionError: broken.keras: expected a .keras file"),
        ("lambda", "CutError: lambda.keras: expected layers that are no code, found the Lambda layer"),
        ("own", "found 'own' of class 'Own' from 'shop>Own'"),
        ("no head", "InputError: expected a Keras model that ends in a Dense layer"),
        ("subclass", "InputError: expected a Sequential or functional Keras model"),
        ("other", "to return a Keras model, found int"),
        ("fails", "found ZeroDivisionError at"),
        ("shape", "InputError: expected samples (7,) (channels last)"),
    ],
)
def test_models_that_cannot_be_trained_are_refused(built: dict[str, Any], what: str, said: str) -> None:
    """With what was expected, what was found and what to do, before the first step."""
    assert said in built["refusals"][what]
