"""Settings of the data: section [data]."""

from dataclasses import dataclass

from ...errors import InputError
from ..config.fields import REQUIRED, check, setting

KINDS = ("auto", "images", "arrays", "files", "shards", "audio", "series", "table", "function")
IMAGE_AUGMENTS = ("crop", "shift", "flip", "rand-augment", "erase")
AUDIO_AUGMENTS = ("shift", "noise", "spec-augment")
SERIES_AUGMENTS = ("jitter", "scale", "time-warp")
_AUGMENTS = tuple(dict.fromkeys(IMAGE_AUGMENTS + AUDIO_AUGMENTS + SERIES_AUGMENTS))

# Stands for the labels in settings that find a target: none is read.
UNREAD = ("",)


@dataclass(frozen=True)
class DataSettings:
    """What is trained on and validated on, how it is read, and how training samples are varied."""

    train: str = setting(
        REQUIRED,
        "Folder with one folder of images or WAV files per class; .npz file with x, images as uint8 or whatever the "
        "model takes as float32; .csv file; pattern of shards (train-{000..099}.tar); or a function "
        "(package.module:function, file.py:function).",
    )
    kind: str = setting("auto", "What it is; auto tells by ending and content.", choices=KINDS)
    validation: str | None = setting(None, "The same for validation; none takes a share of the training data.")
    validation_share: float = setting(
        0.1,
        "Share of each class that is kept for validation, whole groups where there are groups.",
        unit="share",
        low=0,
        below=1,
    )
    classes: tuple[str, ...] = setting((), "Names of the classes in their order; empty takes those found, sorted.")
    labels: tuple[str, ...] = setting(
        (), "Columns or arrays with labels, one per task; empty takes 'label' of a .csv and of shards, 'y' of an .npz."
    )
    group: str | None = setting(
        None, "Column or array that names whom or where a sample is from; no group is in both parts."
    )
    target: str | None = setting(
        None,
        "The same for the domain that the objectives dann, dan, jan and deep-coral adapt to; its labels are not read.",
    )
    target_validation: str | None = setting(
        None, "Labelled samples of the target, which decide whether adaptation helped; none judges without labels."
    )
    domain: str | None = setting(
        None,
        "Column or array that names the source domain of a training sample, each to be adapted by itself; none takes "
        "all as one.",
    )
    path_column: str | None = setting(None, "Column of a .csv with the path of each sample's image or WAV file.")
    root: str | None = setting(None, "Folder that paths in a .csv begin at and stay below; none is that of the .csv.")
    features: tuple[str, ...] = setting((), "Columns of a table or channels of a series; empty takes all the others.")
    standardise: bool = setting(
        True, "Bring columns of a table and channels of a series to mean 0 and deviation 1 over the training part."
    )
    size: tuple[int, int] | None = setting(
        None, "Height and width that images are resized to; none leaves them.", unit="pixels", low=1, high=8192
    )
    channels: int | None = setting(
        None, "Channels of images, 1 or 3; none takes those of the first.", unit="channels", choices=(1, 3)
    )
    mean: tuple[float, ...] = setting(
        (), "Taken from each channel of pixels in 0 to 1, and from log-mel powers; empty takes nothing."
    )
    std: tuple[float, ...] = setting((), "What each channel is divided by then; empty is 1.", above=0)
    most_pixels: int = setting(
        50_000_000, "Larger images are refused before they are decoded.", unit="pixels", low=1, high=2**31
    )
    augment: tuple[str, ...] = setting(
        (),
        f"How training samples are varied. Images: {', '.join(IMAGE_AUGMENTS)}; audio: {', '.join(AUDIO_AUGMENTS)}; "
        f"series: {', '.join(SERIES_AUGMENTS)}.",
        choices=_AUGMENTS,
    )
    crop_scale: tuple[float, float] = setting(
        (0.35, 1.0),
        "Smallest and largest share of an image's area that crop takes.",
        unit="share of the area",
        above=0,
        high=1,
    )
    shift: float = setting(
        0.1,
        "Shift moves images by up to this share of their size, and sounds of their length.",
        unit="share of the size",
        low=0,
        high=0.5,
    )
    rand_augment: tuple[int, int] = setting(
        (2, 9), "Operations of rand-augment, and their strength.", unit="operations, thirtieths", low=0, high=30
    )
    erase: float = setting(0.25, "Probability that erase removes a rectangle.", unit="probability", low=0, high=1)
    sample_rate: int = setting(16_000, "Rate that sounds are resampled to.", unit="Hz", low=1_000, high=384_000)
    seconds: float = setting(
        1.0, "Length of a sound: shorter ones are padded; of longer ones a part is taken.", unit="s", above=0, high=600
    )
    mels: int = setting(64, "Bands of the log-mel spectrogram.", unit="bands", low=1, high=512)
    window_ms: float = setting(25.0, "Window of the spectrogram.", unit="ms", above=0, high=1_000)
    hop_ms: float = setting(10.0, "Step of the spectrogram.", unit="ms", above=0, high=1_000)
    noise: float = setting(0.005, "Largest deviation of the noise that is added.", unit="full scales", low=0, high=1)
    masks: tuple[float, float] = setting(
        (0.15, 0.2), "Largest share of bands and of time that spec-augment masks.", unit="share", low=0, high=1
    )
    window: int | None = setting(
        None, "Samples in one window of a series; none takes each series whole.", unit="samples", low=1
    )
    stride: int | None = setting(None, "From window to window; none is half a window.", unit="samples", low=1)
    jitter: float = setting(
        0.05, "Deviation of the noise that jitter adds.", unit="deviations of a channel", low=0, high=10
    )
    scale: float = setting(
        0.1, "Deviation of the factor that scale applies to each channel.", unit="share", low=0, high=1
    )
    time_warp: float = setting(
        0.2, "Largest share by which time-warp makes time run faster or slower.", unit="share", low=0, below=1
    )
    samples: int | None = setting(
        None,
        "Samples in all training shards; none counts them, which reads shards at a distance once.",
        unit="samples",
        low=1,
    )
    shuffle: int = setting(
        2_000, "Samples of shards among which the next is drawn.", unit="samples", low=1, high=1_000_000
    )

    def __post_init__(self) -> None:
        """Check the fields, each and together."""
        check(self)
        if self.crop_scale[0] > self.crop_scale[1]:
            raise InputError(f"expected data.crop_scale as smallest and largest share, found {list(self.crop_scale)}.")
        if self.mean and self.std and len(self.mean) != len(self.std):
            raise InputError(
                f"expected as many numbers in data.mean as in data.std, found {len(self.mean)} and {len(self.std)}."
            )
        if len(set(self.classes)) < len(self.classes):
            raise InputError(f"expected each name once in data.classes, found {list(self.classes)}.")
        if len(self.labels) > 1 and self.classes:
            raise InputError("expected data.classes only for a single task, found several data.labels. Leave it out.")
