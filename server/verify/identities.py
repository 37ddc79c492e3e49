"""All identities, family by family."""

from .adapters import adapter_identities, has_peft
from .alignment import alignment_identities
from .by_feature import feature_identities
from .by_instance import instance_identities
from .by_model import model_identities
from .by_relation import relation_identities
from .check import Check
from .few_shot import few_shot_identities
from .fusion import fusion_identities
from .losses import loss_identities
from .oracles import require_oracles
from .source_choice import choice_identities
from .understanding import understanding_identities
from .validation import validation_identities


def identities() -> tuple[Check, ...]:
    """Return what is known of every method without any data.

    Raises:
        MissingExtraError: If scikit-learn or scipy, which some methods are compared with, is missing.
    """
    require_oracles()
    return (
        *instance_identities(),
        *feature_identities(),
        *loss_identities(),
        *model_identities(),
        *adapter_identities(),
        *relation_identities(),
        *few_shot_identities(),
        *fusion_identities(),
        *alignment_identities(),
        *validation_identities(),
        *choice_identities(),
        *understanding_identities(),
    )


def left_out() -> tuple[str, ...]:
    """Return the methods that are not checked here, each with how to have it checked."""
    return () if has_peft() else ("LoRA (pip install 'acclimate[lora]')",)
