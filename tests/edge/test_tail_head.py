"""What a version with a tail stores is read back to the bit or not at all, and a tail's models are not trusted."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from acclimate.bundle import LinearLayer
from acclimate.edge.head import LinearHead
from acclimate.edge.session import has_tail
from acclimate.edge.tail.forward import Forward
from acclimate.edge.tail.head import GRAPH, TailHead, graph_of, held_out
from acclimate.edge.tail.replay import Replay
from acclimate.edge.tail.rows import shipped_rows, warm_rows, with_rows
from acclimate.edge.tail.stepper import Stepper
from acclimate.errors import BackendError, StoreCorruptError

from ..fixtures.onnx_by_hand import attribute, external_tensor, graph, model, node, value
from .tail_by_hand import SHAPE, SIZE, by_hand, forward_model, step_model

pytest.importorskip("onnxruntime", reason="a tail runs in onnxruntime")
WIDTH, CLASSES = 5, np.array([0, 2, 3])


def head(seed: int = 0) -> TailHead:
    """Return a tail of three classes with random weights."""
    rng = np.random.default_rng(seed)
    layer = LinearLayer(rng.normal(size=(3, WIDTH)).astype(np.float32), rng.normal(size=3).astype(np.float32))
    linear = LinearHead(layer, CLASSES, np.arange(1, 5), np.array([0, 3, -1, 2]))
    parameters = {
        "fc.weight": rng.normal(size=(3, SIZE)).astype(np.float32),
        "fc.bias": rng.normal(size=3).astype(np.float32),
    }
    return TailHead(linear, parameters, ("fc.weight", "fc.bias"), graph_of(by_hand()))


@pytest.mark.parametrize("half", [False, True])
def test_a_tail_is_read_as_it_was_written(half: bool) -> None:
    """Parameters, classes and predictions come back; as float16 rounded, else to the bit."""
    first = head()
    content = first.to_bytes(half=half)
    again = TailHead.from_bytes(content, WIDTH, "here", by_hand())
    for name, values in first.parameters.items():
        assert again.parameters[name].dtype == np.float32
        expected = values.astype(np.float16).astype(np.float32) if half else values
        assert np.array_equal(again.parameters[name], expected)
    assert again.linear.to_bytes() == first.linear.to_bytes()
    assert again.rows == first.rows
    assert has_tail(content)
    assert not has_tail(first.linear.to_bytes())


def changed(content: bytes, **arrays: Any) -> bytes:
    """Return the bytes of a version with other arrays; None takes one away."""
    found = {**load(content), **arrays}
    return bytes(save({name: array for name, array in found.items() if array is not None}))


@pytest.mark.parametrize(
    "arrays",
    [
        {"tail.f4.fc.weight": None},
        {"tail.f4.fc.bias": np.zeros(4, np.float32)},
        {"tail.f4.fc.bias": np.zeros(3, np.float64)},
        {"tail.f4.fc.bias": np.full(3, np.nan, np.float32)},
        {"tail.f4.more": np.zeros(3, np.float32)},
        {"tail.f2.fc.bias": np.zeros(3, np.float16)},
        {GRAPH: None},
        {GRAPH: np.zeros(32, np.uint8)},
        {"classes": np.arange(4)},
        {"weight": None},
    ],
)
def test_what_was_altered_is_not_read(arrays: dict[str, Any]) -> None:
    """A missing, foreign, misshapen or NaN array, or the parameters of another tail, are refused with advice."""
    with pytest.raises(StoreCorruptError, match=r"Restore the store|Open the bundle"):
        TailHead.from_bytes(changed(head().to_bytes(), **arrays), WIDTH, "here", by_hand())


def test_what_was_cut_off_is_not_read() -> None:
    """Any part of the bytes is refused."""
    content = head().to_bytes()
    for size in (0, 7, 40, len(content) // 2, len(content) - 1):
        with pytest.raises(StoreCorruptError, match="here"):
            TailHead.from_bytes(content[:size], WIDTH, "here", by_hand())


def test_classes_that_were_merged_or_removed() -> None:
    """Merged classes add their probabilities, a removed one takes its row along; the logits of the others stay."""
    first, maps = head(), np.random.default_rng(1).normal(size=(6, *SHAPE)).astype(np.float32)
    forward = Forward(by_hand(), 1)
    whole = first.merged(forward.logits(maps, first.parameters))
    assert first.present({0: 0, 2: 2, 3: 3}) is first
    merged = first.present({0: 0, 2: 0, 3: 3})
    assert np.allclose(
        merged.merged(forward.logits(maps, merged.parameters)), np.stack([whole[:, 0] + whole[:, 1], whole[:, 2]], 1)
    )
    assert merged.linear.predicted.tolist() == [0, 3, -1, 0]
    removed = first.present({0: 0, 3: 3})
    left = whole[:, [0, 2]] / whole[:, [0, 2]].sum(axis=1, keepdims=True)
    assert np.allclose(removed.merged(forward.logits(maps, removed.parameters)), left, atol=1e-6)


def test_held_out_predictions_are_those_without_the_sample() -> None:
    """Of samples that were trained on, what was predicted without them; of others, what is predicted now."""
    found = held_out(head(), np.array([4, 9, 1]), np.array([7, 8, 9]))
    assert found.tolist() == [2, 8, 0]


def test_rows_of_classes_that_were_shipped_merged_and_removed() -> None:
    """A merged class begins with the mean of its rows, a new one without; parameters but the head's stay as shipped."""
    content = by_hand(4)
    rows, fisher = shipped_rows(content, np.array([0, -1, 5, 5]), np.array([0, 5, 8]))
    weight = content.parameters["fc.weight"]
    assert np.allclose(rows.weight, [weight[0], weight[2:].mean(axis=0), np.zeros(SIZE)])
    assert rows.bias[1] == pytest.approx(float(content.parameters["fc.bias"][2:].mean() + np.log(2)), rel=1e-5)
    assert rows.bias[2] < -1e8
    assert fisher == {}
    assert with_rows(content, content.parameters, rows)["fc.bias"][2] == 0
    _, scaled = shipped_rows(by_hand(4, penalty="ewc"), np.array([0, -1, 5, 5]), np.array([0, 5, 8]))
    assert all(np.allclose(values, 1) for values in scaled.values())
    assert scaled["fc.weight"].shape == (3, SIZE)


