"""Where transformers are tapped, and how a sequence of tokens becomes one vector: as the model's own head reads it."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import Tensor, nn

from acclimate.converters.original import Original, make_float, run_module
from acclimate.converters.sources.text import TextClassifier
from acclimate.converters.splitting.split import Split, split
from acclimate.converters.splitting.tail import split_tail
from acclimate.errors import InputError
from acclimate.manifest import RUNTIMES, InputSpec

pytestmark = pytest.mark.needs_torch
TOKENS, WIDTH, PADDING = 9, 12, 0


def vit(depth: int = 4, **options: Any) -> nn.Module:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    size = {"img_size": 16, "patch_size": 8, "embed_dim": WIDTH, "num_heads": 2, "mlp_ratio": 2.0}
    model: nn.Module = timm.models.VisionTransformer(num_classes=4, depth=depth, **size, **options).eval()
    return model


def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=20, num_labels=4, **sizes)
    return TextClassifier(transformers.BertForSequenceClassification(config).eval(), 50, PADDING).eval()


class Texts(nn.Module):
    """An encoder of texts whose head reads the average of what is no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, WIDTH)
        layers = (nn.TransformerEncoderLayer(WIDTH, 2, 16, 0.0, batch_first=True) for _ in range(4))
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(WIDTH, 3)

    def kept_tokens(self, ids: Tensor) -> Tensor:
        """Return 0 for padding and 1 for the rest."""
        return (ids != PADDING).to(torch.float32)

    def forward(self, ids: Tensor) -> Tensor:
        x, kept = self.words(ids.long()), self.kept_tokens(ids)[:, :, None]
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head((x * kept).sum(1) / kept.sum(1).clamp(min=1))
        return logits


def texts() -> Tensor:
    """Return ids, of which rows end in more and more padding."""
    ids = torch.randint(1, 50, (5, TOKENS), generator=torch.Generator().manual_seed(0))
    for i, row in enumerate(ids):
        row[TOKENS - i :] = PADDING
    return ids


def frames() -> Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def seen(model: nn.Module, names: list[str], x: Tensor) -> list[Tensor]:
    """Return what modules give, by hooks of the test's own."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, args, output: found.update({name: output.clone()})

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return [found[name] for name in names]


def parts(found: Split, x: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return dict(zip((tap.name for tap in found.taps), found.backbone.parts(x), strict=True))


def test_a_class_token_is_read_at_each_quarter() -> None:
    """And the average of all tokens at the end, where the class token is the head's input."""
    model, x = vit(), frames()
    found = parts(split(model, x), x)
    assert list(found) == ["blocks.0", "blocks.1", "blocks.2", "norm:mean", "head:input"]
    first, second, third, end = seen(model, ["blocks.0", "blocks.1", "blocks.2", "norm"], x)
    for name, tokens in (("blocks.0", first), ("blocks.1", second), ("blocks.2", third), ("head:input", end)):
        torch.testing.assert_close(found[name], tokens[:, 0])
    torch.testing.assert_close(found["norm:mean"], end.mean(1))


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [(2, [0]), (3, [0, 1]), (6, [1, 2, 4]), (12, [2, 5, 8])],
)
def test_few_blocks_are_tapped_however_many_there_are(depth: int, blocks: list[int]) -> None:
    """A quarter, a half and three quarters of the way, and the end."""
    names = [tap.name for tap in split(vit(depth), frames()).taps]
    assert names == [*(f"blocks.{i}" for i in blocks), "norm:mean", "head:input"]


@pytest.mark.parametrize("token", [True, False])
def test_an_average_is_taken_of_the_tokens_that_the_head_averages(token: bool) -> None:
    """With a class token that it leaves out, and without one."""
    model, x = vit(global_pool="avg", class_token=token), frames()
    found = parts(split(model, x), x)
    (first,) = seen(model, ["blocks.0"], x)
    assert first.shape[1] == 4 + token
    torch.testing.assert_close(found["blocks.0"], first[:, int(token) :].mean(1))


