"""What errors of the library advise, in words of the command line: its users pass options, not arguments."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..errors import DuplicateSampleError

# A longer phrase stands before one that it holds.
OPTIONS = {
    "pass on_duplicate='skip'": "give --skip-duplicates",
    "say that it may be overwritten": "give --overwrite",
    "Pass source=(x, y)": "Name a class for each frame (y in a .npz file, or one folder per class)",
    "tail='auto'": "--tail out",
    "See versions()": "See `acclimate versions`",
    "head='fit' or head=None": "--head fit or --head none",
    "head='keep' or 'fit'": "--head keep or fit",
    "task='regression'": "--task regression",
    "taps='last'": "--taps last",
    "classes=[...]": "--classes",
    "targets=[...]": "--targets",
    "new_classes='add'": "--new-classes add",
    "quantize='auto' or 'weights', or quantize=False": "--weights-only or --no-quantize",
    "quantize='auto' or 'weights'": "neither --quantize nor --no-quantize, or --weights-only",
    "quantize=False": "--no-quantize",
    "penalty='ewc'": "--penalty ewc",
    "penalty='l2sp'": "--penalty l2sp",
    "head=None": "--head none",
    "runtimes=('onnx',)": "--runtime onnx",
    "runtimes=('tflite',)": "--runtime tflite",
    "runtime='onnx'": "--runtime onnx",
    "expected max_bytes as": "expected --max-bytes as",
    "None to keep the bound": "no such option to keep the bound",
    "math.inf to lift it": "0 to lift it",
    "adapt(), or rollback(0) first": "run `acclimate adapt`, or `acclimate rollback BUNDLE 0` first",
    "rollback() undoes it": "`acclimate rollback` undoes it",
    "Label samples and adapt()": "Label samples and run `acclimate adapt`",
    "label samples and adapt()": "label samples and run `acclimate adapt`",
}


def in_options(message: str) -> str:
    """Return a message with the options of the command line in place of the library's arguments."""
    for phrase, option in OPTIONS.items():
        message = message.replace(phrase, option)
    return message


@contextmanager
def files_named(names: Sequence[str]) -> Iterator[None]:
    """Name the files of frames in what is said of duplicates, instead of their places in the call."""
    try:
        yield
    except DuplicateSampleError as error:
        text = re.sub(r"sample (\d+)(?: of the call|(?= again))", lambda found: names[int(found[1])], str(error))
        raise DuplicateSampleError(text) from error
