"""Streams of classes: one class after another, against all of them at once.

UCI digits through the demo's backbone (`acclimate demo` makes it), without the classes, head and statistics that it
ships: the device knows nothing of digits. Ten classes come one after another in a random order, 30 samples each, and
each is learnt by `Learner.partial_fit`; samples of classes that came before are not shown again. Joint training is
`Learner.fit` on all samples. Beside it what happens to a plain linear classifier: scikit-learn's SGDClassifier by
`partial_fit`, five passes over each class.

`python -m benchmarks.stream --json FILE`
"""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler

from acclimate import Bundle
from acclimate.bundle_writer import VariantContent, write_bundle
from acclimate.edge import Learner
from acclimate.server.digits import Digits, load_target, target_pool
from acclimate.server.splits import draw_budgets

from .embedded import DEMO, embed
from .harness import Row, finish
from .paired import paired

SEEDS, SAMPLES, PASSES = 5, 30, 5


def main() -> None:
    """Measure and print."""
    data, pool = load_target(), target_pool()
    found: dict[str, list[float]] = {"streamed": [], "searched": [], "joint": [], "plain": []}
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        bundle = _without_classes(Path(folder, "empty.acc"))
        for seed in range(SEEDS):
            split = draw_budgets(data.labels, (SAMPLES,), seed=seed, rows=pool)
            order, drawn = np.random.default_rng(seed).permutation(10), split.budgets[SAMPLES]
            rows = [drawn[data.labels[drawn] == label] for label in order]
            parts = [(data.images[some], _names(data.labels[some])) for some in rows]
            test = data.images[split.test], _names(data.labels[split.test])
            streamed, searched, unlearnt = _stream(bundle, parts, test)
            refused += unlearnt
            with Learner.open(bundle, runtime="onnx") as learner:
                joint = learner.fit(data.images[drawn], _names(data.labels[drawn])).score(*test)
            plain = _plain(bundle, data, rows, split.test)
            for name, value in zip(found, (streamed, searched, joint, plain), strict=True):
                found[name].append(100 * value)
    finish("stream", _rows(found, refused), ["scikit-learn", "onnxruntime"])


def _rows(found: dict[str, list[float]], refused: int) -> list[Row]:
    streamed, searched, joint, plain = (np.array(values) for values in found.values())
    lost, against = 100 * (1 - streamed / joint), float(joint.mean())
    after = f"paired {paired(streamed - joint)} against joint training"
    return [
        Row("accuracy after the last class", float(streamed.mean()), "%", against, note=after),
        Row(
            "share of joint training's accuracy that is lost",
            float(lost.mean()),
            "%",
            0.0,
            "lost",
            f"{lost.min():.1f} to {lost.max():.1f} by seed",
        ),
        Row("accuracy after one adapt() at the end", float(searched.mean()), "%", against),
        Row("classes that the guard refused", refused, "", note=f"of {9 * SEEDS}"),
        Row("accuracy of SGDClassifier after the last class", float(plain.mean()), "%", against),
    ]


def _stream(
    bundle: Path, parts: list[tuple[NDArray[np.uint8], list[str]]], test: tuple[NDArray[np.uint8], list[str]]
) -> tuple[float, float, int]:
    """Return the accuracy after the last part, after a search at the end, and how many parts made no new version."""
    refused = 0
    with Learner.open(bundle, runtime="onnx") as learner:
        # One class alone cannot be told from anything.
        learner.observe(*parts[0])
        for part in parts[1:]:
            before = len(learner.versions())
            learner.partial_fit(*part)
            refused += len(learner.versions()) == before
        streamed = learner.score(*test)
        learner.adapt()
        return streamed, learner.score(*test), refused


def _plain(bundle: Path, data: Digits, parts: list[NDArray[np.int64]], test: NDArray[np.int64]) -> float:
    latents = [embed(bundle, data.images[part]) for part in parts]
    scaler, model = StandardScaler().fit(np.concatenate(latents)), SGDClassifier(random_state=0)
    for part, x in zip(parts, latents, strict=True):
        for _ in range(PASSES):
            model.partial_fit(scaler.transform(x), data.labels[part], classes=np.arange(10))
    return float(model.score(scaler.transform(embed(bundle, data.images[test])), data.labels[test]))


def _without_classes(path: Path) -> Path:
    """Write the demo's bundle anew, without what it knows of digits."""
    with Bundle(DEMO) as bundle:
        manifest = bundle.manifest
        variant = next(v for v in manifest.variants if v.runtime == "onnx")
        content = VariantContent(
            "onnx",
            variant.quantized,
            bundle.backbone("onnx"),
            bundle.code("onnx"),
            bundle.conformance("onnx"),
            variant.tolerance,
            variant.saturated,
        )
    write_bundle(path, classes=(), input=manifest.input, cut=manifest.cut, taps=manifest.taps, variants=[content])
    return path


def _names(labels: NDArray[np.int64]) -> list[str]:
    return [str(label) for label in labels]


if __name__ == "__main__":
    main()
