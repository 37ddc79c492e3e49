"""`Learner.export`: the adapted model as one ordinary file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import refuse_overwrite, write_file
from .session import Session
from .task_session import H, TaskSession

if TYPE_CHECKING:
    from .regression.task import RegressionSession


def export(session: Session, path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write the complete adapted model. See `Learner.export`."""
    now = _ready(session, path, overwrite=overwrite)
    runtime, head = session.runtime, now.head
    backbone, about = session.bundle.backbone(runtime), session.bundle.manifest
    if now.tail is not None and session.tail is not None:
        tail, parameters = session.tail, now.tail.head.parameters
        if runtime == "onnx":
            from .export.tail_onnx import export_tail

            content = export_tail(
                backbone,
                tail,
                parameters,
                now.names,
                head.columns,
                spec=about.input,
                provenance=about.provenance,
            )
        else:
            from .export.tail_tflite import export_tail_tflite

            content = export_tail_tflite(backbone, about.width, tail, parameters, now.names, head.columns)
    elif runtime == "onnx":
        from .export.onnx import export_onnx

        content = export_onnx(
            backbone, head.layer, session.code, now.names, head.columns, spec=about.input, provenance=about.provenance
        )
    else:
        from .export.tflite import export_tflite

        content = export_tflite(backbone, head.layer, session.code, now.names, head.columns)
    write_file(path, content, overwrite=overwrite)


def export_values(session: "RegressionSession", path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write the complete adapted model. See `Regressor.export`."""
    now = _ready(session, path, overwrite=overwrite)
    about, backbone = session.bundle.manifest, session.bundle.backbone(session.runtime)
    if session.runtime == "onnx":
        from .export.onnx import export_values_onnx

        content = export_values_onnx(
            backbone, now.head.layer, session.code, now.names, spec=about.input, provenance=about.provenance
        )
    else:
        from .export.tflite import export_values_tflite

        content = export_values_tflite(backbone, now.head.layer, session.code, now.names)
    write_file(path, content, overwrite=overwrite)


def _ready(session: TaskSession[H], path: str | os.PathLike[str], *, overwrite: bool) -> H:
    """Return the head to export."""
    runtime, suffix = session.runtime, Path(path).suffix
    if suffix != f".{runtime}":
        others = [variant.runtime for variant in session.bundle.manifest.variants if variant.runtime != runtime]
        advice = (
            f"Name it so; a .{others[0]} file comes from a learner that is opened with runtime='{others[0]}' and a "
            f"store of its own, and has observed and adapted there."
            if others
            else "Name it so: the bundle has no other backbone."
        )
        raise InputError(
            f"expected a file name ending in .{runtime}, found {Path(path).name!r}: the head in use was fitted on the "
            f"latents of the {runtime} backbone. {advice}"
        )
    refuse_overwrite(Path(path), overwrite=overwrite)
    now = session.in_use()
    if now is None:
        raise InputError("expected a head to export, found none: observe labelled samples and adapt() first.")
    return now
