"""Every error that Acclimate raises on purpose.

```
AcclimateError
├── MissingExtraError        an optional package is not installed (also ImportError)
├── InputError               frames, labels or arguments are not what was asked for (also ValueError)
│   ├── LabelError               a label is unknown, or too few classes are labelled
│   ├── DuplicateSampleError     the same input was stored before
│   ├── NotEnoughSamplesError    too few labelled samples for what was asked
│   └── BudgetError              what was asked needs more time or memory than allowed
├── BundleError              a bundle cannot be used
│   ├── BundleFormatError        malformed: not a bundle, truncated, a member out of bounds
│   ├── BundleVersionError       written in a format that this version does not know
│   └── BundleIntegrityError     a member's content is not what the manifest says
├── StoreError               a local store cannot be used
│   ├── StoreMismatchError       it belongs to another backbone
│   ├── StoreVersionError        written by a newer version
│   ├── StoreBusyError           another process is writing
│   └── StoreCorruptError        not a store, or damaged
├── BackendError             the inference runtime cannot load or run a model
│   └── ConformanceError         it runs, and its outputs are not those the bundle promises
├── ConversionError          a model cannot be converted
│   ├── CutError                 no place to split it
│   ├── CalibrationError         the calibration data does not fit
│   └── ParityError              the converted model does not do what the original did
├── SignatureError           a signature is missing, wrong, or by a key that is not trusted
├── UpdateError              an update cannot be used
│   ├── UpdateFormatError        malformed: not an update, truncated, damaged
│   ├── UpdateVersionError       written in a format that this version does not know
│   ├── UpdateMismatchError      made for another backbone or another shipped head
│   └── UpdateReplayError        not newer than the last one applied
├── OutputExistsError        a file would have been overwritten (also FileExistsError)
└── TrainingError            server-side training cannot go on
```

Messages say what was expected, what was found and what to do.
"""


class AcclimateError(Exception):
    """Base of every error that Acclimate raises on purpose."""


class MissingExtraError(AcclimateError, ImportError):
    """An optional package is not installed."""


class InputError(AcclimateError, ValueError):
    """Frames, labels or arguments are not what was asked for."""


class LabelError(InputError):
    """A label is unknown, or too few classes are labelled."""


class DuplicateSampleError(InputError):
    """The same input was stored before, or occurs twice in one call."""


class NotEnoughSamplesError(InputError):
    """Too few labelled samples for what was asked."""


class BudgetError(InputError):
    """What was asked needs more time or memory than allowed."""


class BundleError(AcclimateError):
    """A bundle cannot be used."""


class BundleFormatError(BundleError):
    """A bundle is malformed: truncated, or a member is out of bounds."""


class BundleVersionError(BundleError):
    """A bundle is written in a format that this version does not know."""


class BundleIntegrityError(BundleError):
    """A member's content is not what the manifest says."""


class StoreError(AcclimateError):
    """A local store cannot be used."""


class StoreMismatchError(StoreError):
    """A store belongs to another backbone."""


class StoreVersionError(StoreError):
    """A store was written by a newer version of Acclimate."""


class StoreBusyError(StoreError):
    """Another process is writing to the store."""


class StoreCorruptError(StoreError):
    """A file is not a store, or is damaged."""


class BackendError(AcclimateError):
    """The inference runtime cannot load or run a model."""


class ConformanceError(BackendError):
    """The runtime's outputs are not those that the bundle promises."""


class ConversionError(AcclimateError):
    """A model cannot be converted."""


class CutError(ConversionError):
    """There is no place where the model can be split."""


class CalibrationError(ConversionError):
    """The calibration data does not fit."""


class ParityError(ConversionError):
    """The converted model does not do what the original did."""


class SignatureError(AcclimateError):
    """A signature is missing, wrong, or by a key that is not trusted."""


class UpdateError(AcclimateError):
    """An update cannot be used."""


class UpdateFormatError(UpdateError):
    """An update is malformed: truncated, damaged, or not one at all."""


class UpdateVersionError(UpdateError):
    """An update is written in a format that this version does not know."""


class UpdateMismatchError(UpdateError):
    """An update was made for another backbone or another shipped head."""


class UpdateReplayError(UpdateError):
    """An update is not newer than the last one applied."""


class OutputExistsError(AcclimateError, FileExistsError):
    """A file would have been overwritten."""


class TrainingError(AcclimateError):
    """Server-side training cannot go on."""