def test_names_give_the_same_latent_again() -> None:
    """A budget of latent bytes converts anew by the names of what it kept."""
    for model, x in (
        (vit(), frames()),
        (vit(global_pool="avg"), frames()),
        (bert(), texts()),
        (Texts().eval(), texts()),
    ):
        whole = parts(split(model, x), x)
        again = parts(split(model, x, taps=list(whole)[:-1]), x)
        assert list(again) == list(whole)
        for name, values in whole.items():
            torch.testing.assert_close(again[name], values, rtol=0, atol=0)


def test_padding_is_in_no_average_of_a_text() -> None:
    """BERT's head reads the class token; the average at the end is of the others that are no padding."""
    model, x = bert(), texts()
    found = parts(split(model, x), x)
    names = [f"model.bert.encoder.layer.{i}" for i in range(4)]
    assert list(found) == [*names[:3], f"{names[3]}:mean", "model.classifier:input"]
    *inner, end = seen(model, names, x)
    for name, tokens in zip(names, inner, strict=False):
        torch.testing.assert_close(found[name], tokens[:, 0])
    for row, tokens, ids in zip(found[f"{names[3]}:mean"], end, x, strict=True):
        torch.testing.assert_close(row, tokens[ids != PADDING].mean(0), rtol=1e-5, atol=1e-6)
    # A text of nothing but padding has numbers too.
    nothing = torch.full_like(x, PADDING)
    assert all(bool(torch.isfinite(values).all()) for values in parts(split(model, x), nothing).values())


def test_a_text_that_is_averaged_by_its_head_is_so_at_each_quarter() -> None:
    """The last average is the head's input; maxima of what may be padding are refused."""
    torch.manual_seed(0)
    model, x = Texts().eval(), texts()
    with pytest.raises(InputError, match=r"pooling='mean-max', found none among \['layers.0'"):
        split(model, x, pooling="mean-max")
    found = parts(split(model, x), x)
    assert list(found) == ["layers.0", "layers.1", "layers.2", "head:input"]
    (second,) = seen(model, ["layers.1"], x)
    for row, tokens, ids in zip(found["layers.1"], second, x, strict=True):
        torch.testing.assert_close(row, tokens[ids != PADDING].mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_exports_leave_padding_out_too() -> None:
    """ONNX and TFLite give the masked averages of the original, at several batch sizes."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    pytest.importorskip("litert_torch", reason="litert-torch is not installed")
    torch.manual_seed(0)
    samples = texts().numpy().astype(np.int32).repeat(8, 0)
    module = nn.Sequential()
    found = split(Texts().eval(), texts())
    module.add_module("backbone", found.backbone)
    spec = InputSpec((TOKENS,), "int32", (0, 49), ("token",))
    original = Original(module.eval(), spec, found.taps, samples, run_module(module, samples))
    for runtime in RUNTIMES:
        _, parity = make_float(runtime, original)
        assert parity.whole.error < 1e-4, runtime


def test_a_model_without_gradients_is_averaged_over_all_tokens() -> None:
    """What cannot be found out does not stop a conversion."""

    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = vit()

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                logits: Tensor = self.inner(x)
            return logits

    model, x = Frozen().eval(), frames()
    found = parts(split(model, x), x)
    (first,) = seen(model, ["inner.blocks.0"], x)
    torch.testing.assert_close(found["inner.blocks.0"], first.mean(1))


def test_a_tail_behind_the_blocks_has_their_taps_in_front() -> None:
    """A cut in front of the last block leaves the quarters to the backbone, and the end to the tail."""
    model, x = vit(), frames()
    found = split_tail(model, x, 1)
    assert [tap.name for tap in found.taps] == ["blocks.0", "blocks.1", "blocks.2"]
    assert [tap.name for tap in found.tail.taps] == ["norm:mean", "head:input"]
