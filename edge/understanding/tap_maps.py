"""The maps that a backbone pools into its latent, taken out of its graph before they are pooled.

They are there where the runtime gives them:

* with ONNX Runtime, for every tap that is a mean over space: the tensor in front of the mean becomes an output too;
* with LiteRT, which gives no inner tensors, only in a bundle with a tail, for the tap that the tail is cut at.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError, InputError
from ...record import record
from ..head import Float32

if TYPE_CHECKING:
    from ...manifest import Tap
    from ..task_session import TaskSession

_GRAPH, _NODE, _OUTPUT = 7, 1, 12
_SHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "QuantizeLinear", "DequantizeLinear"})
_MEANS = frozenset({"ReduceMean", "GlobalAveragePool", "AveragePool"})
_MOST_STEPS = 64
# Pooled values may be rounded to 8 bits behind the mean: by so much of the largest.
_ROUNDING = 1 / 100


@record(eq=False)
class TapMaps:
    """Latents with the maps that they are means of.

    Args:
        latents: ``(n, d) float32``, not brought into the range of the codes.
        maps: By name of the tap ``(n, *space, width) float32``; its mean over space is the tap's part of the latent.
    """

    latents: Float32
    maps: Mapping[str, Float32]


def tap_maps(session: "TaskSession[Any]", frames: NDArray[np.generic]) -> TapMaps:
    """Run the backbone, and keep the maps of the taps that are means over space.

    Args:
        session: The opened bundle.
        frames: ``(n, *shape)``, checked.

    Returns:
        Latents and maps.

    Raises:
        InputError: If no tap has a map here; why, by name.
        BackendError: If the backbone does not run.
    """
    taps, manifest = session.bundle.manifest.taps, session.bundle.manifest
    if session.runtime == "onnx":
        found = _from_onnx(session, taps, frames)
    elif manifest.tail is not None and session.map_code is not None:
        chunks = [
            session.embedder.embed_with_maps(frames[i : i + session.batch])
            for i in range(0, len(frames), session.batch)
        ]
        latents, maps = (np.concatenate(part) for part in zip(*chunks, strict=True))
        found = TapMaps(latents, _fitting({manifest.tail.cut: maps}, latents, taps))
    else:
        raise InputError(
            f"{session.bundle.path.name}: expected a runtime that gives the maps in front of the pooling, found LiteRT "
            f"and a bundle without a tail. Open it with runtime='onnx' if it has that variant, or use occlusion."
        )
    if not found.maps:
        raise InputError(
            f"{session.bundle.path.name}: expected a tap that is a mean over space, found none of "
            f"{', '.join(tap.name for tap in taps)} to be one. Use occlusion, which asks the whole model."
        )
    return found


def sources_of(content: bytes, taps: "tuple[Tap, ...]") -> dict[str, str]:
    """Return, by name of the tap, the tensor that is pooled into it; nothing of a tap that is no mean of one.

    Args:
        content: The ONNX file of a backbone.
        taps: Its taps, in the order in which they stand in the latent.

    Raises:
        BackendError: If it cannot be read.
    """
    from ..runtime.protobuf import messages

    try:
        (graph,) = messages(memoryview(content), _GRAPH)
        made: dict[str, tuple[str, list[str]]] = {}
        for node in messages(graph, _NODE):
            inputs, outputs = _texts(node, 1), _texts(node, 2)
            (operator,) = _texts(node, 4)
            made.update(dict.fromkeys(outputs, (operator, inputs)))
        latent = _texts(messages(graph, _OUTPUT)[0], 1)[0]
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise BackendError(f"expected an ONNX backbone, found that {error}. Convert the model again.") from error
    while latent in made and made[latent][0] in _SHAPES:
        latent = made[latent][1][0]
    operator, parts = made.get(latent, ("", []))
    names = parts if operator == "Concat" and len(parts) == len(taps) else [latent] if len(taps) == 1 else []
    found = {}
    for tap, name in zip(taps, names, strict=False):
        source = _behind_mean(name, made)
        if source is not None:
            found[tap.name] = source
    return found


def with_outputs(content: bytes, names: list[str]) -> bytes:
    """Return an ONNX model that gives more of its tensors, behind the outputs that it has."""
    from ..runtime.protobuf import bytes_field, fields, messages, pieces, text_field

    model = memoryview(content)
    (graph,) = messages(model, _GRAPH)
    rest = [part for field in fields(model) if field[0] != _GRAPH for part in pieces(*field)]
    more = [bytes_field(_OUTPUT, text_field(1, name)) for name in names]
    return b"".join((*rest, bytes_field(_GRAPH, graph, *more)))


def _behind_mean(name: str, made: Mapping[str, tuple[str, list[str]]]) -> str | None:
    """Follow a tensor back to what it is the mean of; None where it is made otherwise."""
    pooled = False
    for _ in range(_MOST_STEPS):
        operator, inputs = made.get(name, ("", []))
        if operator in _MEANS and inputs:
            pooled, name = True, inputs[0]
        elif pooled or operator not in _SHAPES or not inputs:
            return name if pooled else None
        else:
            name = inputs[0]
    return None


def _from_onnx(session: "TaskSession[Any]", taps: "tuple[Tap, ...]", frames: NDArray[np.generic]) -> TapMaps:
    from ..runtime.onnx import open_model

    content = session.bundle.backbone("onnx")
    sources = sources_of(content, taps)
    if not sources:
        return TapMaps(np.empty((len(frames), 0), np.float32), {})
    wanted = list(dict.fromkeys(sources.values()))
    # What is an output already must not be one twice.
    model = open_model(content, session.threads, "backbone")
    given = [output.name for output in model.get_outputs()]
    new = [name for name in wanted if name not in given]
    if new:
        model = open_model(with_outputs(content, new), session.threads, "backbone")
    latents, maps = [], dict[str, list[Float32]]()
    for start in range(0, len(frames), session.batch):
        try:
            one, *rest = model.run(
                [given[0], *wanted], {model.get_inputs()[0].name: frames[start : start + session.batch]}
            )
        # ONNX Runtime's exceptions share no base class below Exception.
        except Exception as error:
            raise BackendError(f"expected the backbone to run, found: {str(error)[:300]}") from error
        latents.append(one)
        for name, value in zip(wanted, rest, strict=True):
            maps.setdefault(name, []).append(value)
    whole = cast(Float32, np.concatenate(latents))
    joined = {name: np.concatenate(maps[source]) for name, source in sources.items()}
    return TapMaps(whole, _fitting(joined, whole, taps))


def _fitting(maps: Mapping[str, NDArray[Any]], latents: Float32, taps: "tuple[Tap, ...]") -> dict[str, Float32]:
    """Return the maps, channels last, whose mean over space is the tap's part of the latent: others are left out."""
    found = {}
    for tap in taps:
        values, part = maps.get(tap.name), latents[:, tap.offset : tap.offset + tap.width]
        if values is None or values.ndim < 3 or values.dtype != np.float32:
            continue
        for axis in (1, values.ndim - 1):
            last = np.moveaxis(values, axis, -1)
            if last.shape[-1] != tap.width:
                continue
            mean = last.reshape(len(last), -1, tap.width).mean(axis=1, dtype=np.float64)
            if np.abs(mean - part).max() <= _ROUNDING * max(float(np.abs(part).max()), 1e-12):
                found[tap.name] = np.ascontiguousarray(last)
                break
    return found


def _texts(message: memoryview, number: int) -> list[str]:
    from ..runtime.protobuf import messages

    return [str(text, "utf-8") for text in messages(message, number)]
