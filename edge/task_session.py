"""What an opened learner works with: bundle, backbone, store, and the head in use."""

import json
import math
import os
import threading
import time
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle, LinearLayer
from ..errors import InputError, StoreBusyError, StoreCorruptError, StoreError
from ..latent import Codes
from ..manifest import Runtime, Task
from .checks import check_path
from .head import Float32
from .runtime.conformance import check_conformance
from .runtime.runtime import Embedder, RuntimeChoice, choose_runtime, load_backbone, usable_cores
from .store.database import stored_binding
from .store.store import Store, StoredVersion, check_bound

if TYPE_CHECKING:
    from ..key_files import PublicKeySource
    from ..keys import PublicKey
    from ..tail_content import TailContent

# Bytes of frames that go through the backbone together. Whether larger ones (224 x 224, int8) gain by company changed
# from hour to hour on one machine, by up to a tenth of the time; each more of them in a batch costs the runtime its
# activations once more, some 12 MB. Small ones share a call's cost.
BATCH_BYTES, LARGEST_BATCH = 2**16, 32
DAMAGED = "{}: expected version {} as adapt() stored it, found {}. Restore the store from a copy, or start a new one."
# How often an adaptation begins anew because samples were forgotten meanwhile.
ATTEMPTS = 5
# Seconds until a refit that could not be stored is tried again.
RETRY_SECONDS = 5.0
# How far a prediction may be behind what another learner has committed, in seconds: to ask the store costs 40 us in the
# cold caches that a backbone leaves, which is more than 1 % of a small one's time.
LOOK_SECONDS = 0.01
H = TypeVar("H")


class Serving(Protocol[H]):
    """What an opened bundle serves, and how it is read: what depends on the task."""

    @property
    def task(self) -> Task:
        """The task that the bundle must have."""

    def load(self, session: "TaskSession[H]", number: int) -> H | None:
        """Read a version's head, ready to be used; None for number 0 where no head was shipped.

        Raises:
            StoreCorruptError: If the version is damaged.
        """

    def refit(self, session: "TaskSession[H]") -> None:
        """Put to use what a learner that never saw the forgotten samples would have."""


