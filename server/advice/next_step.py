"""What to do once advice is given: the command, setting or call that carries a method out."""

from .advice import Advice
from .method import BALANCED, POOL, SOURCE_ONLY, TARGET_ONLY

_L2_SP = (
    "fine-tune the source's model on the target with `acclimate pretrain`, with train_last and "
    'penalty = "l2-sp" under [transfer] in its settings'
)
_WEIGHTS = (
    "train on both sides, the source's samples with sample_weight={name}().weigh(source_x, target_x).weight (from "
    "acclimate.edge.transfer.{module} import {name})"
)
_STEPS = {
    TARGET_ONLY: "leave the source out, and train on the target's labelled samples alone",
    SOURCE_ONLY: "use the source's classifier as it is: of a bundle `acclimate predict BUNDLE FRAMES`",
    POOL: "train on both sides as one: numpy.concatenate([source_x, target_x]), and their labels likewise",
    BALANCED: (
        "train on both sides as one, of n source samples and m labelled target samples each of the latter with "
        "sample_weight=n / m"
    ),
    "source statistics": (
        "with a bundle, which has these statistics, `acclimate observe BUNDLE FRAMES`, then `acclimate adapt BUNDLE`"
    ),
    "l2-sp": _L2_SP,
    "l2-sp, pull 10": f"{_L2_SP}, and penalty_weight ten times the usual",
    "augmentation": (
        "train a linear model on augment(source_x, 0) and augment(target_x, 1) (from "
        "acclimate.edge.transfer.augmentation import augment, domain_layer); domain_layer(weight, 1) is what predicts "
        "on plain features"
    ),
    "label shift": (
        "with a bundle `acclimate align BUNDLE FRAMES --method label-shift`; with another classifier add "
        "estimate_prior(posteriors, source_counts).correct(bias) (from acclimate.edge.transfer.label_shift)"
    ),
    "coral": (
        "train on coral_samples(source_x, target_x).apply(source_x) and the target's samples (from "
        "acclimate.edge.transfer.coral import coral_samples); with a bundle and no labels `acclimate align BUNDLE "
        "FRAMES --method coral`"
    ),
    "tca": (
        "train on found.project(source_x) and found.project(target_x), where found = transfer_components(source_x, "
        "target_x, 50) (from acclimate.edge.transfer.components import transfer_components)"
    ),
    "nearest rows": _WEIGHTS.format(name="NearestSelection", module="selection"),
    "domain classifier": _WEIGHTS.format(name="DomainClassifier", module="domain_classifier"),
    "kmm": _WEIGHTS.format(name="KMM", module="kmm"),
    "kliep": _WEIGHTS.format(name="KLIEP", module="kliep"),
    "ulsif": _WEIGHTS.format(name="ULSIF", module="ulsif"),
    "tradaboost": (
        "tradaboost(make_classifier, [(source_x, source_y)], (target_x, target_y), rounds=10) (from "
        "acclimate.server.transfer.tradaboost import tradaboost)"
    ),
}
_ASK_AGAIN = "label samples of the target, and ask again: nothing here can tell what to train on"
_RELY = "before it is relied on, label samples of the target, and ask again: no label has judged it"
_FIT = (
    "the classifier that was compared here, fitted to all samples: fit({name!r}, source_x, source_y, target_x, "
    "target_y) (from acclimate.server.advice import fit)"
)


def step_of(name: str) -> str:
    """Return the command, setting or call that carries a method out.

    Args:
        name: The method.
    """
    return _STEPS[name]


def next_steps(found: Advice) -> tuple[str, ...]:
    """Return what to do next, in sentences without their full stops.

    Args:
        found: The advice.
    """
    if found.recommended is None and found.basis == "validators":
        return (_ASK_AGAIN,)
    name = found.recommended or TARGET_ONLY
    relied = (_RELY,) if found.basis == "validators" else ()
    return step_of(name), _FIT.format(name=name), *relied
