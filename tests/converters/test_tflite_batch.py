"""TFLite files of attention: class tokens, positions, masks and windows are free from the example's batch size."""

from importlib.util import find_spec

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="acclimate[convert] is not installed")
if find_spec("litert_torch") is None or find_spec("ai_edge_quantizer") is None:
    pytest.skip("acclimate[convert-tflite] is not installed", allow_module_level=True)

import torch
from torch import Tensor, nn
from torch.nn import functional

from acclimate.converters.original import Original, embed, make_float, open_backbone, run_module
from acclimate.converters.parity import compare
from acclimate.converters.quantization.tflite import quantize_tflite
from acclimate.converters.quantization.tflite_graph import kind, read_model
from acclimate.converters.tflite_concatenation import single_copy
from acclimate.converters.tflite_edit import constant, shape_of
from acclimate.manifest import RUNTIMES, InputSpec, Tap

pytestmark = pytest.mark.needs_torch
WIDTH, HEADS = 8, 2
BROADCAST_TO, PAD, CONCATENATION = 130, 34, 2


class Attention(nn.Module):
    """Self-attention with a residual and layer normalisation in front."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(n, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y: Tensor = x + self.out(mixed.transpose(1, 2).reshape(n, length, WIDTH))
        return y


class Vision(nn.Module):
    """Patches with tokens in front of and behind them, and a mask that is made for every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, WIDTH, 4, 4)
        self.first, self.last = (nn.Parameter(torch.randn(1, 1, WIDTH)) for _ in range(2))
        self.position = nn.Parameter(torch.randn(1, 11, WIDTH))
        self.attention = Attention()

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(n, -1, -1), x, self.last.expand(n, -1, -1)], 1) + self.position
        mask = torch.zeros(1, 1, 11, 1).expand(n, 1, 11, 11)
        mixed: Tensor = self.attention(x, mask)
        return mixed[:, 0]


