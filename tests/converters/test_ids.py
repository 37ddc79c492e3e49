"""Models that take ids, such as those of tokens: from int32 samples to a bundle whose device takes the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")
pytest.importorskip("onnxruntime", reason="acclimate[onnx] is not installed")

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acclimate.bundle import Bundle
from acclimate.converters import convert
from acclimate.converters.raw_input import describe_input, synthetic_samples
from acclimate.converters.samples import as_ids, check_calibration
from acclimate.edge import Learner
from acclimate.errors import CalibrationError, InputError
from acclimate.manifest import RUNTIMES

pytestmark = pytest.mark.needs_torch
IDS = np.random.default_rng(0).integers(0, 20, (24, 6)).astype(np.int32)


class Bag(nn.Module):
    """Classifies by the mean of what its 20 ids stand for."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden, self.fc = nn.Embedding(20, 8), nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.relu(self.hidden(self.embedding(ids).mean(1))))
        return logits


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Bag().eval()


def test_a_device_takes_ids_and_answers_as_the_model(model: nn.Module, tmp_path: Path) -> None:
    """The bundle says which ids there are, carries some of them, and refuses others."""
    convert(model, IDS, out=tmp_path / "m.acc", runtimes=("onnx",), quantize=False, classes=("a", "b", "c"))
    with Bundle(tmp_path / "m.acc") as bundle:
        spec, carried = bundle.manifest.input, bundle.conformance("onnx").input
    assert (spec.shape, spec.dtype, spec.range, spec.axes) == ((6,), "int32", (0, 19), ("token",))
    assert carried.dtype == np.int32
    assert len(np.unique(carried)) >= 8
    learner = Learner.open(tmp_path / "m.acc")
    with torch.no_grad():
        expected = model(torch.from_numpy(IDS)).argmax(1).tolist()
    assert list(learner.predict(IDS).labels) == ["abc"[place] for place in expected]
    with pytest.raises(InputError, match=r"expected ids from 0 to 19, found 1 to 20\. Make them with the tokenizer"):
        learner.predict(IDS + 1)
    with pytest.raises(InputError, match=r"\(n, 6\) int32 \(token\), found type int64"):
        learner.predict(IDS.astype(np.int64))


def test_in_8_bits_and_tflite(model: nn.Module, tmp_path: Path) -> None:
    """Both runtimes take the same ids and give the same answers."""
    for package in ("litert_torch", "ai_edge_quantizer"):
        pytest.importorskip(package, reason="acclimate[convert-tflite] is not installed")
    convert(model, IDS, out=tmp_path / "m.acc", quantize=True, classes=("a", "b", "c"))
    with torch.no_grad():
        expected = torch.softmax(model(torch.from_numpy(IDS)), 1).numpy()
    for runtime in RUNTIMES:
        found = Learner.open(tmp_path / "m.acc", runtime=runtime).predict(IDS)
        np.testing.assert_allclose(found.probabilities, expected, atol=0.02)


def test_made_ids_are_all_that_there_are(model: nn.Module) -> None:
    """Both ends of the range occur; a seed fixes them."""
    raw = describe_input(IDS, model)
    made = synthetic_samples(raw, 200)
    assert (made.dtype, made.shape) == (np.dtype(np.int32), (200, 6))
    assert (made.min(), made.max()) == (0, 19)
    np.testing.assert_array_equal(made, synthetic_samples(raw, 200))
    assert raw.preprocess(torch.from_numpy(IDS)).dtype == torch.int64


def test_a_vocabulary_that_a_model_names_is_taken(model: nn.Module) -> None:
    """Position embeddings may stand first."""
    model = nn.Sequential(nn.Embedding(4, 2), model)
    with pytest.raises(CalibrationError, match="calibration data: expected ids from 0 to 3, found 0 to 19"):
        describe_input(IDS, model)
    model.vocabulary = 50  # type: ignore[assignment]
    assert describe_input(IDS, model).spec.range == (0, 49)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (IDS - 1, CalibrationError, "calibration data: expected ids from 0 to 19, found -1 to 18"),
        (IDS.astype(np.int64), CalibrationError, "or ids .n, .... int32, found .24, 6. int64"),
        (IDS[:7], CalibrationError, "at least 8"),
    ],
)
def test_ids_that_do_not_fit_are_refused(model: nn.Module, ids: NDArray[Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        describe_input(ids, model)


def test_what_takes_no_ids_says_so(model: nn.Module) -> None:
    """A model without an embedding, options for numbers, and sources that know of no ids."""
    with pytest.raises(CalibrationError, match="expected a torch model with an embedding"):
        describe_input(IDS, nn.Linear(6, 3))
    with pytest.raises(InputError, match="no mean or std for int32 ids"):
        describe_input(IDS, model, mean=1.0)
    with pytest.raises(CalibrationError, match=r"float32, found \(24, 6\) int32"):
        check_calibration(IDS)


def test_whole_numbers_of_any_type_become_ids() -> None:
    """What int32 cannot hold is refused, and not wrapped around."""
    for kind in (np.int64, np.uint16, np.float32, np.int32):
        found = as_ids(IDS.astype(kind))
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, IDS)
    for wrong in (IDS + 0.5, IDS + 2.0**31, IDS.astype(np.int64) + 2**40, IDS * np.nan, np.array(["a", "b"])):
        with pytest.raises(InputError, match="expected ids of tokens as whole numbers"):
            as_ids(wrong)
