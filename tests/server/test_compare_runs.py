"""Runs side by side: what differs, by how much, and whether it can be compared at all."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import numpy as np

from acclimate.errors import InputError
from acclimate.server.report import render_report
from acclimate.server.run_report.compare_page import comparison_page, recall_table
from acclimate.server.run_report.comparison import compare_runs, difference
from acclimate.server.run_report.folder import TaskScores
from acclimate.server.training.metrics import Metrics

from .pages import read
from .small_runs import make_config, make_data, make_net, run_small

pytestmark = pytest.mark.needs_torch


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on the same samples, on others, of two tasks, and one that was cut off."""
    folder = tmp_path_factory.mktemp("runs")
    run_small(folder / "one", make_config(epochs=2))
    run_small(folder / "slow", make_config(epochs=2, learning_rate=1e-4, ema=0.5))
    run_small(folder / "others", make_config(epochs=2), data=make_data(validation=30))
    both = make_config(epochs=2, objective={"name": "multi-task"})
    run_small(folder / "both", both, net=make_net(outputs=6), data=make_data(tasks=2))

    def stop(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_small(folder / "cut", make_config(epochs=2), progress=stop)
    return folder


def test_settings_and_scores_that_differ_are_told(runs: Path) -> None:
    """Those alone; accuracies are those of the runs, the difference is in points."""
    found = compare_runs([runs / "one", runs / "slow"])
    assert dict(found.settings) == {"training.learning_rate": (0.02, 1e-4), "training.ema": (0.0, 0.5)}
    assert found.samples_told == "The runs were validated on the same samples."
    (task,) = found.tasks
    first, second = (one.metrics.accuracy for one in task.scores if one is not None)
    gap = task.difference(1)
    assert gap is not None
    assert gap.points == pytest.approx(100 * (second - first))
    assert gap.low < gap.points < gap.high
    table = recall_table(found, task)
    recalls = [one.metrics.recall for one in task.scores if one is not None]
    for i, row in enumerate(table.rows):
        before, after = recalls[0][i], recalls[1][i]
        assert before is not None
        assert after is not None
        assert row[:3] == ("abc"[i], before, after)
        assert row[3] == pytest.approx(100 * (after - before))
    assert found.verdicts == ()


def test_the_interval_of_a_difference_covers_it() -> None:
    """Of two runs with the accuracies .8 and .7, 95 of 100 intervals hold the ten points between them."""
    draws = np.random.default_rng(0)

    def scores(share: float) -> TaskScores:
        accuracy = float(draws.binomial(200, share)) / 200
        return TaskScores("t", ("a",), Metrics(200, 0.0, accuracy, 0.0, (None,), 0.0), None)

    gaps = [difference(scores(0.8), scores(0.7)) for _ in range(2_000)]
    assert 0.93 < np.mean([gap.low <= 10 <= gap.high for gap in gaps]) < 0.97


def test_runs_on_other_samples_are_not_comparable(runs: Path) -> None:
    """Another validation part is told, and one of which nothing was noted is not taken for the same."""
    found = compare_runs([runs / "one", runs / "others"])
    assert "not validated on the same samples: their scores are not comparable" in found.samples_told
    assert found.tasks[0].same_samples is False
    record = runs / "one" / "run.json"
    kept = record.read_bytes()
    try:
        record.unlink()
        assert compare_runs([runs / "one", runs / "slow"]).tasks[0].same_samples is None
        plain = json.loads(kept)
        plain["validation"]["labels"] = ["0" * 32]
        record.write_text(json.dumps(plain))
        assert compare_runs([runs / "one", runs / "slow"]).tasks[0].same_samples is False
    finally:
        record.write_bytes(kept)


def test_content_decides_where_it_is_known(runs: Path) -> None:
    """The same names with other content are other samples, and the same content under other names is not."""
    kept = {name: (runs / name / "run.json").read_bytes() for name in ("one", "slow")}

    def note(name: str, content: str, names: str) -> None:
        plain = json.loads(kept[name])
        plain["validation"] |= {"content": content * 32, "names": names * 32}
        (runs / name / "run.json").write_text(json.dumps(plain))

    try:
        note("one", "a", "1")
        for content, names, same in (("a", "2", True), ("b", "1", False)):
            note("slow", content, names)
            assert compare_runs([runs / "one", runs / "slow"]).tasks[0].same_samples is same
    finally:
        for name, before in kept.items():
            (runs / name / "run.json").write_bytes(before)


def test_several_tasks_at_once_are_compared_with_one(runs: Path) -> None:
    """A sentence for the task that both have, by the sign and the interval of the difference."""
    found = compare_runs([runs / "one", runs / "both"])
    assert [sum(one is not None for one in task.scores) for task in found.tasks] == [2, 1]
    assert found.samples_told == "The runs were validated on the same samples."
    (verdict,) = found.verdicts
    single, several = (one.metrics.accuracy for one in found.tasks[0].scores if one is not None)
    assert f"{several:.2%} in both against {single:.2%} in one" in verdict
    better = "multi-task is better on task 0:"
    expected = "multi-task is not better on task 0"
    assert verdict.startswith(better if several > single and "chance" not in verdict else expected)


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ((0.9, 0.9), "multi-task is not better on task 0: "),
        ((0.9, 0.8), "multi-task is not better on task 0: "),
        ((0.90, 0.91), "multi-task is not better on task 0 beyond chance: "),
        ((0.5, 0.9), "multi-task is better on task 0: "),
    ],
)
def test_a_verdict_follows_from_difference_and_interval(
    runs: Path, tmp_path: Path, accuracies: tuple[float, float], said: str
) -> None:
    """Equal or worse, better within chance, and better; unknown samples are told in the same breath."""
    import shutil

    folders = []
    for name, accuracy in zip(("one", "both"), accuracies, strict=True):
        shutil.copytree(runs / name, tmp_path / name)
        path = tmp_path / name / "model" / "checkpoint.json"
        plain = json.loads(path.read_text())
        plain["notes"]["metrics"][0] |= {"accuracy": accuracy, "samples": 200}
        path.write_text(json.dumps(plain))
        folders.append(tmp_path / name)
    (verdict,) = compare_runs(folders).verdicts
    assert verdict.startswith(said)
    (tmp_path / "one" / "run.json").unlink()
    (verdict,) = compare_runs(folders).verdicts
    assert verdict.endswith("Their validation samples are not known to be the same.")


