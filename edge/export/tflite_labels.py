"""Write class names into a TFLite file where its users look for them.

TensorFlow Lite's metadata is a second flatbuffer in a buffer of the model; it says which file holds the names of an
output's entries. That file lies in a ZIP archive behind the model: `unzip model.tflite` gives `labels.txt`.
"""

import io
import zipfile
from collections.abc import Sequence

import numpy as np

from ...errors import InputError
from .flatbuffer_writer import Table, write_flatbuffer

BUFFER_NAME = "TFLITE_METADATA"
LABELS = "labels.txt"
_IDENTIFIER, _PARSER = b"M001", "1.0.0"
# Slots of the model's, a graph's, a tensor's and a file's description, in the order of TFLite's metadata schema.
_MODEL_NAME, _GRAPHS, _MIN_PARSER = 0, 3, 7
_INPUTS, _OUTPUTS = 2, 3
_TENSOR_NAME, _FILES = 0, 6
_FILE_NAME, _FILE_TYPE, _AXIS_LABELS = 0, 2, 2


def describe_labels(input_name: str, output_name: str) -> bytes:
    """Return metadata which say that the entries of the one output are named in `LABELS`."""
    labels = Table({_FILE_NAME: LABELS, _FILE_TYPE: np.int8(_AXIS_LABELS)})
    graph = Table(
        {
            _INPUTS: [Table({_TENSOR_NAME: input_name})],
            _OUTPUTS: [Table({_TENSOR_NAME: output_name, _FILES: [labels]})],
        }
    )
    root = Table({_MODEL_NAME: "Adapted by Acclimate", _GRAPHS: [graph], _MIN_PARSER: _PARSER})
    return write_flatbuffer(root, _IDENTIFIER)


def check_printable(names: Sequence[str]) -> None:
    """Check that names can stand one a line.

    Raises:
        InputError: If one is not printable.
    """
    for name in names:
        if not name.isprintable():
            raise InputError(f"expected class names that are printable, found {name!r:.80}. Rename the class.")


def append_labels(model: bytes, names: Sequence[str]) -> bytes:
    """Return a model with a ZIP archive behind it that holds one name a line."""
    file = io.BytesIO(model)
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "w") as archive:
        # A fixed date, and not stored as made on this system, so that equal models are equal files.
        entry = zipfile.ZipInfo(LABELS, date_time=(1980, 1, 1, 0, 0, 0))
        entry.create_system = 3
        archive.writestr(entry, "\n".join(names) + "\n")
    return file.getvalue()
