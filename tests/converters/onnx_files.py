"""What the tests of ONNX sources share: small networks, files that are made of nodes, and what these compute."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from acclimate.converters.onnx_source.file import parse_onnx
from acclimate.converters.onnx_source.split import OnnxOriginal, OnnxSplit, split_onnx
from acclimate.converters.original import BATCHES, embed, open_backbone
from acclimate.converters.parity import compare
from acclimate.converters.preprocess import FramePreprocess
from acclimate.converters.quiet import quiet

Float32 = NDArray[np.float32]


class Residual(nn.Module):
    """Two stages with a residual sum each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.a, self.norm = nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.down, self.b = nn.Conv2d(8, 12, 3, 2, 1), nn.Conv2d(12, 12, 3, 1, 1)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.norm(self.a(x)))
        x = torch.relu(self.down(x))
        x = torch.relu(x + self.b(x))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class Tokens(nn.Module):
    """A small transformer with a class token, as its exporter writes it for one batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down, self.fc = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], 1, 16), x], 1)
        q, k, v = self.qkv(self.norm1(x)).chunk(3, 2)
        x = x + self.out(torch.softmax(q @ k.transpose(1, 2) / 4, 2) @ v)
        x = x + self.down(torch.nn.functional.gelu(self.up(self.norm2(x))))
        logits: Tensor = self.fc(x[:, 0])
        return logits


def seeded(make: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = make()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return model.eval()


def exported(model: nn.Module, shape: tuple[int, ...], folder: Path, *, free: bool = True) -> bytes:
    target = folder / "model.onnx"
    axes = {"x": {0: "n"}, "y": {0: "n"}} if free else None
    with quiet():
        torch.onnx.export(
            model,
            (torch.randn(1 if not free else 2, *shape),),
            target,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=axes,
            do_constant_folding=True,
        )
    return target.read_bytes()


def built(
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[Any]],
    shape: tuple[int | str, ...],
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()
    )


def normal(*shape: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def frames(n: int, *shape: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (n, -(-shape[0] // 4), -(-shape[1] // 4), shape[2]))
    return np.kron(coarse, np.ones((1, 4, 4, 1)))[:, : shape[0], : shape[1]].astype(np.uint8)


def ready(content: bytes, samples: NDArray[Any], **options: Any) -> OnnxSplit:
    return split_onnx(parse_onnx(content), samples, **{"keeps_head": True, **options})


def check_parity(found: OnnxSplit, samples: NDArray[Any], bound: float = 1e-3) -> None:
    """The backbone, as a device loads it, gives the file's own activations at batches of 1, 8 and 32."""
    module = found.original.module
    assert isinstance(module, OnnxOriginal)
    embedder = open_backbone(module.content, "onnx", found.original)
    rows = np.arange(max(BATCHES)) % len(samples)
    for batch in BATCHES:
        parity = compare(embed(embedder, samples[rows], batch), found.original.latents[rows], found.original.taps)
        assert parity.whole.error < bound, (batch, str(parity))


def logits(found: OnnxSplit) -> Float32:
    return np.asarray(found.original.latents @ found.split.padded_weight().T + found.split.bias, np.float32)


def reference(content: bytes, x: Float32) -> Float32:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    size = session.get_inputs()[0].shape[0]
    step = size if isinstance(size, int) else len(x)
    found = [session.run(None, {name: x[i : i + step]})[0] for i in range(0, len(x), step)]
    return np.asarray(np.concatenate(found), np.float32)


def prepared(samples: NDArray[np.uint8], size: tuple[int, int], mean: float, std: float) -> Float32:
    module = FramePreprocess(samples.shape[1:], size, 3, [mean], [std])
    return np.asarray(module(torch.from_numpy(samples)).numpy(), np.float32)


def gemm(*, name: str = "fc") -> list[onnx.NodeProto]:
    return [helper.make_node("Gemm", ["x", "w"], ["y"], name=name)]


W = {"w": normal(5, 3)}
