"""What the page on the exported model shows works as it stands there."""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from acclimate.edge import Learner

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
EXPORT, ONNX, LITERT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(
    ("runtime", "needed", "code"), [("onnx", "onnxruntime", ONNX), ("tflite", "ai_edge_litert", LITERT)]
)
def test_export_and_use(
    tmp_path: Path,
    tiny_bundle: Path,
    scenes: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
    needed: str,
    code: str,
) -> None:
    """With the file that the first block writes, the runtime's block classifies frames as the learner does."""
    if find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_bundle, "tiny.acc")
    frames, _ = scenes.frames(4, 5, 0.0)
    with Learner.open("tiny.acc", "tiny.db", runtime=runtime) as learner:  # type: ignore[arg-type]
        expected = learner.predict(frames).labels.tolist()
    _run(EXPORT.replace("adapted.onnx", f"adapted.{runtime}"), {})
    said: list[object] = []
    _run(code.replace("np.zeros((4, 8, 8, 1), np.uint8)", "given"), {"given": frames, "print": said.append})
    assert said == [expected]
    assert len(set(expected)) > 1


def _run(code: str, names: dict[str, object]) -> None:
    exec(compile(code, "export.md", "exec"), names)  # noqa: S102
