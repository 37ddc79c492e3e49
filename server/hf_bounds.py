"""What a configuration of Hugging Face in a checkpoint may ask for: a file from elsewhere could ask for anything."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..converters.sources.load import load_source
from ..errors import TrainingError
from .checkpoint import WEIGHTS_FILE

# Of what is built once for each: layers, blocks, stages; and entries of a list of them.
_MOST_REPEATED = 4_096
# Of classes; of any other number: vocabularies and positions are the greatest.
_MOST_CLASSES, _MOST = 2**16, 2**24
# Of any number, where the model cannot be counted before it is built.
_MOST_UNCOUNTED = 2**14
# Values that a model may have beyond one for each byte of its file: the head it came with may have been replaced.
_SPARE = 2**26
_HOW = "Copy the checkpoint again, or train again."
_REPEATED = re.compile(r"(^|_)(layers?|depths?|blocks?|stages?|experts?)(_|$)")


def check_config(config: Any, folder: Path) -> None:
    """Refuse a configuration that asks for more than the checkpoint's weights can fill, before it is built.

    Its model is made without memory first (torch's device ``meta``), and its values are counted.

    Args:
        config: What the checkpoint says, as JSON.
        folder: Of the checkpoint.

    Raises:
        TrainingError: If it is no configuration, or asks for too much.
    """
    if not isinstance(config, Mapping):
        raise TrainingError(f"expected a configuration of a model in {folder}, found {type(config).__name__}. {_HOW}")
    greatest = 0
    for name, value, most in _numbers(config):
        if value > most:
            told = value if value < 10**15 else "a number of more than 15 digits"
            raise TrainingError(
                f"expected a configuration of a model in {folder} with {name[:80]} of at most {most:,}, found {told}. "
                f"{_HOW}"
            )
        greatest = max(greatest, value)
    size = (folder / WEIGHTS_FILE).stat().st_size if (folder / WEIGHTS_FILE).is_file() else 0
    count = _values(config)
    if count is None and greatest > _MOST_UNCOUNTED:
        raise TrainingError(
            f"expected a configuration of a model in {folder} with numbers of at most {_MOST_UNCOUNTED:,}, as its "
            f"values cannot be counted before it is built, found {greatest}. {_HOW}"
        )
    if count is not None and count > size + _SPARE:
        raise TrainingError(
            f"expected a configuration of a model in {folder} that its weights of {size:,} bytes fill, found one of "
            f"{count:,} values. {_HOW}"
        )


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Return every whole number and the length of every list, with what it is and how large it may be."""
    left: list[tuple[str, Any]] = [("", config)]
    while left:
        name, value = left.pop()
        if isinstance(value, Mapping):
            left += [(str(key), one) for key, one in value.items()]
        elif isinstance(value, list):
            yield f"a list {name}", len(value), _MOST_REPEATED
            left += [(name, one) for one in value]
        elif isinstance(value, int) and not isinstance(value, bool):
            classes = name == "num_labels"
            yield name, abs(value), _MOST_CLASSES if classes else _MOST_REPEATED if _REPEATED.search(name) else _MOST


def _values(config: Mapping[str, Any]) -> int | None:
    """Return how many values the model has; None if it cannot be made without memory."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "config.json")
        file.write_text(json.dumps(config))
        try:
            with torch.device("meta"):
                model = load_source(f"hf-config:{file}").model
        # What is wrong with it is told where it is built.
        except Exception:
            return None
    if not isinstance(model, torch.nn.Module):
        return None
    return sum(one.numel() for one in (*model.parameters(), *model.buffers()))
