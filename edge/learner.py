"""The device API: open a bundle, predict, observe, adapt."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from .checks import (
    Labels,
    check_frames,
    check_ids,
    check_labels,
    check_once,
    check_progress,
    check_threads,
    check_timeout,
)
from .classes import Classes
from .embedding import OnDuplicate
from .head import Ids
from .observing import check_known, class_ids, observe
from .results import Forgotten, Prediction, Version
from .runtime.runtime import RuntimeChoice
from .session import Session, open_session
from .task_session import LOOK_SECONDS

if TYPE_CHECKING:
    from ..key_files import PrivateKeySource, PublicKeySource
    from .adaptation.budget import Estimate
    from .adaptation.report import Report
    from .alignment.report import AlignReport, Method
    from .alignment.shift import ShiftTest
    from .labelling import Suspect
    from .suggest import Strategy

Progress = Callable[[int, int], None]
Path = str | os.PathLike[str]


class Learner:
    """An opened bundle with its local store and the head in use. Make one with `Learner.open`; close it, or use `with`.

    `predict` and `score` may be called from several threads, also while `adapt` runs here or in another process: each
    call uses the head that was committed last; `predict` may be 10 ms behind what another learner committed.
    """

    def __init__(self, session: Session, new_classes: str) -> None:
        self._session, self._new_classes = session, new_classes

    @classmethod
    def open(
        cls,
        path: Path,
        store: Path | None = None,
        *,
        new_classes: Literal["add", "refuse"] = "add",
        threads: int | None = None,
        runtime: RuntimeChoice = "auto",
        timeout: float = 5.0,
        max_bytes: float | None = None,
        trusted_keys: "Sequence[PublicKeySource] | PublicKeySource | None" = None,
    ) -> Self:
        """Open a bundle, and resume from its store.

        Args:
            path: The bundle.
            store: SQLite file that keeps samples and versions, made if it is not there; None keeps them in memory only.
            new_classes: Whether labels that no class has yet add a class, or are refused.
            threads: Threads of the inference runtime, 1 to 1,024; None uses every core that this process may use.
            runtime: ``"onnx"``, ``"tflite"`` or ``"auto"``: what the store was made with, else what is installed.
            timeout: Seconds to wait while another process writes to the store, 0 to a day.
            max_bytes: Bound on the size of the store, kept from then on; beyond it, samples of the largest classes give
                way at random (a class-balanced reservoir). None keeps the bound that there is, `math.inf` lifts it.
            trusted_keys: Public keys (Ed25519: 32 raw bytes, hexadecimal or Base64 text, PEM text or a file): then
                the bundle, and every update applied later, must be signed by one of them.

        Returns:
            The learner.

        Raises:
            InputError: If an option is none of those that there are.
            BundleError: If the bundle is damaged, altered or of an unknown version.
            SignatureError: If the bundle is not signed by a trusted key.
            StoreError: If the store belongs to another backbone, is damaged, or is being written to.
            BackendError: If the runtime cannot load the backbone, or computes something else than the bundle promises.
            MissingExtraError: If no runtime that fits is installed.
        """
        if new_classes not in ("add", "refuse"):
            raise InputError(f"expected new_classes to be 'add' or 'refuse', found {new_classes!r}.")
        threads, timeout = check_threads(threads), check_timeout(timeout)
        return cls(open_session(path, store, threads, runtime, timeout, max_bytes, trusted_keys), new_classes)

    @property
    def runtime(self) -> str:
        """Name and version of the inference runtime in use."""
        return self._session.embedder.description

    @property
    def classes(self) -> Classes:
        """The classes: a sequence of names that can be added to, renamed, merged, split, removed and frozen."""
        return Classes(self._session)

    @property
    def samples(self) -> tuple[int, int]:
        """Number of stored samples, and how many of them are labelled."""
        return self._session.store.count()

    def predict(self, frames: ArrayLike) -> Prediction:
        """Classify frames.

        What this learner has changed counts at once, what another one has, here or in another process, within 10 ms.

        Args:
            frames: ``(n, *shape)`` raw samples as the bundle declares them, or one without the first axis.

        Returns:
            The prediction.

        Raises:
            InputError: If the frames do not fit, or if there is no head yet.
        """
        session = self._session
        checked = check_frames(frames, session.bundle.manifest.input)
        now = session.in_use(LOOK_SECONDS)
        if now is None:
            raise InputError("expected a head to predict with, found none: observe labelled samples and adapt() first.")
        return now.predict_frames(session, checked)

    def observe(
        self,
        frames: ArrayLike,
        labels: Labels | None = None,
        *,
        tags: Sequence[str | None] | None = None,
        keys: Sequence[str | None] | None = None,
        on_duplicate: OnDuplicate = "refuse",
        progress: Progress | None = None,
    ) -> Ids:
        """Run the backbone once per frame and store the latents. All of them are stored, or none.

        A call that was killed midway and is made again does not embed again what it had embedded.

        Args:
            frames: ``(n, *shape)`` raw samples, or one without the first axis.
            labels: ``n`` class names, None for a frame without; a whole number stands for its decimal name.
            tags: ``n`` groups, for example the person a frame shows: to forget by, and kept together in
                cross-validation.
            keys: ``n`` names by which the application finds its own frames again.
            on_duplicate: What to do with a frame that is stored already, byte for byte: refuse the call, skip the
                frame and return the id that it has, or do so and give it the label of this call.
            progress: Called with the number of frames done and of all; what it raises ends the call.

        Returns:
            ``(n,) int64`` sample ids. In a bounded store, -1 for a sample that had to give way at once.

        Raises:
            InputError: If frames, labels, tags or keys do not fit.
            DuplicateSampleError: If a frame is stored already, or occurs twice.
            LabelError: If a label is unknown and new classes are refused.
            StoreError: If the store cannot be written.
        """
        return observe(
            self._session, frames, labels, tags, keys, on_duplicate, progress, refuse=self._new_classes == "refuse"
        )

    def label(self, ids: Sequence[int] | Ids, labels: Labels) -> None:
        """Label or relabel stored samples; None takes a label away.

        Args:
            ids: ``n`` sample ids.
            labels: ``n`` class names, or None.

        Raises:
            InputError: If an id is not stored.
            LabelError: If a label is unknown and new classes are refused, or a sample is given two labels.
        """
        store, samples = self._session.store, check_ids(ids)
        names = check_labels(labels, len(samples))
        check_once(samples, names)
        if self._new_classes == "refuse":
            check_known(store, names)
        with store.transaction():
            store.label(samples, class_ids(store, names))

    def adapt(
        self,
        *,
        on_insufficient: Literal["keep", "apply"] | None = None,
        class_weight: Mapping[str, float] | None = None,
        sample_weight: Mapping[int, float] | None = None,
        max_seconds: float | None = None,
        max_memory_mb: float | None = None,
        max_forgetting: float | None = None,
        tail: Literal["auto"] | bool = "auto",
        progress: Progress | None = None,
    ) -> "Report":
        """Choose, fit and judge a head on the labelled samples, and use it if it is no worse.

        Where the bundle has a tail, its last blocks can be trained too, on the stored maps. That takes minutes rather
        than seconds. The tail takes the head's place if it does better on held-out samples by more than chance.

        Args:
            on_insufficient: What to do when the held-out samples are too few to tell whether the candidate is better:
                keep the head in use, or apply the candidate all the same. By default a shipped head is kept, since it
                takes evidence to leave it, and one that was adapted here is refreshed with the samples that have come.
            class_weight: Weights of classes by name, on top of equal ones; 1 for those left out. Mistakes weigh so in
                fitting, in choosing, and where the candidate is compared with the head in use.
            sample_weight: Weights of samples by id; 1 for those left out. They weigh in the same places.
            max_seconds: Time that the search may take, in seconds. Fewer settings are tried where it is short.
            max_memory_mb: Working memory that it may take, in MB (10^6 bytes), on top of what the process has.
            max_forgetting: Points of accuracy, 0 to 100, that the candidate may lose against the shipped head on a
                probe drawn from the source statistics; by default 10, and as many more as it gains here. A tail cannot
                be asked about the source: it is held near the shipped one while it is trained.
            tail: Whether to train the last blocks: ``"auto"`` where the best head stays well below what the model is at
                home, more samples hardly help and every class has samples here; for at most ten minutes unless
                `max_seconds` says otherwise.
            progress: Called with the number of steps done and of all, of the search for a head and then of the tail's
                training; what it raises ends the call, and nothing is changed.

        Returns:
            The report: what was decided and why.

        Raises:
            InputError: If an option is none of those that there are, or a tail is asked for that the bundle lacks.
            LabelError: If fewer than two classes are labelled, or a weight is for no class.
            NotEnoughSamplesError: If there are fewer labelled samples than classes.
            BudgetError: If the least that can be done takes more than the time or memory allowed.
            StoreError: If the new version cannot be stored; the head in use stays.
        """
        if on_insufficient not in ("keep", "apply", None):
            raise InputError(f"expected on_insufficient to be 'keep', 'apply' or None, found {on_insufficient!r}.")
        check_progress(progress)
        # Imported where it is needed: a device that only predicts starts sooner.
        from .adaptation.run import run
        from .adaptation.wishes import Wishes

        return run(
            self._session,
            Wishes(
                on_insufficient=on_insufficient,
                class_weight=class_weight,
                sample_weight=sample_weight,
                max_seconds=max_seconds,
                max_memory_mb=max_memory_mb,
                max_forgetting=max_forgetting,
            ),
            progress,
            tail,
        )

    def align(self, *, method: "Method" = "auto", ids: Sequence[int] | Ids | None = None) -> "AlignReport":
        """Fit the shipped head to this place without labels, and use it if the evidence is for it.

        Args:
            method: ``"auto"`` moves the head in four ways that assume different things, and takes their mean where they
                agree; ``"coral"`` and ``"prototypes"`` take one of them; ``"label-shift"`` changes biases only, for
                classes that occur more or less often here: it raises accuracy over the samples as they come, and not
                that in which each class counts the same.
            ids: The samples to align with; by default all that are stored. Labels are used to judge, not to align.

        Returns:
            The report: what was decided and why. `rollback` undoes what was applied.

        Raises:
            InputError: If there is no such method or sample, the bundle has no head or no source statistics, or the
                head in use was fitted to labels or comes from an update.
            NotEnoughSamplesError: If there are fewer than 20 samples, or nearly all of them are alike.
            StoreError: If the new version cannot be stored; the head in use stays.
        """
        from .alignment.run import run

        return run(self._session, method, ids)

    def shift(
        self,
        ids: Sequence[int] | Ids | None = None,
        *,
        reference: Sequence[int] | Ids | None = None,
        level: float = 0.05,
        seed: int = 0,
    ) -> "ShiftTest":
        """Test whether stored samples differ from the source, or from other stored samples: then adaptation is due.

        Args:
            ids: The samples to test; by default all that are stored, but for those referred to.
            reference: Stored samples to compare with, for example those of the first week: by the maximum mean
                discrepancy and a permutation test. By default the statistics of the source.
            level: Share of false alarms, above 0 and below 1, where samples are independent of each other but for
                near-duplicates and samples of one tag.
            seed: Draws the permutations.

        Returns:
            The verdict.

        Raises:
            InputError: If an id is not stored, the level is out of range, or the bundle has no source statistics.
            NotEnoughSamplesError: If there are fewer than 20 samples on a side, or nearly all of them are alike.
        """
        from .alignment.drift import shift

        return shift(self._session, ids, reference, level, seed)

    def estimate(self, samples: int | None = None) -> "Estimate":
        """Tell what adapting will cost, before it is done.

        Args:
            samples: Number of labelled samples to reckon with; by default those that are stored.

        Returns:
            Seconds, peak memory and bytes on disk.
        """
        from .adaptation.budget import estimate

        return estimate(self._session, samples)

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
        from .adaptation.run import run
        from .adaptation.wishes import Wishes

        self.observe(x, y, on_duplicate="relabel")
        run(self._session, Wishes(on_insufficient="apply"))
        return self

    def partial_fit(self, x: ArrayLike, y: Labels) -> Self:
        """Observe labelled frames and refit the head in use with the setting it has, without a search.

        Args:
            x: ``(n, *shape)`` raw samples.
            y: ``n`` class names.

        Returns:
            The learner itself.
        """
        from .adaptation.run import last_setting, run
        from .adaptation.wishes import Wishes

        self.observe(x, y, on_duplicate="relabel")
        now = self._session.in_use()
        tail = now is not None and now.tail is not None
        run(self._session, Wishes(on_insufficient="apply", only=last_setting(self._session)), tail=tail)
        return self

    def score(self, x: ArrayLike, y: Labels) -> float:
        """Return the share of frames that are classified right.

        Args:
            x: ``(n, *shape)`` raw samples.
            y: ``n`` class names.
        """
        names = check_labels(y, len(check_frames(x, self._session.bundle.manifest.input)))
        # Unlike a prediction, a score is never behind what other learners have committed.
        self._session.in_use()
        return float(np.mean(self.predict(x).labels == np.array(names)))

    def forget(
        self, ids: Sequence[int] | Ids | None = None, *, label: str | None = None, tag: str | None = None
    ) -> Forgotten:
        """Forget samples exactly: by id, by label or by tag.

        Their latents and labels are erased from the store's files, and with them every version that was trained on one
        of them. If the head in use was, the next use fits anew what is left, as if the samples had never been there.

        Args:
            ids: Sample ids.
            label: Name of a class whose samples are forgotten; the class stays.
            tag: A tag.

        Returns:
            How many samples and versions are gone, and whether their bytes are erased already.

        Raises:
            InputError: If not exactly one of the three is given, or an id is not stored.
            LabelError: If there is no such class.
            StoreError: If the store cannot be written.
        """
        from .forgetting import forget

        return forget(self._session, ids, label, tag)

    def suggest(self, n: int, strategy: "Strategy" = "margin") -> Ids:
        """Tell which unlabelled samples to label next.

        Args:
            n: How many at most.
            strategy: ``"margin"``, ``"least-confidence"``, ``"entropy"`` (of the head in use) or ``"k-centre"``
                (far from all that is labelled; needs no head).

        Returns:
            At most ``(n,) int64`` sample ids, the most useful first.
        """
        from .labelling import suggest_samples

        return suggest_samples(self._session, n, strategy)

    def suspects(self) -> "tuple[Suspect, ...]":
        """Find samples that are probably labelled wrong, by what cross-validation says of them.

        Returns:
            The suspects, the surest first.

        Raises:
            LabelError: If fewer than two classes are labelled.
        """
        from .labelling import find_suspects

        return find_suspects(self._session)

    def keys(self, ids: Sequence[int] | Ids) -> list[str | None]:
        """Return the keys under which `observe` was given samples; None for one without.

        Args:
            ids: Sample ids.

        Raises:
            InputError: If an id is not stored.
        """
        return self._session.store.keys_of(check_ids(ids))

    def versions(self) -> list[Version]:
        """Return the history, oldest first; number 0 is the shipped head."""
        from .history import history

        return history(self._session)

    def rollback(self, number: int | None = None) -> int:
        """Use an earlier version again. Samples and later versions stay.

        Args:
            number: The version to use; by default the one before the one in use.

        Returns:
            The number of the version now in use.

        Raises:
            InputError: If there is no such version.
        """
        from .history import rollback

        return rollback(self._session, number)

    def export(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the complete adapted model: raw frames in, probabilities out, for any runtime.

        Args:
            path: A file ending in ``.onnx`` or ``.tflite``, as the runtime in use.
            overwrite: Replace a file that is there.

        Raises:
            InputError: If the ending is another one, or there is no head yet.
            OutputExistsError: If the file is there.
        """
        from .exporting import export

        export(self._session, path, overwrite=overwrite)

    def save_update(
        self,
        path: Path,
        *,
        key: "PrivateKeySource | None" = None,
        number: int | None = None,
        overwrite: bool = False,
    ) -> int:
        """Write the head in use as an update for other devices with the same backbone.

        Args:
            path: The file; the suffix ``.accu`` is usual.
            key: Private key (Ed25519) to sign with: PEM text, or the path of its file.
            number: Orders updates: a device takes only one above the last that it took. By default the seconds since
                1970, or one more than the last update applied here.
            overwrite: Replace a file that is there.

        Returns:
            The update's number, which orders updates.

        Raises:
            InputError: If there is no head yet.
            OutputExistsError: If the file is there.
            StoreBusyError: If another process writes to the store for longer than the timeout.
        """
        from .updating import save_update

        return save_update(self._session, path, key, number, overwrite=overwrite)

    def apply_update(self, path: Path) -> int:
        """Use the head of an update; `rollback` goes back.

        Classes that are new here are added, unless new classes are refused. A shipped class that was renamed, merged or
        removed here stays so.

        Args:
            path: The file.

        Returns:
            The number of the new version.

        Raises:
            UpdateError: If it is damaged, for another backbone, not newer than the last one applied, trained here on
                samples that were forgotten since, or for classes that are refused.
            SignatureError: If the learner was opened with trusted keys, and none of them signed it.
        """
        from .updating import apply_update

        return apply_update(self._session, path, refuse=self._new_classes == "refuse")

    def close(self) -> None:
        """Close store and bundle. Closing twice is allowed."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
