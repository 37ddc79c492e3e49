"""What stands in front of a Keras model, and what is folded behind its convolutions: numpy and ONNX, no TensorFlow."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.converters.keras_source.preparation import (
    Preparation,
    for_channels,
    frame_preparation,
    resize_matrix,
    sample_preparation,
)
from acclimate.errors import InputError


@pytest.mark.parametrize(("source", "target"), [(7, 3), (20, 16), (16, 20), (5, 40), (9, 1), (1, 4), (33, 32)])
def test_the_resize_is_torchs(source: int, target: int) -> None:
    """Antialiased and bilinear, larger and smaller: the matrix that torch models get."""
    torch = pytest.importorskip("torch", reason="acclimate[convert] is not installed")
    image = torch.eye(source, dtype=torch.float64)[None, None]
    resized = torch.nn.functional.interpolate(
        image, size=(target, source), mode="bilinear", antialias=True, align_corners=False
    )
    np.testing.assert_allclose(resize_matrix(source, target), resized[0, 0].numpy(), atol=2e-6)


def test_constants_come_back_from_the_file(tmp_path: Path) -> None:
    """What the converting process writes is what TensorFlow's reads, None too."""
    written = frame_preparation((8, 9, 1), (4, 9), 0.5, [0.25])
    written.write(tmp_path / "preparation.npz")
    found = Preparation.read(tmp_path / "preparation.npz")
    assert found.columns is found.mix is None
    assert found.rows is not None
    assert written.rows is not None
    np.testing.assert_array_equal(found.rows, written.rows)
    assert found.scale == pytest.approx(1 / (255 * 0.25))
    assert found.shift == pytest.approx(-2)
    assert for_channels(found, (20, 24, 1), 3).copies == 3
    assert frame_preparation((8, 8, 3), None, None, None).scale is None


def test_options_that_do_not_fit_are_refused() -> None:
    """Sizes, channels, deviations of nothing, numbers that are none."""
    with pytest.raises(InputError, match="height and width"):
        frame_preparation((8, 8, 3), (0, 4), None, None)
    with pytest.raises(InputError, match="std above 0"):
        frame_preparation((8, 8, 3), None, 0, [1, 0, 1])
    with pytest.raises(InputError, match="same channels"):
        frame_preparation((8, 8, 3), None, [0, 0], [1, 1, 1])
    with pytest.raises(InputError, match="finite"):
        sample_preparation((4,), np.nan, 1)
    with pytest.raises(InputError, match="broadcast"):
        sample_preparation((4,), [1, 2, 3], 1)
    with pytest.raises(InputError, match=r"of 3 channels, .* found 4 in \(8, 8, 4\)\. Choose such frames"):
        for_channels(frame_preparation((8, 8, 4), None, None, None), (8, 8, 4), 3)
    with pytest.raises(InputError, match=r"found 8 in \(3, 8, 8\)\. These have channels first: frames\.transpose"):
        for_channels(frame_preparation((3, 8, 8), None, None, None), (3, 8, 8), 3)
    with pytest.raises(InputError, match="mean and std for 1 channels"):
        for_channels(frame_preparation((8, 8, 1), None, [0, 0, 0], None), (8, 8, 1), 1)


@pytest.mark.parametrize("shared", [False, True])
def test_factors_are_folded_into_the_convolution(shared: bool) -> None:
    """The same numbers with fewer operators; left alone where the convolution's output is also needed as it is."""
    onnx = pytest.importorskip("onnx", reason="acclimate[keras] is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="acclimate[keras] is not installed")
    from acclimate.converters.keras_source.fold import fold_channels

    random, helper = np.random.default_rng(0), onnx.helper
    arrays = {
        "w": random.normal(size=(4, 1, 3, 3)),
        "mul": random.normal(size=(1, 4, 1, 1)),
        "add": random.normal(size=(4, 1, 1)),
        "half": np.array(0.5),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], group=4),
        helper.make_node("Mul", ["c", "mul"], ["m"]),
        helper.make_node("Add", ["add", "m"], ["a"]),
        helper.make_node("Mul", ["a", "half"], ["h"]),
        helper.make_node("Add", ["h", "c" if shared else "x"], ["y"]),
    ]
    if not shared:
        nodes[-1] = helper.make_node("Relu", ["h"], ["y"])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", 1, ["n", 4, 6, 6])],
        [value("y", 1, ["n", 4, 4, 4])],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = random.normal(size=(2, 4, 6, 6)).astype(np.float32)

    def run() -> NDArray[np.float32]:
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"x": x})[0])

    before = run()
    folded = fold_channels(model.graph)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(), before, rtol=1e-5, atol=1e-5)
    assert folded == (0 if shared else 3)
    assert [node.op_type for node in model.graph.node] == (
        ["Conv", "Mul", "Add", "Mul", "Add"] if shared else ["Conv", "Relu"]
    )
