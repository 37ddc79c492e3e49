"""The advice in sentences, with numbers."""

import numpy as np

from .advice import Harm, Shift
from .choose import ERRORS
from .given import Given
from .held_out import HeldOut
from .judge import MARGIN, SHOWN, SLIGHT, Verdict
from .method import BALANCED, SOURCE_ONLY, TARGET_ONLY
from .relation import RELATED
from .unlabelled import Validated

# Of the largest share of a class over its share on the other side: less is called balanced.
_UNLIKE = 1.5
# Of the source's labels that follow, beyond what its largest class gives.
_FOLLOWS = 0.1


def said_by_labels(verdict: Verdict, held: HeldOut, level: float) -> tuple[tuple[str, ...], Harm]:
    """Return why transfer is recommended or not, and whether it does harm."""
    n, gain = len(held.y), verdict.gain
    right = {name: float((p.argmax(axis=1) == held.y).mean()) for name, p in held.probabilities.items()}
    told = (
        f"On {n} held-out labelled target samples '{verdict.chosen}' is right on {right[verdict.chosen]:.1%}, the "
        f"target's samples alone on {right[TARGET_ONLY]:.1%}, the source's classifier on {right[SOURCE_ONLY]:.1%}."
    )
    paid = (
        f"Choosing it without the fold that it is judged on changes accuracy by {100 * verdict.accuracy_gain:+.1f} "
        f"points and the Brier score by {-gain.mean:+.3f}; the gain is at least {gain.low:+.3f} but for {level:.0%} of "
        f"chance (p {gain.better:.2g})."
    )
    many = f"{ERRORS:g} standard errors of the Brier score"
    if verdict.chosen == BALANCED:
        chosen = f"'{BALANCED}' lost least elsewhere, and no other way is better here by more than {many}."
    else:
        chosen = f"'{verdict.chosen}' is better by more than {many} than '{BALANCED}', which lost least elsewhere."
    says = "something" if verdict.related <= RELATED else "nothing"
    related = (
        f"The source's labels, learnt without any of the target's, say {says} about these beyond chance "
        f"(p {verdict.related:.2g})."
    )
    plain = verdict.plain
    harm: Harm = "shown" if plain.worse <= level else "excluded" if plain.low >= -MARGIN else "not excluded"
    harmful = (
        f"Negative transfer: pooling both sides as they are changes the Brier score by {-plain.mean:+.3f} "
        f"({-plain.high:+.3f} to {-plain.low:+.3f}); harm is {harm}."
    )
    if verdict.transfer:
        return (f"Transfer: '{verdict.chosen}'.", told, chosen, paid, related, harmful), harm
    why_not = []
    if verdict.related > RELATED:
        why_not.append("the source's labels are no better than noise here")
    elif not verdict.stands:
        why_not.append(
            f"the source's classifier is much worse here, and transfer shows no gain (p at most {SHOWN:g}, no "
            "fewer right answers)"
        )
    else:
        if gain.low < -MARGIN:
            why_not.append(f"a loss of more than {MARGIN:g} of Brier score is not excluded")
        if gain.mean <= -SLIGHT:
            why_not.append("a loss is to be expected")
    reason = f"Do not transfer, train on the target's samples alone: {', and '.join(why_not)}."
    return (reason, told, chosen, paid, related, harmful), harm


