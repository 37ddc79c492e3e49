"""What a source gives: the latents and probabilities of the bundle or model itself, for the frames that were given."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from numpy.typing import NDArray
from torch import nn

from acclimate.bundle import Bundle
from acclimate.converters.sources.load import load_source
from acclimate.edge import Learner
from acclimate.errors import AcclimateError, BundleError, InputError
from acclimate.server.choice import rank_sources
from acclimate.server.choice.source import Look, open_source
from acclimate.server.config.read import config_of
from acclimate.server.pretrain import pretrain

pytestmark = pytest.mark.needs_torch

NETS = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU())
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

def number():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 1))
"""


@pytest.fixture
def drawn(scenes: ModuleType) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Return 60 frames and their classes."""
    frames, labels = scenes.frames(60, 3, 1.0)
    return frames, labels


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with functions that build networks."""
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path / "nets.py"


def close(found: "NDArray[Any] | None", expected: "NDArray[Any] | None", within: float) -> None:
    """Check that two arrays are there and differ by no more than a bound."""
    assert found is not None
    assert expected is not None
    np.testing.assert_allclose(found, expected, atol=within)


def look(source: Any, frames: NDArray[Any], **options: Any) -> Look:
    """Open a source and look at frames."""
    return open_source(source, **options).look(frames, lambda done: None)


def built(file: Path) -> nn.Sequential:
    """Return the network of the file."""
    net = load_source(f"{file}:net").model
    assert isinstance(net, nn.Sequential)
    return net


def test_a_bundle_gives_what_a_learner_sees(tiny_bundle: Path, drawn: Any) -> None:
    """Its probabilities, its latents within the range of the codes, its accuracy as shipped; batches change nothing."""
    frames, labels = drawn
    found = look(tiny_bundle, frames)
    with Learner.open(tiny_bundle) as learner:
        told = learner.predict(frames)
        close(found.probabilities, told.probabilities, 1e-6)
        assert found.classes == told.classes
        assert rank_sources([tiny_bundle], frames, labels).best.as_shipped == learner.score(frames, labels)
    with Bundle(tiny_bundle) as bundle:
        code = bundle.code("onnx")
    np.testing.assert_array_equal(found.latents, code.clip(found.latents))
    np.testing.assert_allclose(look(tiny_bundle, frames[5:8]).latents, found.latents[5:8], atol=1e-5)


def test_a_model_by_name_gives_its_own_latents_and_probabilities(file: Path, drawn: Any) -> None:
    """Those of the module behind its preprocessing; the last tap alone is the input of its head."""
    frames, _ = drawn
    net, x = built(file), torch.from_numpy(drawn[0]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected, latents = net(x).softmax(1).numpy(), net[:-1](x).numpy()
    for source in (f"{file}:net", net):
        found = look(source, frames, taps="last")
        close(found.probabilities, expected, 1e-5)
        np.testing.assert_allclose(found.latents, latents, atol=1e-5)
    every = look(net, frames)
    assert every.latents.shape[1] > 8
    np.testing.assert_allclose(every.latents[:, -8:], latents, atol=1e-5)


# The exporter that says so is quicker than its successor, and what it writes is the same here.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_onnx_file_gives_what_the_module_gave(file: Path, drawn: Any, tmp_path: Path) -> None:
    """Latents of the last tap and probabilities, to 1e-4."""
    net, target = built(file), tmp_path / "net.onnx"
    torch.onnx.export(
        net,
        (torch.zeros(2, 1, 8, 8),),
        target,
        dynamo=False,
        input_names=["x"],
        dynamic_axes={"x": {0: "n"}},
    )
    expected, found = look(net, drawn[0], taps="last"), look(target, drawn[0], taps="last")
    np.testing.assert_allclose(found.latents, expected.latents, atol=1e-4)
    close(found.probabilities, expected.probabilities, 1e-4)


def test_a_model_of_one_output_has_no_head_that_tells_classes(file: Path, drawn: Any) -> None:
    """Its latents are ranked all the same."""
    found = look(f"{file}:number", drawn[0])
    assert (found.probabilities, found.latents.shape[0]) == (None, 60)


def test_a_checkpoint_is_prepared_as_it_was_trained(file: Path, drawn: Any, tmp_path: Path) -> None:
    """A run of `pretrain`: its mean and deviation, its names of classes, and its head; its code has to be named."""
    frames, labels = drawn
    np.savez(tmp_path / "data.npz", x=frames, y=labels)
    config = config_of(
        {
            "model": {"name": f"{file}:net"},
            "data": {"train": str(tmp_path / "data.npz"), "mean": [0.4], "std": [0.2]},
            "training": {"epochs": 1, "batch_size": 20},
            "run": {"tensorboard": False},
        }
    )
    run = pretrain(config, out=tmp_path / "run", device="cpu")
    found = look(tmp_path / "run", frames, code=f"{file}:net")
    x = (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255 - 0.4) / 0.2
    with torch.no_grad():
        expected = run.model.eval()(x).softmax(1).numpy()
    close(found.probabilities, expected, 1e-5)
    assert found.classes == tuple(sorted(set(labels)))
    with pytest.raises(AcclimateError, match=r"run: .*If you know that code, name it"):
        rank_sources([tmp_path / "run"], frames, labels)


def test_frames_that_a_source_does_not_take_are_refused_by_its_name(tiny_bundle: Path, file: Path, drawn: Any) -> None:
    """Another size, another type, too few for a model to be split on; no ranking of the others is given."""
    frames, labels = drawn
    with pytest.raises(InputError, match=r"tiny\.acc: expected frames as \(n, 8, 8, 1\) uint8.*found shape"):
        rank_sources([f"{file}:net", tiny_bundle], np.pad(frames, ((0, 0), (0, 1), (0, 0), (0, 0))), labels)
    with pytest.raises(InputError, match=r"tiny\.acc: expected frames as .*found type float32"):
        rank_sources([tiny_bundle], frames.astype(np.float32), labels)
    with pytest.raises(AcclimateError, match=r"nets\.py:net: expected at least 8 calibration samples, found 6"):
        rank_sources([f"{file}:net"], frames[:6], ["a", "b"] * 3)


@pytest.mark.slow
def test_grey_frames_are_given_to_a_bundle_of_colour(drawn: Any, tmp_path: Path) -> None:
    """Each channel gets the grey, and a note says so."""
    from acclimate.converters import convert

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    colour, bundle = drawn[0].repeat(3, axis=3), tmp_path / "colour.acc"
    convert(net.eval(), colour, out=bundle, quantize=False, runtimes=("onnx",))
    expected, found = look(bundle, colour), look(bundle, drawn[0])
    np.testing.assert_array_equal(found.latents, expected.latents)
    assert (expected.notes, len(found.notes)) == ((), 1)


def test_a_file_that_is_no_bundle_is_refused_by_its_name(tmp_path: Path, drawn: Any) -> None:
    """With the error of bundles."""
    (tmp_path / "bad.acc").write_bytes(b"nothing of the kind")
    with pytest.raises(BundleError, match=r"bad\.acc: "):
        rank_sources([tmp_path / "bad.acc"], *drawn)
