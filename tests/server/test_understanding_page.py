"""Explanations and their page: what it shows, and what it would load."""

import base64
import io
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("captum", reason="acclimate[explain] is not installed")
pytest.importorskip("matplotlib", reason="acclimate[server] is not installed")

import torch
from torch import nn

from acclimate.edge import Learner
from acclimate.errors import InputError
from acclimate.server.plots import draw
from acclimate.server.report import render_report
from acclimate.server.understanding.explain import explain_learner, explain_model
from acclimate.server.understanding.explain_page import explanation_page
from acclimate.server.understanding.pictures import HeatPlot, overlaid

from .pages import read

pytestmark = pytest.mark.needs_torch


def shown(html: str) -> list[Any]:
    """Return the pixels of the pictures of a page."""
    image = pytest.importorskip("PIL.Image")
    found = re.findall(r'href="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def test_the_overlay_is_red_for_and_blue_against() -> None:
    """The strongest place has the most colour, a place that says nothing stays grey, and the frame shows through."""
    frame = np.full((2, 2, 1), 128, np.uint8)
    pixels = overlaid(frame, np.array([[1.0, -0.5], [0.0, 0.1]]))
    assert pixels[0, 0, 0] > pixels[0, 0, 2] + 0.3
    assert pixels[0, 1, 2] > pixels[0, 1, 0] + 0.2
    np.testing.assert_allclose(pixels[1, 0], 128 / 255)
    np.testing.assert_allclose(overlaid(frame, None), 128 / 255)
    # A frame that is one value, of floats, and heat that is 0 throughout divide by nothing.
    assert np.isfinite(overlaid(np.zeros((2, 2), np.float32), np.zeros((2, 2)))).all()


def test_a_bundles_page_holds_its_frames_and_loads_nothing(tiny_bundle: Path, scenes: ModuleType) -> None:
    """Pictures are inside the page, pixel for pixel, and every link leads into it."""
    pytest.importorskip("onnxruntime")
    x, y = scenes.frames(3, 4)
    with Learner.open(tiny_bundle, runtime="onnx", threads=1) as learner:
        found = explain_learner(learner, x, names=["one", "two", "three"], truth=y.tolist())
    assert found.method == "cam"
    assert np.abs(found.gap).max() < 1e-4
    html = render_report(explanation_page(found, "tiny.acc"))
    page = read(html)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert not page.tags & {"script", "img", "iframe", "link"}
    assert "img-src data:" in html
    pictures = shown(html)
    assert len(pictures) == 6
    # SVG of matplotlib holds pictures from the bottom up.
    for i in range(3):
        grey = pictures[2 * i][..., 0]
        frame = x[i, ..., 0]
        assert np.array_equal(grey, frame) or np.array_equal(grey[::-1], frame)
    assert "completeness" in html


def test_where_there_are_no_maps_occlusion_stands_in(tiny_bundle: Path, scenes: ModuleType) -> None:
    """By default; asked for by name, class-activation maps are refused."""
    pytest.importorskip("ai_edge_litert")
    x, _ = scenes.frames(2, 4)
    with Learner.open(tiny_bundle, runtime="tflite", threads=1) as learner:
        found = explain_learner(learner, x)
        assert found.method == "occlusion"
        assert "LiteRT" in found.remarks[0]
        assert found.unit == "log-odds"
        with pytest.raises(InputError, match="LiteRT"):
            explain_learner(learner, x, method="cam")
        with pytest.raises(InputError, match="no gradients"):
            explain_learner(learner, x, method="grad-cam")


def net(sides: int) -> nn.Sequential:
    torch.manual_seed(0)
    convolution = nn.Conv2d if sides == 2 else nn.Conv1d
    pool = nn.AdaptiveAvgPool2d if sides == 2 else nn.AdaptiveAvgPool1d
    return nn.Sequential(convolution(2, 4, 3, padding=1), nn.ReLU(), pool(1), nn.Flatten(), nn.Linear(4, 3)).eval()


class Last(nn.Module):
    """Takes channels last."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.inner(x.movedim(-1, 1))
        return found


@pytest.mark.parametrize("method", ["integrated-gradients", "grad-cam", "occlusion"])
@pytest.mark.parametrize("shape", [(6, 5, 2), (12, 2)])
def test_every_method_explains_frames_and_series(method: Any, shape: tuple[int, ...]) -> None:
    """The heat has the sides of a frame, the classes their names, and the page is drawn."""
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    found = explain_model(Last(net(len(shape) - 1)), x, ("a", "b", "c"), method=method)
    assert found.heat.shape == (3, *shape[:-1])
    with torch.no_grad():
        logits = Last(net(len(shape) - 1))(torch.from_numpy(x)).numpy()
    assert found.predicted == tuple("abc"[i] for i in logits.argmax(axis=1))
    np.testing.assert_allclose(found.score, logits.max(axis=1), atol=1e-5)
    html = render_report(explanation_page(found, "net"))
    read(html)
    assert "speaks for the class" in html
    assert len(found.to_dict()["frames"]) == 3


def test_rows_of_a_table_are_explained_input_by_input() -> None:
    """They have no picture: a table tells the inputs that count."""
    torch.manual_seed(1)
    model = nn.Linear(4, 2).eval()
    with torch.no_grad():
        model.weight[:] = torch.tensor([[5.0, 0.1, 0.0, 0.0], [-5.0, 0.0, 0.0, 0.1]])
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    found = explain_model(model, x, ())
    assert found.method == "integrated-gradients"
    assert np.abs(found.heat).mean(axis=0).argmax() == 0
    assert "What each input counts for" in render_report(explanation_page(found, "net"))


def test_what_cannot_be_drawn_is_refused() -> None:
    """Heat that is not finite, or for another number of frames."""
    frames = np.zeros((2, 4, 4, 1), np.uint8)
    for heat in (np.full((2, 4, 4), np.nan), np.zeros((1, 4, 4)), np.zeros((2, 4))[:, :, None, None]):
        with pytest.raises(InputError, match="expected"):
            draw(HeatPlot("t", frames, heat, ("a", "b")), prefix="p-")