class Text(nn.Module):
    """Ids as numbers, with types and positions looked up for every sample, and a mask from the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.types, self.places = nn.Embedding(20, WIDTH), nn.Embedding(2, WIDTH), nn.Embedding(6, WIDTH)
        self.attention = Attention()

    def forward(self, x: Tensor) -> Tensor:
        ids = x.round().long()
        n, length = ids.shape
        types = torch.zeros(n, length, dtype=torch.long)
        places = torch.arange(length).expand(n, -1)
        mask = (ids == 0)[:, None, None, :].float() * -1e4
        mixed: Tensor = self.attention(self.words(ids) + self.types(types) + self.places(places), mask)
        return mixed.mean(1)


class Windows(nn.Module):
    """Windows of a map as samples of their own, after a shift."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.attention = nn.Conv2d(2, WIDTH, 1), Attention()

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        x = torch.roll(self.mix(x), (1, 1), (2, 3)).permute(0, 2, 3, 1)
        x = x.view(n, height // 4, 4, width // 4, 4, WIDTH).transpose(2, 3).reshape(-1, 16, WIDTH)
        x = self.attention(x).view(n, height // 4, width // 4, 4, 4, WIDTH).transpose(2, 3)
        mixed: Tensor = x.reshape(n, height, width, WIDTH)
        return mixed.mean((1, 2))


class Repeated(nn.Module):
    """A computed vector that is repeated along the positions, between constants of every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.token = nn.Linear(4, WIDTH), nn.Parameter(torch.randn(1, 2, WIDTH))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        token = self.token.expand(n, -1, -1)
        vector = self.mix(x)[:, None].expand(n, 3, WIDTH)
        x = torch.cat([token, vector, token, vector.tanh(), token], 1)
        y: Tensor = torch.relu(self.out(x)).max(1).values
        return y


class Recurrent(nn.Module):
    """A recurrent layer, whose first state is zeros for every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(3, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.cell(x)[0][:, -1]
        return last


class Backbone(nn.Module):
    """Carries the name by which the quantizer knows what is to be quantized."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y


def frames(n: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(n, 2, 12, 12)).astype(np.float32)


def words(n: int) -> NDArray[np.float32]:
    ids = np.random.default_rng(0).integers(1, 20, (n, 6))
    ids[::2, 4:] = 0
    return ids.astype(np.float32)


def original(build: type[nn.Module], samples: NDArray[np.float32]) -> Original:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential()
        module.add_module("backbone", Backbone(build()))
        module = module.eval().requires_grad_(False)
    shape = samples.shape[1:]
    spec = InputSpec(shape, "float32", (-99, 99), tuple(f"axis {i}" for i in range(len(shape))))
    return Original(module, spec, (Tap("cut", 0, WIDTH),), samples, run_module(module, samples))


CASES = {
    "vision": (Vision, frames(24)),
    "text": (Text, words(24)),
    "windows": (Windows, frames(24)),
    "repeated": (Repeated, frames(24)[:, 0, 0, :4].copy()),
    "recurrent": (Recurrent, frames(24)[:, 0, :5, :3].copy()),
}


@pytest.fixture(scope="module", params=CASES)
def made(request: pytest.FixtureRequest) -> tuple[Original, bytes]:
    subject = original(*CASES[request.param])
    return subject, make_float("tflite", subject)[0]


def test_both_runtimes_give_torch_latents_for_any_batch(made: tuple[Original, bytes]) -> None:
    """Batches of 1, 3 and 8 with one interpreter each, against torch and against each other."""
    subject, tflite = made
    contents = dict(zip(RUNTIMES, (make_float("onnx", subject)[0], tflite), strict=True))
    for batch in (3, 1, 8):
        found = {name: embed(open_backbone(contents[name], name, subject), subject.samples, batch) for name in RUNTIMES}
        for latents in found.values():
            assert compare(latents, subject.latents, subject.taps).whole.error < 1e-4
        np.testing.assert_allclose(found["tflite"], found["onnx"], atol=1e-4)


def test_a_file_knows_no_batch_and_no_tensor_in_vain(made: tuple[Original, bytes]) -> None:
    """No constant is repeated, nothing is broadcast to a fixed shape, and every tensor belongs to an operator."""
    model = read_model(made[1])
    graph = model.subgraphs[0]
    known = {int(i) for operator in graph.operators for i in (*operator.inputs, *operator.outputs)}
    assert known - {-1} == set(range(len(graph.tensors)))
    assert BROADCAST_TO not in {kind(model, operator) for operator in graph.operators}
    # 31 is the batch size of the export (`telling_batch`).
    assert all(axis % 31 for tensor in graph.tensors for axis in shape_of(tensor))
    for operator in graph.operators:
        for place in range(len(operator.inputs)):
            values = constant(model, graph, operator, place)
            assert values is None or values.dtype != np.int32 or not (values == 31).any()


def test_eight_bits_take_what_was_freed(made: tuple[Original, bytes]) -> None:
    """The quantizer reads every tensor of the file, and the result takes other batches too."""
    subject, tflite = made
    embedder = open_backbone(quantize_tflite(tflite, subject.samples), "tflite", subject)
    for batch in (3, 8):
        found = embed(embedder, subject.samples, batch)
        # Samples of an untrained network hardly differ, so latents are compared as they are.
        assert np.abs(found - subject.latents).max() < 0.1 * np.abs(subject.latents).max()


def test_tokens_are_put_among_the_patches_without_a_concatenation() -> None:
    """One pad and one sum in its place, which delegates take whatever the batch is."""
    model = read_model(make_float("tflite", original(*CASES["vision"]))[0])
    kinds = [kind(model, operator) for operator in model.subgraphs[0].operators]
    assert kinds.count(PAD) == 1
    assert CONCATENATION not in kinds


def test_a_constant_that_differs_between_samples_is_no_single_copy() -> None:
    """Only what is the same for every sample may be shared."""
    token = np.random.default_rng(0).normal(size=(1, 2, 3)).astype(np.float32)
    repeated = np.repeat(token, 5, axis=0)
    single = single_copy(repeated, 5)
    assert single is not None
    np.testing.assert_array_equal(single, token)
    repeated[3, 1, 2] += 1
    assert single_copy(repeated, 5) is None
    assert single_copy(token, 5) is None
