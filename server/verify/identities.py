"""All identities, family by family."""

from .by_feature import feature_identities
from .by_instance import instance_identities
from .by_model import model_identities
from .by_relation import relation_identities
from .check import Check
from .few_shot import few_shot_identities
from .losses import loss_identities
from .oracles import require_oracles
from .source_choice import choice_identities
from .understanding import understanding_identities


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
        *relation_identities(),
        *few_shot_identities(),
        *choice_identities(),
        *understanding_identities(),
    )
