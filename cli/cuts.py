"""`acclimate cuts`: where a model may be cut, what each cut would cost a device, and which fits a budget."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from .console import output, print_json, printable, size, tell
from .convert import _check_pooling, _size
from .frames import read_frames
from .model_source import SOURCES, Code, check_code, is_trained, keras_file, load_named

if TYPE_CHECKING:
    from torch import Tensor

    from ..converters.splitting.cuts import Cut
    from ..converters.splitting.examine import Taps
    from ..converters.tap_pooling import Pooling

_SAMPLES = 4
# Values of one sample: 4096 x 4096 in colour, and more than that no model takes.
_MOST = 2**26


def _share(value: float) -> float:
    if not 0 < value <= 1:
        raise typer.BadParameter(f"{value:g} is not above 0 and at most 1")
    return value


def cuts(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help=SOURCES,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", help=".npy, .npz (x) or a folder of images; whole numbers of 64 bits are token ids."),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape",
            help="Instead of data: shape of one sample as the model takes it, 3,224,224; Keras has channels last.",
        ),
    ] = None,
    code: Code = None,
    resize: Annotated[
        str | None, typer.Option("--resize", help="HEIGHTxWIDTH that the model takes, if frames have another size.")
    ] = None,
    taps: Annotated[str, typer.Option("--taps", help="all, last, or module names with commas between.")] = "all",
    pooling: Annotated[
        str, typer.Option("--pooling", help="Of each tapped map: its mean, or mean-max for its maximum as well.")
    ] = "mean",
    latent_bytes: Annotated[
        int, typer.Option("--latent-bytes", min=1, help="Budget: bytes that a device may store per sample.")
    ] = 32_768,
    compute_share: Annotated[
        float,
        typer.Option(
            "--compute-share", callback=_share, help="Budget: share of the compute behind the cut, above 0 to 1."
        ),
    ] = 0.25,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the places where a model may be cut and recommend one for a budget."""
    source = keras_file(source) or source
    if (data is None) == (shape is None) and not (data is None and is_trained(source)):
        raise typer.BadParameter("expected one of --data and --shape", param_hint="--data")
    _check_pooling(pooling, taps)
    check_code(source, code)
    wanted, target = _shape(shape), _size(resize)
    # torch is heavy: nothing of it is imported before the arguments are known to be good.
    from ..converters.keras_source.locate import is_keras

    frames = None if data is None else read_frames(data)[0]
    chosen_taps = taps if taps in ("all", "last") else taps.split(",")
    kept: Pooling = "mean" if pooling == "mean" else "mean-max"
    if is_keras(source):
        from ..converters.keras_source.listing import list_keras_cuts

        given = _drawn(wanted) if frames is None else frames
        found = list_keras_cuts(source, given, taps=chosen_taps, pooling=kept, resize=target)
    else:
        found = _loaded_cuts(source, code, frames, wanted, target, chosen_taps, kept)
    from ..converters.splitting.cuts import recommend

    chosen = recommend(found, latent_bytes=latent_bytes, compute_share=compute_share)
    if json:
        print_json(
            {
                "cuts": [cut.to_dict() for cut in found],
                "recommended": chosen.cut.name,
                "reason": chosen.reason,
                "budget": {"latent_bytes": latent_bytes, "compute_share": compute_share},
            }
        )
        return
    table = Table(box=None, padding=(0, 1))
    for title in ("", "cut", "map", "per sample", "trainable", "compute", "memory", ""):
        table.add_column(title, no_wrap=True)
    for cut in found:
        table.add_row(
            "*" if cut == chosen.cut else "",
            printable(cut.name),
            "x".join(map(str, cut.map_shape)),
            size(cut.latent_bytes),
            f"{cut.parameter_share:.1%}",
            f"{cut.compute_share:.1%}",
            size(cut.activation_bytes),
            f"shares {cut.shared[0]}" if cut.shared else "the head alone" if cut.blocks == 0 else "",
        )
    output.print(table)
    tell(f"* {chosen.cut.name}: {chosen.reason}")
    for note in chosen.cut.notes:
        tell(f"  {note}")
    tell(
        "Per sample: taps and map in 8 bits. Trainable, compute: share of parameters and multiply-adds behind the cut. "
        "Memory: roughly what a training step at batch 32 keeps of its results."
    )


def _loaded_cuts(
    source: str,
    code: str | None,
    frames: np.ndarray[Any, Any] | None,
    wanted: tuple[int, ...],
    target: tuple[int, int] | None,
    taps: "Taps",
    pooling: "Pooling",
) -> "tuple[Cut, ...]":
    """List the cuts of a torch module or an ONNX file."""
    from ..converters.onnx_source.file import OnnxFile
    from ..converters.splitting.cuts import list_cuts

    loaded = load_named(source, code=code)
    model = loaded.model
    if isinstance(model, OnnxFile):
        from ..converters.onnx_source.cuts import list_onnx_cuts
        from ..converters.onnx_source.input import describe_onnx_input

        taken = wanted if frames is None else describe_onnx_input(model, frames, resize=target).shape
        return list_onnx_cuts(model, taken, taps, pooling)
    if frames is not None and frames.dtype == np.uint8:
        target = loaded.options(frames, resize=target, keeps_head=False)["resize"]
    # A run knows what it was trained on.
    wanted = wanted or getattr(loaded, "sample_shape", ())
    sample = _sample(wanted) if frames is None else _batch(frames, model, target)
    return list_cuts(model, sample, taps, pooling)


def _shape(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter("expected whole numbers with commas between, like 3,224,224", param_hint="--shape")
    sizes = tuple(int(part) for part in parts)
    if math.prod(sizes) > _MOST:
        raise typer.BadParameter(f"expected at most {_MOST:,} values a sample, found {text}", param_hint="--shape")
    return sizes


def _drawn(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Draw as many samples as a calibration takes at least."""
    from ..converters.samples import LEAST_CALIBRATION

    return np.random.default_rng(0).standard_normal((LEAST_CALIBRATION, *shape), np.float32)


def _sample(shape: tuple[int, ...]) -> "Tensor":
    import torch

    return torch.randn(_SAMPLES, *shape, generator=torch.Generator().manual_seed(0))


def _batch(frames: np.ndarray[Any, Any], model: Any, target: tuple[int, int] | None) -> "Tensor":
    import torch

    from ..converters.raw_input import describe_input

    if frames.dtype == np.int64:
        return torch.from_numpy(frames[:_SAMPLES])
    raw = describe_input(frames, model, resize=target)
    few = frames[np.linspace(0, len(frames) - 1, min(len(frames), _SAMPLES)).astype(int)]
    with torch.no_grad():
        sample: Tensor = raw.preprocess(torch.from_numpy(np.ascontiguousarray(few)))
    return sample
