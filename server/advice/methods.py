"""The methods that are compared, in the order in which equals are preferred: the simplest first."""

from ...edge.transfer.domain_classifier import DomainClassifier
from ...edge.transfer.kliep import KLIEP
from ...edge.transfer.kmm import KMM
from ...edge.transfer.selection import NearestSelection
from ...edge.transfer.ulsif import ULSIF
from .by_feature import Augmented, Coral, TransferComponents
from .by_instance import TrAdaBoost, Weighted
from .by_model import DrawnToSource, LabelBalance, SourceStatistics
from .method import TransferMethod
from .plain import Pooled, SourceOnly, TargetOnly

METHODS: tuple[TransferMethod, ...] = (
    TargetOnly(),
    SourceOnly(),
    Pooled(),
    Pooled(balanced=True),
    SourceStatistics(),
    DrawnToSource(),
    DrawnToSource(pull=10.0),
    Augmented(),
    LabelBalance(),
    Coral(),
    TransferComponents(),
    Weighted("nearest rows", lambda seed: NearestSelection()),
    Weighted("domain classifier", lambda seed: DomainClassifier(seed=seed)),
    Weighted("kmm", lambda seed: KMM()),
    Weighted("kliep", lambda seed: KLIEP(seed=seed)),
    Weighted("ulsif", lambda seed: ULSIF(seed=seed)),
    TrAdaBoost(),
)