def said_by_validators(found: Validated, home_accuracy: float, given: Given) -> tuple[str | None, tuple[str, ...]]:
    """Return the method to take where labels are too few to tell, and why."""
    best = max(found.way_back, key=lambda name: found.way_back[name])
    # The source as it is, where no other way is clearly better by a measure that sees no label.
    source = found.way_back[SOURCE_ONLY]
    spread = 2 * float(np.sqrt(max(source * (1 - source), 1e-12) / len(given.pair.source_y)))
    chosen = best if found.way_back[best] > source + spread else SOURCE_ONLY
    follows = found.way_back[chosen] >= found.chance + _FOLLOWS and home_accuracy >= found.chance + _FOLLOWS
    labels = len(given.pair.target_y)
    little = (
        f"This is little to go by: {labels} labelled target samples cannot show whether transfer helps or harms. "
        f"Classes that lie in each other's place here look fine to every validator. "
        f"{_label_more(given)}, and ask again."
    )
    back = (
        f"From the answers of '{chosen}' in the target {found.way_back[chosen]:.1%} of the source's labels follow, "
        f"from those of the source's classifier as it is {source:.1%}; the largest class alone gives "
        f"{found.chance:.1%}."
    )
    more = (
        f"Importance-weighted, the source's classifier is expected to be right on {found.expected:.1%}; its answers "
        f"have a mean entropy of {found.entropy:.2f} of at most {np.log(len(given.classes)):.2f} nats, and a "
        f"neighbourhood density of {found.density:.2f}."
    )
    if follows:
        return chosen, (f"Transfer by '{chosen}', as far as can be told without labels.", back, more, little)
    return None, ("Do not transfer: nothing speaks for this source.", back, more, little)


def _label_more(given: Given) -> str:
    if sum(count > 0 for count in given.target_counts) == 1:
        return "Label samples of other classes, too"
    count = max(20, 3 * len(given.classes)) - sum(given.target_counts)
    # Enough samples in number are too few where they repeat each other.
    return f"Label {count} samples more" if count > 0 else "Label samples that are not like each other"


def situation(
    given: Given, home_accuracy: float, shift: Shift | None, mix: tuple[float, ...] | None
) -> tuple[str, ...]:
    """Return sample size, classes, balance and shift in sentences."""
    n, m = sum(given.source_counts), sum(given.target_counts)
    shared = sum(a > 0 and b > 0 for a, b in zip(given.source_counts, given.target_counts, strict=True))
    own = sum(count > 0 for count in given.target_counts)
    told = [
        f"Source: {n} labelled samples of {sum(c > 0 for c in given.source_counts)} classes, {given.width} "
        f"feature{'s' if given.width != 1 else ''}; "
        f"its classifier is right on {home_accuracy:.1%} of them, held out.",
        f"Target: {m} labelled samples of {own} class{'es' if own != 1 else ''}, {given.unlabelled} "
        f"without a label; {shared} of {len(given.classes)} classes have samples on both sides.",
    ]
    if shift is None:
        told.append("Shift of the features: the target's samples are too few to tell.")
    elif shift.shifted:
        told.append(f"The features have shifted (discrepancy {shift.statistic:.3g}, p {shift.p_value:.2g}).")
    else:
        told.append(f"No shift of the features was found (discrepancy {shift.statistic:.3g}, p {shift.p_value:.2g}).")
    if m and shared > 1:
        told.append(_balance(given))
    if mix is not None:
        place = int(np.argmax(mix))
        told.append(
            f"By the source's classifier, {mix[place]:.0%} of the target are {given.classes[place]!r}, its largest "
            f"class here; in the source they are {given.source_counts[place] / n:.0%}."
        )
    return tuple(told)


def _balance(given: Given) -> str:
    source = np.array(given.source_counts) / sum(given.source_counts)
    target = np.array(given.target_counts) / sum(given.target_counts)
    off = float(np.abs(source - target).sum() / 2)
    both = (source > 0) & (target > 0)
    ratio = np.where(both, target / np.maximum(source, 1e-12), 1.0)
    place = int(np.argmax(np.abs(np.log(ratio))))
    if max(ratio[place], 1 / ratio[place]) < _UNLIKE:
        return f"Labelled classes are mixed alike on both sides (total variation {off:.2f})."
    return (
        f"Labelled classes are mixed otherwise than in the source (total variation {off:.2f}): {given.classes[place]!r}"
        f" is {target[place]:.0%} here and {source[place]:.0%} there."
    )