class TaskSession(Generic[H]):
    """An opened bundle with its backbone and store, and the head in use.

    Args:
        bundle: The bundle.
        runtime: The variant in use.
        embedder: Its backbone, loaded.
        store: The local store.
        serving: What is served.
        trusted: Keys of which one must have signed an update; None for any.
        threads: Threads of the runtime; None for every core that this process may use.
    """

    def __init__(
        self,
        bundle: Bundle,
        runtime: Runtime,
        embedder: Embedder,
        store: Store,
        serving: Serving[H],
        trusted: "tuple[PublicKey, ...] | None" = None,
        threads: int | None = None,
    ) -> None:
        self.bundle, self.runtime, self.embedder, self.store = bundle, runtime, embedder, store
        self.serving, self.trusted = serving, trusted
        self.threads = usable_cores() if threads is None else threads
        # What is served beside the backbone, once it has been loaded.
        self.loaded: object = None
        self.code, self.map_code = bundle.code(runtime), bundle.map_code(runtime)
        # One adaptation, rollback or forgetting at a time; reentrant, since a progress callback may call back.
        self.adapting = threading.RLock()
        spec = bundle.manifest.input
        frame = math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
        self.batch = min(max(BATCH_BYTES // frame, 1), LARGEST_BATCH)
        # When a refit that could not be stored is due again, by the monotonic clock; 0 if there is none.
        self._retry = 0.0
        self._closed = False
        # What the store held when the head in use was read: any commit, and what of it concerns the head.
        self._seen: tuple[Hashable, Hashable, H | None] = (None, None, None)
        self.in_use()

    @cached_property
    def shipped_head(self) -> LinearLayer | None:
        """The head that the bundle ships, read when it is first asked for; None if it ships none."""
        return self.bundle.head(self.runtime)

    @cached_property
    def tail(self) -> "TailContent | None":
        """What can be trained beyond a head, read when it is first asked for; None where the bundle has no tail."""
        return self.bundle.tail(self.runtime)

    def latents(self, frames: NDArray[np.generic]) -> Float32:
        """Embed checked frames ``(n, *shape)`` to ``(n, d) float32`` latents, within the range of the codes."""
        size = self.batch
        if len(frames) == 1:
            # Over rows alone numpy runs without an iterator, which costs as much as the work.
            return self.code.clip(self.embedder.embed(frames)[0])[np.newaxis]
        if len(frames) <= size:
            return self.code.clip(self.embedder.embed(frames))
        chunks = [self.embedder.embed(frames[i : i + size]) for i in range(0, len(frames), size)]
        return self.code.clip(np.concatenate(chunks))

    def latents_and_maps(self, frames: NDArray[np.generic]) -> tuple[Float32, Float32]:
        """Embed at most one batch of checked frames to latents ``(n, d)`` and maps ``(n, *shape) float32``, likewise.

        Raises:
            BackendError: If the bundle has no maps.
        """
        latents, maps = self.embedder.embed_with_maps(frames)
        return self.code.clip(latents), maps if self.map_code is None else self.map_code.clip(maps)

    def codes(self, frames: NDArray[np.generic]) -> Codes:
        """Embed at most one batch of checked frames to ``(n, width) uint8`` codes: of the latent, then of the map."""
        if self.map_code is None:
            return self.code.encode(self.embedder.embed(frames))
        latents, maps = self.embedder.embed_with_maps(frames)
        return np.concatenate([self.code.encode(latents), self.map_code.encode(maps)], 1)

    def in_use(self, within: float = 0.0) -> H | None:
        """Return the head in use, as last committed by any thread or process; None where there is none.

        Samples that were forgotten took their versions with them: then what is left is fitted first.

        Args:
            within: What other learners have committed since the store was last asked is not seen for so many seconds.
                Above 0 an adaptation in another thread is not waited for either: version 0 serves until it is done.

        Raises:
            StoreError: If it was closed.
        """
        if self._closed:
            raise StoreError(f"{self.store.name}: expected an open store, found that it was closed. Open it again.")
        stamp = self.store.stamp(within)
        seen, concerns, found = self._seen
        if stamp == seen and not (self._retry and time.monotonic() >= self._retry):
            return found
        if self.store.refit_pending and not self.store.read_only:
            # A prediction does not wait for a whole adaptation, unless there is nothing that could serve meanwhile.
            if self.adapting.acquire(blocking=not within or self.shipped_head is None):
                try:
                    self._refit()
                finally:
                    self.adapting.release()
            else:
                self._retry = time.monotonic() + within
            stamp = self.store.stamp()
        else:
            self._retry = 0.0
        # One state throughout: classes may change between two looks.
        with self.store.reading():
            # Samples come often, and versions and classes seldom: the head is read again only for these.
            now = (self.store.current, tuple(self.store.classes().items()), tuple(self.store.present().items()))
            if now != concerns:
                found = self.load()
        self._seen = (stamp, now, found)
        return found

    def _refit(self) -> None:
        """Fit what is left after forgetting, if nobody has done so by now."""
        if not self.store.refit_pending:
            return
        try:
            self.serving.refit(self)
            self._retry = 0.0
        except StoreError as error:
            self._retry = time.monotonic() + RETRY_SECONDS
            import logging

            # A full disk, or somebody who writes: what is left is fitted when that is over.
            message = "%s Version 0 serves until what is left can be fitted and stored."
            logging.getLogger(__name__).warning(message, error)

    def settle(self) -> None:
        """Where what is left after forgetting gives no head: go back along the versions that were in use.

        What was rolled back from, and what was trained on what is gone, is passed over.
        """
        with self.store.transaction():
            intact = {version.id for version in self.store.versions() if version.intact}
            self.store.current = max(intact.intersection(self.store.trail()), default=0)

    def commit(self, report: str, head: bytes, samples: NDArray[np.int64]) -> int | None:
        """Store a version that was trained on samples, and use it.

        Returns:
            Its number; None, and nothing is stored, where a sample is gone by now: what is forgotten trains nothing.
        """
        with self.store.transaction():
            if not self.store.holds(samples):
                return None
            version = self.store.add_version(report, head, samples=samples)
        self.in_use()
        return version

    def unsettled(self) -> StoreBusyError:
        """Return the error for samples that went each time while a head was fitted."""
        return StoreBusyError(
            f"{self.store.name}: expected samples that stay while a head is fitted, found that some were forgotten or "
            f"gave way in each of {ATTEMPTS} attempts. Adapt again when the store is at rest."
        )

    def load(self, number: int | None = None) -> H | None:
        """Read a version's head.

        Args:
            number: The version; None for the one in use. Where that is damaged, the last good one before it stands in,
                with a warning in the log.

        Returns:
            The head, or None for number 0 where no head was shipped.

        Raises:
            StoreCorruptError: If the version asked for is damaged.
        """
        if number is not None:
            return self.serving.load(self, number)
        current = self.store.current
        try:
            return self.serving.load(self, current)
        except StoreCorruptError as error:
            earlier = [number for number in self.store.trail() if number < current]
            for candidate in [*reversed(earlier), 0]:
                try:
                    found = self.serving.load(self, candidate)
                except StoreCorruptError:
                    continue
                import logging

                logging.getLogger(__name__).warning("%s Version %d serves instead.", error, candidate)
                return found
            raise

    def kept(self, stored: StoredVersion) -> dict[str, Any]:
        """Return what was written down when a version was made."""
        try:
            return dict(json.loads(stored.report))
        except (ValueError, TypeError) as error:
            raise StoreCorruptError(DAMAGED.format(self.store.name, stored.id, f"that {error}")) from error

    def close(self) -> None:
        """Close store and bundle. Closing twice is allowed."""
        self._closed = True
        self.store.close()
        self.bundle.close()


def open_task(
    path: str | os.PathLike[str],
    store: str | os.PathLike[str] | None,
    threads: int | None,
    runtime: RuntimeChoice,
    timeout: float,
    serving: Serving[H],
    max_bytes: float | None = None,
    trusted_keys: "Sequence[PublicKeySource] | PublicKeySource | None" = None,
) -> TaskSession[H]:
    """Open a bundle and its store. See `Learner.open`."""
    # Before anything is made.
    check_bound(max_bytes)
    check_path(path, "the bundle")
    if store is not None:
        check_path(store, "the store, or None")
    trusted = None
    if trusted_keys is not None:
        from ..key_files import load_trusted_keys

        trusted = load_trusted_keys(trusted_keys)
    bundle = Bundle(path)
    try:
        if trusted is not None:
            bundle.check_signature(trusted)
        if bundle.manifest.task != serving.task:
            other = {"classification": "Learner", "regression": "Regressor"}[bundle.manifest.task]
            raise InputError(
                f"{bundle.path.name}: expected a bundle for {serving.task}, found one for {bundle.manifest.task}. "
                f"Open it with {other}.open()."
            )
        bound = stored_binding(store, timeout)
        chosen = choose_runtime(bundle, runtime, bound.variant)
        manifest = bundle.manifest
        maps = bundle.map_code(chosen)
        shape = None if maps is None else maps.shape
        embedder = load_backbone(bundle.backbone(chosen), chosen, manifest.input, manifest.width, threads, shape)
        # Before a store is made and bound to this variant: the remedy may be another one.
        conformed = check_conformance(bundle, chosen, embedder, bound.conformed)
        opened = Store(
            store,
            bundle.variant(chosen).hash,
            manifest.width,
            manifest.classes,
            timeout,
            max_bytes,
            0 if maps is None else maps.size,
        )
        try:
            if opened.conformed != conformed:
                opened.conformed = conformed
            return TaskSession(bundle, chosen, embedder, opened, serving, trusted, threads)
        except BaseException:
            opened.close()
            raise
    except BaseException:
        bundle.close()
        raise
