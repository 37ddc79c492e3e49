"""The device API: open a bundle, predict, observe, adapt."""

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from ..bundle import Bundle, LinearLayer
from ..errors import InputError, LabelError, StoreCorruptError
from ..manifest import Runtime
from .adaptation import Shipped, adapt
from .checks import Labels, check_frames, check_ids, check_labels, check_texts
from .conformance import check_conformance
from .database import stored_binding
from .head import Ids, LinearHead
from .heads import HEADS, Prior, Setting
from .results import Prediction, Report, Version
from .runtime import Embedder, RuntimeChoice, choose_runtime, load_backbone
from .statistics import SourceStatistics
from .store import Store, StoredVersion

Progress = Callable[[int, int], None]
# Bytes of frames that go through the backbone together. Larger ones gain no speed by company (measured on 224 x 224
# int8), and each more of them in a batch costs the runtime its activations once more; small ones share a call's cost.
BATCH_BYTES, LARGEST_BATCH = 2**16, 32
_DAMAGED = "{}: expected version {} as adapt() stored it, found {}. Restore the store from a copy, or start a new one."
_log = logging.getLogger(__name__)


class Learner:
    """An opened bundle with its local store and the head in use. Make one with `Learner.open`; close it, or use `with`.

    `predict` and `score` may be called from several threads, also while `adapt` runs.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime, embedder: Embedder, store: Store, new_classes: str) -> None:
        self._bundle, self._runtime, self._embedder, self._store = bundle, runtime, embedder, store
        self._new_classes = new_classes
        self._adapting = threading.Lock()
        self._code = bundle.code(runtime)
        spec = bundle.manifest.input
        frame = math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
        self._batch = min(max(BATCH_BYTES // frame, 1), LARGEST_BATCH)
        self._state = self._load_head()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        store: str | os.PathLike[str] | None = None,
        *,
        new_classes: Literal["add", "refuse"] = "add",
        threads: int | None = None,
        runtime: RuntimeChoice = "auto",
        timeout: float = 5.0,
    ) -> Self:
        """Open a bundle, and resume from its store.

        Args:
            path: The bundle.
            store: SQLite file that keeps samples and versions, made if it is not there; None keeps them in memory only.
            new_classes: Whether labels that no class has yet add a class, or are refused.
            threads: Threads of the inference runtime; None uses every core that this process may use.
            runtime: ``"onnx"``, ``"tflite"`` or ``"auto"``: what the store was made with, else what is installed.
            timeout: Seconds to wait while another process writes to the store.

        Returns:
            The learner.

        Raises:
            BundleError: If the bundle is damaged, altered or of an unknown version.
            StoreError: If the store belongs to another backbone, is damaged, or is being written to.
            BackendError: If the runtime cannot load the backbone, or computes something else than the bundle promises.
            MissingExtraError: If no runtime that fits is installed.
        """
        if new_classes not in ("add", "refuse"):
            raise InputError(f"expected new_classes to be 'add' or 'refuse', found {new_classes!r}.")
        bundle = Bundle(path)
        try:
            bound = stored_binding(store)
            chosen = choose_runtime(bundle, runtime, bound.variant)
            manifest = bundle.manifest
            embedder = load_backbone(bundle.backbone(chosen), chosen, manifest.input, manifest.width, threads)
            # Before a store is made and bound to this variant: the remedy may be another one.
            conformed = check_conformance(bundle, chosen, embedder, bound.conformed)
            opened = Store(store, bundle.variant(chosen).hash, manifest.width, manifest.classes, timeout)
            try:
                if opened.conformed != conformed:
                    opened.conformed = conformed
                return cls(bundle, chosen, embedder, opened, new_classes)
            except BaseException:
                opened.close()
                raise
        except BaseException:
            bundle.close()
            raise

    @property
    def runtime(self) -> str:
        """Name and version of the inference runtime in use."""
        return self._embedder.description

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes, shipped ones first, then in the order in which they were added."""
        return tuple(self._store.classes().values())

    @property
    def samples(self) -> tuple[int, int]:
        """Number of stored samples, and how many of them are labelled."""
        return self._store.count()

    def predict(self, frames: ArrayLike) -> Prediction:
        """Classify frames.

        Args:
            frames: ``(n, *shape)`` raw samples as the bundle declares them, or one without the first axis.

        Returns:
            The prediction.

        Raises:
            InputError: If the frames do not fit, or if there is no head yet.
        """
        checked = check_frames(frames, self._bundle.manifest.input)
        state = self._state
        if state is None:
            raise InputError("expected a head to predict with, found none: observe labelled samples and adapt() first.")
        head, names = state
        size = self._batch
        chunks = [self._embedder.embed(checked[i : i + size]) for i in range(0, len(checked), size)]
        latents = self._code.clip(chunks[0] if len(chunks) == 1 else np.concatenate(chunks))
        probabilities = head.probabilities(latents)
        return Prediction(np.array(names)[probabilities.argmax(axis=1)], probabilities, names)

    def observe(
        self,
        frames: ArrayLike,
        labels: Labels | None = None,
        *,
        tags: Sequence[str | None] | None = None,
        keys: Sequence[str | None] | None = None,
        on_duplicate: Literal["refuse", "skip", "relabel"] = "refuse",
        progress: Progress | None = None,
    ) -> Ids:
        """Run the backbone once per frame and store the latents. All of them are stored, or none.

        Args:
            frames: ``(n, *shape)`` raw samples, or one without the first axis.
            labels: ``n`` class names, None for a frame without; a whole number stands for its decimal name.
            tags: ``n`` groups, for example the person a frame shows.
            keys: ``n`` names by which the application finds its own frames again.
            on_duplicate: What to do with a frame that is stored already, byte for byte: refuse the call, skip the
                frame and return the id that it has, or do so and give it the label of this call.
            progress: Called with the number of frames done and of all.

        Returns:
            ``(n,) int64`` sample ids.

        Raises:
            InputError: If frames, labels, tags or keys do not fit.
            DuplicateSampleError: If a frame is stored already, or occurs twice.
            LabelError: If a label is unknown and new classes are refused.
            StoreError: If the store cannot be written.
        """
        if on_duplicate not in ("refuse", "skip", "relabel"):
            raise InputError(f"expected on_duplicate to be 'refuse', 'skip' or 'relabel', found {on_duplicate!r}.")
        checked = check_frames(frames, self._bundle.manifest.input)
        n = len(checked)
        names = check_labels([None] * n if labels is None else labels, n)
        some_tags, some_keys = check_texts(tags, n, "tags"), check_texts(keys, n, "keys")
        self._check_known(names)
        digests = [self._store.digest(frame) for frame in checked]
        new, stored = self._store.unstored(digests, refuse=on_duplicate == "refuse")
        codes = np.empty((len(new), self._bundle.manifest.width), np.uint8)
        for i in range(0, len(new), self._batch):
            rows = new[i : i + self._batch]
            chunk = checked[i : i + len(rows)] if len(new) == n else checked[rows]
            codes[i : i + len(rows)] = self._code.encode(self._embedder.embed(chunk))
            if progress is not None:
                progress(i + len(rows), len(new))
        again = [i for i in range(n) if on_duplicate == "relabel" and names[i] is not None and digests[i] in stored]
        with self._store.transaction():
            ids = self._class_ids([names[i] for i in new + again])
            added = self._store.add(
                codes,
                ids[: len(new)],
                [digests[i] for i in new],
                [some_keys[i] for i in new],
                [some_tags[i] for i in new],
            )
            self._store.label([stored[digests[i]] for i in again], ids[len(new) :])
        places = dict(zip((digests[i] for i in new), added.tolist(), strict=True)) | stored
        return np.array([places[digest] for digest in digests], np.int64)

    def label(self, ids: Sequence[int] | Ids, labels: Labels) -> None:
        """Label or relabel stored samples; None takes a label away.

        Args:
            ids: ``n`` sample ids.
            labels: ``n`` class names, or None.

        Raises:
            InputError: If an id is not stored.
            LabelError: If a label is unknown and new classes are refused.
        """
        samples = check_ids(ids)
        names = check_labels(labels, len(samples))
        self._check_known(names)
        with self._store.transaction():
            self._store.label(samples, self._class_ids(names))

    def adapt(
        self, *, on_insufficient: Literal["keep", "apply"] | None = None, progress: Progress | None = None
    ) -> Report:
        """Choose, fit and judge a head on the labelled samples, and use it if it is no worse.

        Args:
            on_insufficient: What to do when the held-out samples are too few to tell whether the candidate is better:
                keep the head in use, or apply the candidate all the same. By default a shipped head is kept, since it
                takes evidence to leave it, and one that was adapted here is refreshed with the samples that have come.
            progress: Called with the number of cross-validation folds done and of all.

        Returns:
            The report: what was decided and why.

        Raises:
            LabelError: If fewer than two classes are labelled.
            NotEnoughSamplesError: If there are fewer labelled samples than classes.
            StoreError: If the new version cannot be stored; the head in use stays.
        """
        if on_insufficient not in ("keep", "apply", None):
            raise InputError(f"expected on_insufficient to be 'keep', 'apply' or None, found {on_insufficient!r}.")
        return self._adapt(on_insufficient, None, progress)

    def fit(self, x: ArrayLike, y: Labels) -> Self:
        """Observe labelled frames and adapt to everything stored: scikit-learn's spelling.

        The candidate is applied unless held-out samples speak against it. Stored samples stay; frames that are stored
        already are not stored twice, and take the label given now.

        Args:
            x: ``(n, *shape)`` raw samples.
            y: ``n`` class names.

        Returns:
            The learner itself.
        """
        self.observe(x, y, on_duplicate="relabel")
        self._adapt("apply", None, None)
        return self

    def partial_fit(self, x: ArrayLike, y: Labels) -> Self:
        """Observe labelled frames and refit the head in use with the setting it has, without a search.

        Args:
            x: ``(n, *shape)`` raw samples.
            y: ``n`` class names.

        Returns:
            The learner itself.
        """
        self.observe(x, y, on_duplicate="relabel")
        self._adapt("apply", self._last_setting(), None)
        return self

    def score(self, x: ArrayLike, y: Labels) -> float:
        """Return the share of frames that are classified right.

        Args:
            x: ``(n, *shape)`` raw samples.
            y: ``n`` class names.
        """
        names = check_labels(y, len(check_frames(x, self._bundle.manifest.input)))
        return float(np.mean(self.predict(x).labels == np.array(names)))

    def versions(self) -> list[Version]:
        """Return the history, oldest first; number 0 is the shipped head."""
        current = self._store.current
        entries = [Version(0, current == 0, 0.0, "as shipped" if self._shipped_head() else "no head was shipped")]
        for stored in self._store.versions():
            summary = str(self._kept(stored).get("summary", ""))
            entries.append(Version(stored.id, stored.id == current, stored.time, summary))
        return entries

    def rollback(self, number: int | None = None) -> int:
        """Use an earlier version again. Samples and later versions stay.

        Args:
            number: The version to use; by default the one before the one in use.

        Returns:
            The number of the version now in use.

        Raises:
            InputError: If there is no such version.
        """
        with self._adapting:
            numbers = [version.number for version in self.versions()]
            current = self._store.current
            earlier = [n for n in numbers if n < current]
            if number is None and not earlier:
                raise InputError("expected an earlier version to roll back to, found that the shipped head is in use.")
            target = earlier[-1] if number is None else number
            if isinstance(target, bool) or not isinstance(target, int | np.integer) or target not in numbers:
                raise InputError(f"expected one of the versions {numbers}, found {number!r}. See versions().")
            target = int(target)
            state = self._load_head(target)
            self._store.current = target
            self._state = state
        return target

    def close(self) -> None:
        """Close store and bundle. Closing twice is allowed."""
        self._store.close()
        self._bundle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _adapt(self, on_insufficient: str | None, only: Setting | None, progress: Progress | None) -> Report:
        with self._adapting:
            begun = time.perf_counter()
            # Another process may have committed or rolled back.
            version, self._state = self._store.current, self._load_head()
            if on_insufficient is None:
                on_insufficient = "apply" if version else "keep"
            names = self._store.classes()
            samples = self._store.labelled()
            source = self._bundle.source(self._runtime)
            shipped = Shipped(
                len(self._bundle.manifest.classes),
                self._code,
                self._bundle.head(self._runtime),
                None if source is None else SourceStatistics.from_arrays(source),
            )
            current = None if self._state is None else self._state[0]
            candidate = adapt(samples, shipped, current, names, HEADS, only, progress)
            judgement = candidate.judgement
            applied = judgement.verdict == "accepted" or (
                judgement.verdict == "insufficient" and on_insufficient == "apply"
            )
            reason = judgement.reason
            if judgement.verdict == "insufficient":
                reason += " Applied all the same." if applied else " The head in use stays."
            present = set(samples.classes.tolist())
            unjudged = tuple(names[int(i)] for i in candidate.head.classes if int(i) not in present)
            if unjudged:
                reason += f" No sample tells how well it knows {', '.join(unjudged[:5])} here."
            report = Report(
                applied=applied,
                version=version,
                judgement=judgement,
                reason=reason,
                before=candidate.before,
                after=candidate.after,
                samples=len(samples.ids),
                unjudged=unjudged,
                classes=tuple(names[int(i)] for i in candidate.head.classes),
                chosen=candidate.selection.best,
                trials=candidate.selection.trials,
                folds=candidate.selection.folds,
                seconds=time.perf_counter() - begun,
            )
            if applied:
                kept = json.dumps(
                    {"summary": str(report), "setting": asdict(report.chosen.setting), **_figures(report)}
                )
                version = self._store.add_version(kept, candidate.head.to_bytes())
                self._state = self._load_head()
            _log.info("%s", report)
            return replace(report, version=version, seconds=time.perf_counter() - begun)

    def _check_known(self, names: Sequence[str | None]) -> None:
        if self._new_classes == "add":
            return
        known = set(self._store.classes().values())
        unknown = sorted({name for name in names if name is not None and name not in known})
        if unknown:
            raise LabelError(
                f"expected labels among the classes {sorted(known)[:20]}, found {unknown[:5]}. "
                f"Correct them, or open with new_classes='add'."
            )

    def _class_ids(self, names: Sequence[str | None]) -> list[int | None]:
        self._store.add_classes(list(dict.fromkeys(name for name in names if name is not None)))
        ids = {name: number for number, name in self._store.classes().items()}
        return [None if name is None else ids[name] for name in names]

    def _shipped_head(self) -> LinearLayer | None:
        return self._bundle.head(self._runtime)

    def _load_head(self, number: int | None = None) -> tuple[LinearHead, tuple[str, ...]] | None:
        """Return a version's head, by default the one in use, with the names of its rows."""
        number = self._store.current if number is None else number
        if number == 0:
            layer = self._shipped_head()
            if layer is None:
                return None
            head = LinearHead(layer, np.arange(len(layer.bias)))
        else:
            content = self._store.version(number).head
            head = LinearHead.from_bytes(content, self._bundle.manifest.width, f"{self._store.name}: version {number}")
        names = self._store.classes()
        if not set(head.classes.tolist()) <= names.keys():
            raise StoreCorruptError(_DAMAGED.format(self._store.name, number, "classes without a name"))
        return head, tuple(names[int(i)] for i in head.classes)

    def _last_setting(self) -> Setting | None:
        number = self._store.current
        if number == 0:
            return None
        kept = self._kept(self._store.version(number))["setting"]
        prior: Prior = "shipped" if kept["prior"] == "shipped" else "none"
        return Setting(str(kept["head"]), float(kept["regularisation"]), float(kept["source_weight"]), prior)

    def _kept(self, stored: StoredVersion) -> dict[str, Any]:
        """Return what was written down when a version was made."""
        try:
            return dict(json.loads(stored.report))
        except (ValueError, TypeError) as error:
            raise StoreCorruptError(_DAMAGED.format(self._store.name, stored.id, f"that {error}")) from error


def _figures(report: Report) -> dict[str, object]:
    plain = report.to_dict()
    return {name: plain[name] for name in ("judgement", "reason", "before", "after", "samples", "classes", "seconds")}
