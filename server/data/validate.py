"""Check data before anything is trained on it: every file is read once."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .report import DataReport, Finding, Level, listed
from .split import Data
from .survey import Survey, count_samples, survey

# The largest class in sizes of the smallest, above which a plain loss neglects the small one.
_IMBALANCE = 10
# Duplicates in a larger share of the validation samples make its score worthless.
_FEW_DUPLICATES = 0.01
_NAMED = 1_000


def validate_data(data: Data, *, progress: Callable[[int, int], None] | None = None) -> DataReport:
    """Read all samples once and look for what spoils training or its validation.

    Errors: what cannot be read, samples of other shapes, a class without training samples, a single class, groups
    in both parts, and duplicates in both parts (by their content; up to 1 % of the validation samples are a warning).
    Warnings: classes ten times as large as others or without validation samples, no labels, duplicates within the
    training part, and the same content under several labels. Of a target what can be read, and its shape.

    Args:
        data: From `load_data`.
        progress: Called with samples checked and samples in total.

    Returns:
        The findings; `DataReport.require_sound` raises if there are errors.
    """
    splits = [data.train] if data.validation is None else [data.train, data.validation]
    # Of a target only what can be read, its shape and content matter.
    splits += [split for split in (data.target, data.target_validation) if split is not None]
    total = sum(count_samples(split) for split in splits)
    parts: list[Survey] = []
    for split in splits:
        done = sum(len(part.names) for part in parts)
        step = (lambda n: None) if progress is None else _Step(progress, done, total)
        parts.append(survey(split, data.shape, step))
    train, validation = parts[0], Survey() if data.validation is None else parts[1]
    counts = _class_counts(data, train, validation)
    findings = [
        *_unreadable(parts, data.shape),
        *_classes(counts, data, validation),
        *_leakage(data),
        *_duplicates(train, validation),
    ]
    findings.sort(key=lambda finding: finding.level != "error")
    # By place: what is not there has the content of no sample.
    if data.target is not None and data.validation is None:
        parts.insert(1, validation)
    contents = tuple(_content(part) for part in parts)
    return DataReport((len(train.names), len(validation.names)), counts, tuple(findings), contents)


@dataclass(frozen=True)
class _Step:
    """Tells how many samples of both parts are checked."""

    progress: Callable[[int, int], None]
    before: int
    total: int

    def __call__(self, done: int) -> None:
        self.progress(self.before + done, self.total)


def _class_counts(data: Data, train: Survey, validation: Survey) -> dict[str, tuple[int, int]]:
    first, second = Counter(train.labels), Counter(validation.labels)
    return {name: (first[place], second[place]) for place, name in enumerate(data.classes)}


def _content(part: Survey) -> str:
    found = hashlib.blake2b(digest_size=16)
    for digest in part.digests:
        # What cannot be read counts as a sample without content.
        found.update(digest or bytes(16))
    return found.hexdigest()


def _unreadable(parts: Sequence[Survey], shape: tuple[int, ...]) -> Iterator[Finding]:
    messages = {name: message for part in parts for name, message in part.unreadable.items()}
    if messages:
        names = tuple(messages)
        first = next(iter(messages.values()))
        more = f" So are {listed(names[1:])}." if len(names) > 1 else ""
        yield _finding("error", "unreadable", f"{first}{more}", names)
    shapes = {name: other for part in parts for name, other in part.shapes.items()}
    if shapes:
        name, other = next(iter(shapes.items()))
        more = f", and others in {len(shapes) - 1:,} more samples" if len(shapes) > 1 else ""
        yield _finding(
            "error",
            "shape",
            f"{name}: expected samples of one shape, {shape} as the first, found {other}{more}. Set data.size, or make "
            f"them alike.",
            tuple(shapes),
        )


def _classes(counts: dict[str, tuple[int, int]], data: Data, validation: Survey) -> Iterator[Finding]:
    if not counts:
        yield _finding(
            "warning", "unlabelled", "no sample has a label: only self-supervised objectives can use them.", ()
        )
        return
    empty = tuple(name for name, (n, _) in counts.items() if not n)
    if empty:
        yield _finding(
            "error",
            "empty",
            f"expected training samples of every class, found none of {listed(empty)}. Add some, or take "
            "the class out.",
            empty,
        )
    elif len(counts) == 1:
        only = tuple(counts)
        yield _finding(
            "error",
            "single",
            f"expected training samples of two classes or more, found only {only[0]!r}. Add samples of another, or "
            f"leave labels out and train with a self-supervised objective.",
            only,
        )
    sizes = {name: n for name, (n, _) in counts.items() if n}
    if sizes and max(sizes.values()) > _IMBALANCE * min(sizes.values()):
        few, many = min(sizes, key=lambda name: sizes[name]), max(sizes, key=lambda name: sizes[name])
        yield _finding(
            "warning",
            "imbalance",
            f"{many} has {sizes[many]:,} training samples, {few} has {sizes[few]:,}: set training.balanced = true, and "
            f"judge by macro F1.",
            (few, many),
        )
    unseen = tuple(name for name, (_, n) in counts.items() if not n)
    if validation.names and unseen:
        yield _finding(
            "warning",
            "unvalidated",
            f"no validation sample of {listed(unseen)}: its score tells nothing of them. Keep a larger share.",
            unseen,
        )
    if data.validation is None:
        yield _finding("warning", "unvalidated", "no validation samples: nothing tells which weights are best.", ())


def _leakage(data: Data) -> Iterator[Finding]:
    if data.validation is None or data.train.groups is None or data.validation.groups is None:
        return
    both = tuple(sorted(set(data.train.groups) & set(data.validation.groups)))
    if both:
        yield _finding(
            "error",
            "leakage",
            f"expected each group in one part, found {listed(both)} to train on and to validate on. Move their samples "
            f"to one part.",
            both,
        )


def _duplicates(train: Survey, validation: Survey) -> Iterator[Finding]:
    first: dict[bytes, int] = {}
    again: list[str] = []
    contradicting: list[str] = []
    for i, digest in enumerate(train.digests):
        if digest is None:
            continue
        known = first.setdefault(digest, i)
        if known != i:
            again.append(f"{train.names[i]} (as {train.names[known]})")
            if train.labels[i] != train.labels[known]:
                contradicting.append(again[-1])
    shared = [
        f"{validation.names[i]} (as {train.names[first[digest]]})"
        for i, digest in enumerate(validation.digests)
        if digest is not None and digest in first
    ]
    if shared:
        bad = len(shared) > _FEW_DUPLICATES * len(validation.names) and not train.small
        yield _finding(
            "error" if bad else "warning",
            "duplicates",
            f"expected no sample in both parts, found {len(shared):,} of {len(validation.names):,} validation samples "
            f"among those to train on: {listed(shared)}. Take them out of one part.",
            tuple(shared),
        )
    if contradicting:
        yield _finding(
            "warning",
            "contradiction",
            f"{len(contradicting):,} training samples have the content of others and another label: "
            f"{listed(contradicting)}. Mend the labels.",
            tuple(contradicting),
        )
    if again:
        yield _finding(
            "warning",
            "duplicates",
            f"{len(again):,} training samples have the content of others: {listed(again)}.",
            tuple(again),
        )


def _finding(level: Level, kind: str, message: str, names: Sequence[str]) -> Finding:
    return Finding(level, kind, message, tuple(names[:_NAMED]))
