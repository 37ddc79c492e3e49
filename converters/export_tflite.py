"""Export a torch module from raw input to latent as one TFLite file. TensorFlow is not needed."""

import torch
from torch import Tensor, nn

from ..errors import ConversionError
from .quiet import quiet
from .tflite_batch import free_batch, repeat_to, telling_batch


def export_tflite(module: nn.Module, example: Tensor) -> bytes:
    """Export a module to TFLite, in float.

    Args:
        module: From raw input to latent.
        example: ``(n, ...)`` raw input, at least two samples; the file is for a batch of 1, which a runtime may resize.

    Returns:
        The TFLite file, one input and one output.

    Raises:
        ConversionError: If the converter fails.
    """
    with quiet():
        import litert_torch

        shown = litert_torch.config.show_progress
        try:
            litert_torch.config.show_progress = False
            with torch.no_grad():
                batch = telling_batch(module, example)
                converted = litert_torch.convert(module, (repeat_to(example, batch),), strict_export=False)
            return free_batch(converted.model_content(), batch)
        # The converter raises anything.
        except Exception as error:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConversionError(
                f"expected a model that litert-torch can convert, found {type(error).__name__}: {first_line[:300]}. "
                f"Leave TFLite out (runtimes=('onnx',)), or replace the operation that it names."
            ) from error
        finally:
            litert_torch.config.show_progress = shown