def test_first_rows_tell_the_classes_and_stay_near_the_shipped_ones() -> None:
    """Rows fitted on what the head takes in tell new classes; shipped rows that are right already hardly move."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 6)) * 3
    y = np.arange(150) % 3
    x = (centres[y] + rng.normal(size=(150, 6))).astype(np.float32)
    new = LinearLayer(np.zeros((3, 6), np.float32), np.full(3, -1e9, np.float32))
    fitted = warm_rows(x, y, 3, new, None)
    assert ((x @ fitted.weight.T + fitted.bias).argmax(axis=1) == y).mean() > 0.95
    again = warm_rows(x, y, 3, fitted, None)
    moved = np.abs(again.weight - fitted.weight).max()
    assert moved < 0.5 * np.abs(fitted.weight).max()


def test_a_class_whose_draws_go_to_another_is_lost() -> None:
    """Less than half of what the shipped rows told is lost; as much is not."""
    x = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    before, replay = LinearLayer(x[::4], np.zeros(3, np.float32)), Replay(x, np.repeat([0, 5, 8], 4))
    assert replay.lost(np.array([0, 5, 8]), before, before).tolist() == []
    after = LinearLayer(before.weight, np.array([2, 0, 0], np.float32))
    assert replay.lost(np.array([0, 5, 8]), before, after).tolist() == [5, 8]


def infinite() -> bytes:
    return forward_model(divide=0.0)


def outside() -> bytes:
    flat = external_tensor("flat_shape", [2], "/etc/passwd")
    return model(graph([node("Identity", ["map"], ["logits"])], [], [value("logits", ["n", "k"])], flat))


def other_names() -> bytes:
    return model(graph([node("Identity", ["map"], ["z"])], [value("map", ["n", *SHAPE])], [value("z", ["n", *SHAPE])]))


def too_many() -> bytes:
    return forward_model().replace(b"parameter/fc.bias", b"parameter/fc.BIAS")


def misshapen() -> bytes:
    axis = attribute("axis", 3, 1, 2)
    nodes = [node("Concat", ["parameter/fc.weight", "parameter/fc.weight"], ["logits"], axis)]
    inputs = [value("map", ["n", *SHAPE]), value("parameter/fc.weight", ["k", SIZE]), value("parameter/fc.bias", ["k"])]
    return model(graph(nodes, inputs, [value("logits", ["k", "m"])]))


@pytest.mark.parametrize("forged", [infinite, outside, other_names, too_many, misshapen, bytes])
def test_a_forged_forward_pass_is_refused(forged: Any) -> None:
    """What is no tail, reaches outside of itself, takes something else, or gives NaN or a wrong shape, is an error."""
    content = replace(by_hand(), forward=forged())
    with pytest.raises(BackendError):
        Forward(content, 1).logits(np.ones((2, *SHAPE), np.float32), content.parameters)


def test_a_forged_step_is_refused() -> None:
    """A step that is another model, or whose outputs have other shapes than it must have, is an error."""
    content = by_hand()
    with pytest.raises(BackendError, match="training step"):
        Stepper(replace(content, step=content.forward), 2, 4, 1)
    stepper = Stepper(replace(content, step=step_model(content.spec, axis=1)), 2, 4, 1)
    stepper.begin(content.parameters)
    with pytest.raises(BackendError, match="failed"):
        stepper.step(0.1, 0.1)
