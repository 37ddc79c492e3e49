"""`acclimate cuts`, as a user types it."""

from pathlib import Path

import numpy as np
import pytest

from .conftest import Acclimate

pytest.importorskip("torch", reason="torch, which converting needs, is not installed")

MODEL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.hidden, self.fc = nn.Embedding(50, 6), nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, ids):
        return self.fc(torch.relu(self.hidden(self.words(ids).mean(1))))

def squeeze():
    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def deep(depth, *, width, bias=True):
    return build()

def broken():
    torch.zeros(2).reshape(3)

def lacking():
    import nothing_of_this_name

def leaving():
    raise SystemExit(0)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with models in Python, frames and token ids."""
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "failing.py").write_text("import torch\nx = 1 / 0\n")
    random = np.random.default_rng(0)
    np.save(tmp_path / "frames.npy", random.integers(0, 256, (12, 10, 10, 1), np.uint8))
    np.save(tmp_path / "ids.npy", random.integers(0, 50, (12, 9)))
    return tmp_path


def test_cuts_are_listed_and_one_is_recommended(acclimate: Acclimate, project: Path) -> None:
    """From frames and from a shape alone; the budget decides."""
    found = acclimate("cuts", "model.py:build", "--data", "frames.npy", "--json", "--compute-share", "1")
    assert found.code == 0, found.errors
    cuts = found.json()["cuts"]
    assert [cut["name"] for cut in cuts] == ["3:input", "0.1"]
    assert cuts[1]["map_shape"] == [8, 8, 8]
    assert found.json()["recommended"] == "0.1"
    shown = acclimate("cuts", "model.py:build", "--shape", "1,10,10", "--latent-bytes", "100")
    assert shown.code == 0, shown.errors
    assert "8x8x8" in shown.output
    assert "* 3:input: the head alone: no deeper cut stays within 100 bytes per sample" in shown.output


def test_maxima_count_among_the_bytes(acclimate: Acclimate, project: Path) -> None:
    """The first map's eight beside its means; of the last taps alone there are none."""
    shape = ("--shape", "1,10,10")
    sizes = [
        [cut["latent_bytes"] for cut in acclimate("cuts", "model.py:build", *shape, "--json", *more).json()["cuts"]]
        for more in ((), ("--pooling", "mean-max"))
    ]
    assert [b - a for a, b in zip(*sizes, strict=True)] == [8, 8]
    for more, said in ((("--pooling", "max"), "expected pooling as one of"), (("--taps", "last"), "found --taps last")):
        options = more if "--pooling" in more else (*more, "--pooling", "mean-max")
        refused = acclimate("cuts", "model.py:missing", *shape, *options)
        assert refused.code == 1
        assert said in refused.errors


def test_token_ids_are_taken_as_they_are(acclimate: Acclimate, project: Path) -> None:
    """Whole numbers of 64 bits are no frames."""
    found = acclimate("cuts", "model.py:Words", "--data", "ids.npy", "--json")
    assert found.code == 0, found.errors
    assert [cut["name"] for cut in found.json()["cuts"]] == ["fc:input", "hidden:input"]


def test_the_cuts_of_a_keras_model(here: Acclimate, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a shape alone, with what TensorFlow's process would answer; without TensorFlow the extra is named."""
    from acclimate.converters.keras_source.request import SAMPLES, Answer, Request

    shares = {"parameter_share": 0.2, "compute_share": 0.1, "activation_share": 0.3}
    numbers = {"parameters": 25, "multiply_adds": 20, "activation_bytes": 640, "shared": [], "notes": []}
    head: dict[str, object] = {"name": "fc:input", "blocks": 0, "map_shape": [4], "latent_bytes": 8}
    deeper = {"name": "join", "blocks": 1, "map_shape": [7, 7, 6], "latent_bytes": 302}

    def answer(folder: Path) -> Answer:
        request = Request.read(folder)
        assert (request.application, request.lists_cuts, request.taps) == ("MobileNet", True, "all")
        samples = np.load(folder / SAMPLES)
        assert (samples.shape, samples.dtype) == ((4, 32, 40, 3), np.float32)
        return Answer(cuts=[head | shares | numbers, deeper | shares | numbers])

    options = ("cuts", "keras:MobileNet", "--shape", "32,40,3")
    monkeypatch.setattr("acclimate.extras.find_spec", lambda name: None if name == "tensorflow" else True)
    refused = here(*options)
    assert refused.code == 1
    assert "needs 'tensorflow'" in refused.errors
    assert "acclimate[keras]" in refused.errors
    monkeypatch.setattr("acclimate.extras.find_spec", lambda name: True)
    monkeypatch.setattr("acclimate.converters.keras_source.listing.run_worker", answer)
    found = here(*options, "--json")
    assert found.code == 0, found.errors
    assert [cut["map_shape"] for cut in found.json()["cuts"]] == [[4], [7, 7, 6]]
    assert found.json()["recommended"] == "join"
    shown = here(*options)
    assert "7x7x6" in shown.output
    assert "* join: the deepest cut within" in shown.output
    first = here("cuts", "keras:MobileNet", "--shape", "3,32,40")
    assert first.code == 1
    assert "channels last, found (3, 32, 40)" in " ".join(first.errors.split())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("model.py:build",), 2, "expected one of --data and --shape"),
        (("model.py:build", "--shape", "1,10,10", "--data", "frames.npy"), 2, "expected one of --data and --shape"),
        (("model.py:build", "--shape", "1,ten"), 2, "expected whole numbers with commas between"),
        (("model.py:build", "--shape", "2,10,10"), 1, "to run on a batch (4, 2, 10, 10) float32"),
        (("model.py:squeeze", "--shape", "1,10,10"), 1, "the convolution '0' with a ReLU in between"),
        (("model.py:missing", "--shape", "1,10,10"), 1, "expected a function 'missing'"),
        (("model.py:deep", "--shape", "1,10,10"), 1, "that 'model.py:deep' wants depth, width. Write one that"),
        (
            ("model.py:broken", "--shape", "1,10,10"),
            1,
            "found RuntimeError at PLACE/model.py:25: shape '[3]' is invalid",
        ),
        (("model.py:lacking", "--shape", "1,10,10"), 1, "No module named 'nothing_of_this_name'"),
        (("model.py:leaving", "--shape", "1,10,10"), 1, "found SystemExit at PLACE/model.py:31"),
        (("failing.py:build", "--shape", "1,10,10"), 1, "found ZeroDivisionError at PLACE/failing.py:2: division"),
        (("model.py:build", "--shape", "3,99999,99999"), 2, "expected at most 67,108,864 values a sample"),
        (("model.py:build", "--data", "frames.npy", "--resize", "99999x99999"), 2, "at most 16,777,216 pixels"),
        (("model.py:build", "--shape", "1,10,10", "--compute-share", "0"), 2, "0 is not above 0 and at most 1"),
        (("model.py:build", "--data", "none.npy"), 1, "found nothing at none.npy"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_one_line(
    acclimate: Acclimate, project: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """A refusal names what was expected, and shows no traceback."""
    found = acclimate("cuts", *arguments)
    assert found.code == code
    message = message.replace("PLACE", str(project))
    assert message in " ".join(found.errors.replace("│", " ").split())
    assert "Traceback" not in found.errors
