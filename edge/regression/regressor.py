"""The device API for bundles whose task is regression: open, predict, observe, adapt."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ..checks import check_frames, check_ids, check_once, check_progress, check_threads, check_timeout
from ..embedding import OnDuplicate, embed_new
from ..results import Forgotten, Version
from ..runtime.runtime import RuntimeChoice
from ..task_session import LOOK_SECONDS, open_task
from .results import Regression
from .targets import Values, check_values
from .task import RegressionSession, RegressionTask

if TYPE_CHECKING:
    from ...key_files import PrivateKeySource, PublicKeySource
    from ..adaptation.budget import Estimate
    from .results import RegressionReport

Ids = NDArray[np.int64]
Progress = Callable[[int, int], None]
Path = str | os.PathLike[str]


class Regressor:
    """An opened regression bundle with its local store and the head in use: what `Learner` is for classes.

    Make one with `Regressor.open`; close it, or use `with`. `predict` and `score` may be called from several threads,
    also while `adapt` runs here or in another process: each call uses the head that was committed last; `predict`
    may be 10 ms behind what another learner committed.
    """

    def __init__(self, session: RegressionSession) -> None:
        self._session = session

    @classmethod
    def open(
        cls,
        path: Path,
        store: Path | None = None,
        *,
        threads: int | None = None,
        runtime: RuntimeChoice = "auto",
        timeout: float = 5.0,
        max_bytes: float | None = None,
        trusted_keys: "Sequence[PublicKeySource] | PublicKeySource | None" = None,
    ) -> Self:
        """Open a bundle, and resume from its store.

        Args:
            path: The bundle; its task is regression.
            store: SQLite file that keeps samples and versions, made if it is not there; None keeps them in memory only.
            threads: As for `Learner.open`.
            runtime: ``"onnx"``, ``"tflite"`` or ``"auto"``: what the store was made with, else what is installed.
            timeout: As for `Learner.open`.
            max_bytes: Bound on the size of the store, kept from then on; beyond it, samples give way at random. None
                keeps the bound that it has, `math.inf` lifts it.
            trusted_keys: As for `Learner.open`.

        Returns:
            The regressor.

        Raises:
            InputError: If the bundle's task is another one, or an option is none of those that there are.
            BundleError: If the bundle is damaged, altered or of an unknown version.
            SignatureError: If the bundle is not signed by a trusted key.
            StoreError: If the store belongs to another backbone, is damaged, or is being written to.
            BackendError: If the runtime cannot load the backbone, or computes something else than the bundle promises.
            MissingExtraError: If no runtime that fits is installed.
        """
        threads, timeout = check_threads(threads), check_timeout(timeout)
        return cls(open_task(path, store, threads, runtime, timeout, RegressionTask(), max_bytes, trusted_keys))

    @property
    def runtime(self) -> str:
        """Name and version of the inference runtime in use."""
        return self._session.embedder.description

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return self._session.bundle.manifest.classes

    @property
    def samples(self) -> tuple[int, int]:
        """Number of stored samples, and how many of them have a label."""
        return self._session.store.count()

    def predict(self, frames: ArrayLike) -> Regression:
        """Predict values for frames. What another learner has changed counts within 10 ms, as for `Learner.predict`.

        Args:
            frames: ``(n, *shape)`` raw samples as the bundle declares them, or one without the first axis.

        Returns:
            The values.

        Raises:
            InputError: If the frames do not fit, or if there is no head yet.
        """
        session = self._session
        checked = check_frames(frames, session.bundle.manifest.input)
        latents, now = session.latents(checked), session.in_use(LOOK_SECONDS)
        if now is None:
            raise InputError("expected a head to predict with, found none: observe labelled samples and adapt() first.")
        values, width = now.head.values(latents), now.head.interval
        return Regression(values, now.names, np.broadcast_to(width, values.shape) if len(width) else None)

    def observe(
        self,
        frames: ArrayLike,
        values: Values | None = None,
        *,
        tags: Sequence[str | None] | None = None,
        keys: Sequence[str | None] | None = None,
        on_duplicate: OnDuplicate = "refuse",
        progress: Progress | None = None,
    ) -> Ids:
        """Run the backbone once per frame and store the latents. All of them are stored, or none.

        Args:
            frames: ``(n, *shape)`` raw samples, or one without the first axis.
            values: ``(n,)`` numbers for one target or ``(n, t)`` for several; None or NaN for a sample without.
            tags: ``n`` groups, to forget by, and kept together in cross-validation.
            keys: ``n`` names by which the application finds its own frames again.
            on_duplicate: As for `Learner.observe`.
            progress: Called with the number of frames done and of all; what it raises ends the call.

        Returns:
            ``(n,) int64`` sample ids. In a bounded store, -1 for a sample that had to give way at once.

        Raises:
            InputError: If frames, values, tags or keys do not fit.
            DuplicateSampleError: If a frame is stored already, or occurs twice.
            StoreError: If the store cannot be written.
        """
        session = self._session
        checked = check_frames(frames, session.bundle.manifest.input)
        given = check_values(values, len(checked), self.targets)
        labelled = np.isfinite(given[:, 0])
        found = embed_new(session, checked, tags, keys, on_duplicate, progress)
        with session.store.transaction():
            ids = found.add(session.store, [None] * len(found.new))
            places = np.array(found.new + (found.again if on_duplicate == "relabel" else []), np.int64)
            places = places[labelled[places] & (ids[places] >= 0)]
            session.store.set_targets(ids[places], given[places])
        return ids

    def label(self, ids: Sequence[int] | Ids, values: Values) -> None:
        """Label or relabel stored samples; None takes a label away.

        Args:
            ids: ``n`` sample ids.
            values: As for `observe`.

        Raises:
            InputError: If an id is not stored.
            LabelError: If a value is no number, or a sample is given two labels.
        """
        samples = check_ids(ids)
        given = check_values(values, len(samples), self.targets)
        check_once(samples, [None if np.isnan(row).any() else tuple(row.tolist()) for row in given])
        self._session.store.set_targets(samples, given)

    def adapt(
        self,
        *,
        on_insufficient: Literal["keep", "apply"] | None = None,
        sample_weight: Mapping[int, float] | None = None,
        max_seconds: float | None = None,
        max_memory_mb: float | None = None,
        max_forgetting: float | None = None,
        progress: Progress | None = None,
    ) -> "RegressionReport":
        """Choose, fit and judge a head on the labelled samples, and use it if it is no worse.

        Args:
            on_insufficient: What to do when the held-out samples are too few to tell whether the candidate is better:
                keep the head in use, or apply the candidate all the same. By default a shipped head is kept, and one
                that was adapted here is refreshed.
            sample_weight: Weights of samples by id; 1 for those left out.
            max_seconds: Time that the search may take, in seconds. Fewer settings are tried where it is short.
            max_memory_mb: Working memory that it may take, in MB (10^6 bytes), on top of what the process has.
            max_forgetting: How much less well, of 0 to 1, the source's targets may follow from the candidate than from
                the shipped head, but for an offset and a scale; by default a tenth, and as much more as is gained here.
            progress: Called with the number of steps done and of all; what it raises ends the call, and nothing is
                changed.

        Returns:
            The report: what was decided and why.

        Raises:
            NotEnoughSamplesError: If fewer than three samples are labelled.
            BudgetError: If the least that can be done takes more than the time or memory allowed.
            StoreError: If the new version cannot be stored; the head in use stays.
        """
        if on_insufficient not in ("keep", "apply", None):
            raise InputError(f"expected on_insufficient to be 'keep', 'apply' or None, found {on_insufficient!r}.")
        check_progress(progress)
        # Imported where it is needed: a device that only predicts starts sooner.
        from ..adaptation.wishes import Wishes
        from .run import run

        return run(
            self._session,
            Wishes(
                on_insufficient=on_insufficient,
                sample_weight=sample_weight,
                max_seconds=max_seconds,
                max_memory_mb=max_memory_mb,
                max_forgetting=max_forgetting,
            ),
            progress,
        )

    def estimate(self, samples: int | None = None) -> "Estimate":
        """Tell what adapting will cost, before it is done. See `Learner.estimate`."""
        from .budget import estimate

        return estimate(self._session, samples)

    def fit(self, x: ArrayLike, y: Values) -> Self:
        """Observe labelled frames and adapt to everything stored: scikit-learn's spelling. See `Learner.fit`."""
        from ..adaptation.wishes import Wishes
        from .run import run

        self.observe(x, y, on_duplicate="relabel")
        run(self._session, Wishes(on_insufficient="apply"))
        return self

    def partial_fit(self, x: ArrayLike, y: Values) -> Self:
        """Observe labelled frames and refit with the setting in use, without a search. See `Learner.partial_fit`."""
        from ..adaptation.wishes import Wishes
        from .run import last_setting, run

        self.observe(x, y, on_duplicate="relabel")
        run(self._session, Wishes(on_insufficient="apply", only=last_setting(self._session)))
        return self

    def score(self, x: ArrayLike, y: Values) -> float:
        """Return the coefficient of determination, as scikit-learn's regressors do: the mean of R^2 over the targets.

        Args:
            x: ``(n, *shape)`` raw samples, at least two.
            y: ``(n,)`` or ``(n, t)`` values, all given.
        """
        # Unlike a prediction, a score is never behind what other learners have committed.
        self._session.in_use()
        found = self.predict(x).values
        given = check_values(y, len(found), self.targets)
        if len(given) < 2 or np.isnan(given).any():
            raise InputError(f"expected at least two samples, all with values, found {len(given)}. Leave others out.")
        left, whole = ((found - given) ** 2).sum(axis=0), ((given - given.mean(axis=0)) ** 2).sum(axis=0)
        # As scikit-learn has it where a target never changes.
        flat = np.where(left > 0, 0.0, 1.0)
        return float(np.where(whole > 0, 1 - left / np.where(whole > 0, whole, 1), flat).mean())

    def forget(self, ids: Sequence[int] | Ids | None = None, *, tag: str | None = None) -> Forgotten:
        """Forget samples exactly, by id or by tag. See `Learner.forget`."""
        from ..forgetting import forget

        return forget(self._session, ids, None, tag)

    def suggest(self, n: int) -> Ids:
        """Tell which unlabelled samples to label next: those far from all that is labelled.

        Args:
            n: How many at most.

        Returns:
            At most ``(n,) int64`` sample ids, the most useful first.
        """
        from ..suggest import suggest

        if isinstance(n, bool) or not isinstance(n, int | np.integer):
            raise InputError(f"expected a number of samples from 0 on, found {n!r}.")
        store = self._session.store
        unlabelled, (labelled, _) = store.unlabelled(), store.measured(len(self.targets))
        rows = suggest(int(n), codes=unlabelled.codes, labelled=labelled.codes, strategy="k-centre")
        chosen: Ids = unlabelled.ids[rows]
        return chosen

    def keys(self, ids: Sequence[int] | Ids) -> list[str | None]:
        """Return the keys under which `observe` was given samples; None for one without."""
        return self._session.store.keys_of(check_ids(ids))

    def versions(self) -> list[Version]:
        """Return the history, oldest first; number 0 is the shipped head."""
        from ..history import history

        return history(self._session)

    def rollback(self, number: int | None = None) -> int:
        """Use an earlier version again. See `Learner.rollback`."""
        from ..history import rollback

        return rollback(self._session, number)

    def export(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the complete adapted model: raw frames in, ``values (n, t) float32`` out. See `Learner.export`."""
        from ..exporting import export_values

        export_values(self._session, path, overwrite=overwrite)

    def save_update(
        self,
        path: Path,
        *,
        key: "PrivateKeySource | None" = None,
        number: int | None = None,
        overwrite: bool = False,
    ) -> int:
        """Write the head in use as an update for other devices with the same backbone. See `Learner.save_update`."""
        from .updating import save_update

        return save_update(self._session, path, key, number, overwrite=overwrite)

    def apply_update(self, path: Path) -> int:
        """Use the head of an update; `rollback` goes back. See `Learner.apply_update`."""
        from .updating import apply_update

        return apply_update(self._session, path)

    def close(self) -> None:
        """Close store and bundle. Closing twice is allowed."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
