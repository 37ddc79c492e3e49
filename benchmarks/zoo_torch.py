"""A torch module or an ONNX file of `zoo.toml` on its way through the steps."""

import torch
from torch import nn

from acclimate.converters.onnx_source.file import OnnxFile
from acclimate.converters.onnx_source.split import split_onnx
from acclimate.converters.original import Original, run_module
from acclimate.converters.raw_input import describe_input
from acclimate.converters.splitting.split import split
from acclimate.manifest import RUNTIMES, Runtime

from .zoo_files import Files
from .zoo_models import Subject

_STEP_BATCH = 4


class TorchRow:
    """One model on its way through the steps; what one step made, later ones take.

    Args:
        found: The model and its data.
    """

    def __init__(self, found: Subject) -> None:
        self._found = found
        self._original: Original | None = None
        self._files = Files()

    def cut(self) -> str:
        """Find head and taps."""
        model, samples, options = self._found.model, self._found.samples, self._found.options
        if isinstance(model, OnnxFile):
            onnx = split_onnx(model, samples, keeps_head=False, **options)
            self._original, parts = onnx.original, onnx.split
            said = f"; {onnx.notes[0]}" if not len(parts.weight) else ""
        else:
            raw = describe_input(samples, model, **options)
            with torch.no_grad():
                parts = split(model, raw.preprocess(torch.from_numpy(samples[:4])))
            module = nn.Sequential()
            module.add_module("preprocess", raw.preprocess)
            module.add_module("backbone", parts.backbone)
            module = module.eval()
            self._original = Original(module, raw.spec, parts.taps, samples, run_module(module, samples))
            said = ""
        return f"{parts.cut}, {len(parts.weight)} outputs, {len(parts.taps)} taps{said}"

    def onnx(self) -> str:
        """Write ONNX and compare."""
        return self._files.write("onnx", self._known())

    def tflite(self) -> str:
        """Write TFLite and compare."""
        return self._files.write("tflite", self._known())

    def int8(self) -> str:
        """Quantize in every format that applies."""
        runtimes: tuple[Runtime, ...] = ("onnx",) if isinstance(self._found.model, OnnxFile) else RUNTIMES
        return self._files.quantize(runtimes, self._known())

    def step(self) -> str:
        """Compile a training step of the last block, and compare with PyTorch's."""
        from acclimate.converters.splitting.tail import split_tail
        from acclimate.converters.training import compile_training

        model, samples, options = self._found.model, self._found.samples, self._found.options
        assert isinstance(model, nn.Module)  # noqa: S101  the table has no step for others
        raw = describe_input(samples, model, **options)
        with torch.no_grad():
            prepared = raw.preprocess(torch.from_numpy(samples[:_STEP_BATCH]))
            cut = split_tail(model, prepared)
            _, maps = cut.backbone(prepared)
        made = compile_training(cut.tail.module, maps, head=(cut.tail.weight, cut.tail.bias))
        return f"behind {cut.tail.cut}, gradients within {made.difference.gradient:.0e}"

    def _known(self) -> Original:
        if self._original is None:
            raise RuntimeError("the model could not be cut")
        return self._original