def test_runs_that_were_cut_off_are_compared(runs: Path) -> None:
    """With the best weights so far, and their state."""
    found = compare_runs([runs / "one", runs / "cut"])
    assert [run.ended for run in found.runs] == [True, False]
    assert found.runs[1].best_step == 6
    assert found.tasks[0].scores[1] is not None
    plain = found.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert [run["steps"] for run in plain["runs"]] == [12, 8]


def test_a_comparison_is_a_page(runs: Path) -> None:
    """Of all five runs, every name, state and setting that differs; those of the same name by their path."""
    found = compare_runs([runs / name for name in ("one", "slow", "others", "both", "cut")])
    texts = read(render_report(comparison_page(found))).texts
    for expected in ("Comparison of 5 runs", "one", "cut off", "training.ema", "0.5", "Training loss", "multi-task"):
        assert expected in texts, expected
    assert any(text.startswith("Multi-task is ") for text in texts)
    same = replace(found.runs[0], name="cut")
    assert same.name == found.runs[4].name


def test_folders_that_cannot_be_compared_are_told(runs: Path, tmp_path: Path) -> None:
    """One alone, the same twice, sixteen, and a folder that is no run; equal names are told apart by path."""
    for folders, message in (
        ([runs / "one"], "2 to 15 folders"),
        ([runs / "one"] * 16, "2 to 15 folders"),
        ([runs / "one", runs / "both" / ".." / "one"], "the same folder twice"),
        ([runs / "one", tmp_path], "folder of a run"),
    ):
        with pytest.raises(InputError, match=message):
            compare_runs(folders)
    (tmp_path / "one").symlink_to(runs / "slow")
    found = compare_runs([runs / "one", tmp_path / "one"])
    assert len(set(found.names)) == 2
