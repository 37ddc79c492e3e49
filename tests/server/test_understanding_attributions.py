"""Attributions of torch models: closed forms of linear models, and sums that are the logit."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("captum", reason="acclimate[explain] is not installed")

import torch
from torch import nn

from acclimate.errors import InputError, MissingExtraError
from acclimate.server.understanding.attributions import grad_cam, integrated_gradients, last_convolution
from acclimate.server.understanding.raw_model import raw_model

pytestmark = pytest.mark.needs_torch


def pooled(seed: int = 0, classes: int = 4) -> nn.Sequential:
    """Return a small network whose head is linear on the mean of its last convolution's map."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, classes),
    ).eval()  # fmt: skip


def images(n: int = 5, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=(n, 1, 8, 8)).astype(np.float32)


def test_of_a_linear_model_each_input_has_weight_times_input() -> None:
    """Integrated gradients in closed form: weight times input less baseline, complete at any number of steps."""
    torch.manual_seed(0)
    model = nn.Linear(7, 3).eval()
    x = np.random.default_rng(2).normal(size=(6, 7)).astype(np.float32)
    found = integrated_gradients(model, x, target=[0, 1, 2, 0, 1, 2], baseline=0.5, steps=2)
    weight = model.weight.detach().numpy()[[0, 1, 2, 0, 1, 2]]
    np.testing.assert_allclose(found.values, weight * (x - 0.5), atol=1e-5)
    assert np.abs(found.delta).max() < 1e-5


def test_integrated_gradients_add_up_and_more_steps_add_up_better() -> None:
    """Completeness of a network that is not linear: the gap is reported, and falls as steps grow."""
    model, x = pooled(), images()
    few, many = (integrated_gradients(model, x, steps=steps) for steps in (4, 256))
    assert np.abs(many.delta).max() < 0.02 * np.abs(many.score - many.baseline).max()
    assert np.abs(many.delta).mean() < np.abs(few.delta).mean()
    gap = few.values.reshape(len(x), -1).sum(axis=1) - (few.score - few.baseline)
    np.testing.assert_allclose(few.delta, gap, rtol=1e-12)
    assert np.abs(few.delta).max() > 1e-6


def test_grad_cam_of_a_pooled_linear_head_is_the_class_activation_map() -> None:
    """Its places and the bias are the logit, and each place is the map times the class's weights."""
    model, x = pooled(), images()
    found = grad_cam(model, x)
    assert found.layer == "3"
    head = model[6]
    assert isinstance(head, nn.Linear)
    bias, weight = head.bias.detach().double().numpy(), head.weight.detach().double().numpy()
    np.testing.assert_allclose(found.values.sum(axis=(1, 2)) + bias[found.target], found.score, atol=1e-5)
    with torch.no_grad():
        maps = model[:4](torch.from_numpy(x)).double().numpy()
    wanted = np.einsum("nchw,nc->nhw", maps, weight[found.target]) / maps[0, 0].size
    np.testing.assert_allclose(found.values, wanted, atol=1e-6)
    assert (found.values < 0).any()


def test_the_last_convolution_is_the_last_that_runs_on_a_map() -> None:
    """Neither one on a single place nor one that is listed last and runs first is taken."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(4, 3, 1)
            self.second = nn.Conv2d(2, 4, 3, padding=1)
            self.first = nn.Conv2d(1, 2, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.head(self.second(self.first(x)).mean((2, 3), keepdim=True)).flatten(1)
            return found

    assert last_convolution(Turned().eval(), torch.zeros(1, 1, 8, 8)) == "second"
    with pytest.raises(InputError, match="found none"):
        last_convolution(nn.Linear(3, 2), torch.zeros(1, 3))


def test_raw_frames_get_the_preprocessing_of_training() -> None:
    """What is attributed stands on raw pixels: the logits are those of the normalised frames, grey ones repeated."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2)).eval()
    frames = np.random.default_rng(4).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    raw = raw_model(model, frames, {"mean": (0.5, 0.4, 0.3), "std": 0.25})
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    wanted = model((x.repeat(1, 3, 1, 1) - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / 0.25).detach()
    given = raw(torch.from_numpy(frames.astype(np.float32)))
    np.testing.assert_allclose(given.numpy(), wanted.numpy(), atol=1e-5)
    found = integrated_gradients(raw, frames.astype(np.float32), steps=1)
    assert found.values.shape == frames.shape
    assert np.abs(found.delta).max() < 1e-3


def test_a_model_in_training_is_asked_in_evaluation_mode() -> None:
    """Dropout would make every look another one."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.9), nn.Linear(8, 2)).train()
    x = np.ones((2, 6), np.float32)
    first, again = (integrated_gradients(model, x, steps=3).values for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_progress_counts_inputs() -> None:
    """It ends at all of them."""
    calls: list[tuple[int, int]] = []
    integrated_gradients(pooled(), images(5), steps=40, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (5, 5)
    assert len(calls) == 5


@pytest.mark.parametrize(
    "options", [{"target": 4}, {"target": [0]}, {"steps": 0}, {"baseline": np.zeros(3)}, {"target": -1}]
)
def test_what_does_not_fit_is_refused(options: Any) -> None:
    """Targets, steps and baselines that cannot be are errors that say so."""
    with pytest.raises(InputError, match="expected"):
        integrated_gradients(pooled(), images(2), **options)


def test_inputs_and_layers_that_cannot_be_are_refused() -> None:
    """NaN, token ids, layers that are none or have no places, and models that take something else."""
    with pytest.raises(InputError, match="finite inputs"):
        grad_cam(pooled(), np.full((1, 1, 8, 8), np.nan, np.float32))
    with pytest.raises(InputError, match="layer 'nine'"):
        grad_cam(pooled(), images(1), layer="nine")
    with pytest.raises(InputError, match="output has places"):
        grad_cam(pooled(), images(1), layer="6")
    with pytest.raises(InputError, match="occlusion"):
        raw_model(nn.Embedding(5, 2), np.zeros((1, 4), np.int32), {})
    with pytest.raises(InputError, match="to take samples"):
        raw_model(nn.Linear(3, 2), np.zeros((1, 4), np.float32), {})


def test_without_captum_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    import acclimate.extras

    monkeypatch.setattr(acclimate.extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"acclimate\[explain\]"):
        integrated_gradients(pooled(), images(1))
