"""Text classifiers: token ids in, logits out.

Token ids are int32. They may travel as float32 too, which holds whole numbers exactly up to 16,777,216, more than any
vocabulary has; the graph turns them into integers. Padding is masked inside the graph.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import CutError

_EXACT = 2**24
_HIDDEN = -1e9


class TextClassifier(nn.Module):
    """A classifier of texts that takes nothing but token ids.

    Args:
        model: A model of Hugging Face: ``input_ids`` and ``attention_mask`` in, an object with ``logits`` out.
        vocabulary: Number of tokens; greater ids count as the last one, lesser ones as 0.
        padding: Id of the padding, which is masked; None if there is none.
    """

    def __init__(self, model: nn.Module, vocabulary: int, padding: int | None) -> None:
        super().__init__()
        if not 1 <= vocabulary <= _EXACT:
            raise CutError(f"expected a vocabulary of 1 to {_EXACT:,} tokens, found {vocabulary:,}.")
        self.model, self.vocabulary, self.padding = model, vocabulary, padding
        self._typed = "token_type_ids" in inspect.signature(model.forward).parameters

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits ``(n, k) float32`` of token ids ``(n, tokens)``, float32 or integers."""
        whole = self._whole(ids)
        given: dict[str, Any] = {"input_ids": whole}
        if self._typed:
            # A buffer that is spread over the batch would keep its size likewise.
            given["token_type_ids"] = torch.zeros_like(whole)
        if self.padding is not None:
            # Added to the scores: a mask of two axes is spread by indices of the batch, which TFLite keeps at one size.
            hidden = (whole == self.padding).to(torch.float32)
            given["attention_mask"] = (hidden * _HIDDEN)[:, None, None, :]
        logits: Tensor = self.model(**given).logits
        return logits

    def kept_tokens(self, ids: Tensor) -> Tensor | None:
        """Return 1 for each token ``(n, tokens) float32`` and 0 for padding; None if there is no padding."""
        return None if self.padding is None else (self._whole(ids) != self.padding).to(torch.float32)

    def _whole(self, ids: Tensor) -> Tensor:
        whole = (ids + 0.5).floor() if ids.is_floating_point() else ids
        return whole.clamp(0, self.vocabulary - 1).to(torch.int64)
