"""Whatever layers a tail has, its TFLite form goes behind a backbone, and the one file gives what the two give."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")
pytest.importorskip("ai_edge_litert", reason="acclimate[convert-tflite] is not installed")

from acclimate.converters.tail_tflite import TfliteTail
from acclimate.converters.training.tflite_emit import emit_tflite
from acclimate.converters.training.tflite_writer import Writer
from acclimate.edge.export.tail_tflite import export_tail_tflite
from acclimate.edge.tail.forward import Forward
from acclimate.map_code import MapCode

from .test_training_tflite import TAILS, compiled, content


def backbone(shape: tuple[int, ...]) -> bytes:
    """Return a backbone whose maps are its input, and whose latents are the same in one line."""
    writer = Writer((1_009, 1_013))
    given = writer.tensor("input", (1_009, *shape))
    maps = writer.copy(given)
    latent = writer.view(maps, (1_009, int(np.prod(shape))))
    return writer.finish({"input": given}, {"latent": latent, "map": maps}, "backbone")


@pytest.mark.parametrize("name", list(TAILS))
def test_one_file_gives_what_backbone_and_tail_give(name: str) -> None:
    """With another number of classes than shipped, for several batches in turn, within 1e-5; maps are clipped."""
    made, _ = compiled(name)
    tail, shape = content(made, TfliteTail(emit_tflite(made.forward, "tail"), b"")), made.spec.map
    draw, axis = np.random.default_rng(0), 1 if len(shape) != 2 else 2
    low = draw.uniform(-1, 0, shape[axis - 1]).astype(np.float32)
    code = MapCode(np.full_like(low, 1 / 255), low, shape, axis)
    parameters = {n: np.resize(v, (6, *v.shape[1:])) if n in tail.spec.head else v for n, v in tail.parameters.items()}
    maps = draw.normal(size=(9, *shape)).astype(np.float32)
    logits = Forward(tail, 1).logits(code.clip(maps), parameters)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    tail, classes = replace(tail, code=code), [f"class {i}" for i in range(6)]
    file = export_tail_tflite(backbone(shape), int(np.prod(shape)), tail, parameters, classes)
    model = import_module("ai_edge_litert.interpreter").Interpreter(model_content=file, num_threads=1)
    for n in (9, 1, 4):
        found = model.get_signature_runner()(input=maps[:n])["probabilities"]
        np.testing.assert_allclose(found, expected[:n], atol=1e-5)
