"""Settings of fine-tuning: section [transfer]."""

from dataclasses import dataclass

from ...errors import InputError
from ..config.fields import check, setting


@dataclass(frozen=True)
class TransferSettings:
    """Which of a pretrained model's weights train, how fast, and what holds them near where they come from.

    References:
        Discriminative learning rates: Howard and Ruder 2018, "Universal language model fine-tuning for text
        classification". L2-SP: Li, Grandvalet and Davoine 2018, "Explicit inductive bias for transfer learning with
        convolutional networks". EWC: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks".
        LoRA: Hu et al. 2022, "LoRA: low-rank adaptation of large language models".
    """

    train_last: int | None = setting(
        None,
        "Blocks that train, counted from the model's end, where the last layer is one; none for all. The others are "
        "frozen, statistics of BatchNorm included.",
        unit="blocks",
        low=1,
    )
    train: tuple[str, ...] = setting((), "Modules that train, by name, instead of the last ones.")
    rate_factor: float = setting(
        1.0,
        "Factor of the learning rate from each block to the one before it; 0.38 is ULMFiT's 1 / 2.6.",
        above=0,
        high=1,
    )
    penalty: str = setting(
        "none",
        "What holds weights near those that the model comes with: l2-sp their distance, ewc their distance weighted "
        "by how much each matters to the source.",
        choices=("none", "l2-sp", "ewc"),
    )
    penalty_weight: float | None = setting(
        None,
        "Weight of the penalty beside the loss; none takes 0.1 for l2-sp, and for ewc the number of source samples "
        "over that of training samples, as if the loss were summed over both.",
        low=0,
    )
    new_weight: float = setting(
        0.01, "Weight with which l2-sp draws matrices and kernels of new layers towards 0.", low=0
    )
    new_layers: tuple[str, ...] = setting(
        (),
        "Modules that do not come from the source, by name; a last layer that was replaced is one of them in any case.",
    )
    source_data: str | None = setting(
        None, "Samples of the source, given as data.train is, on which ewc measures what matters; no labels needed."
    )
    fisher_samples: int = setting(1_000, "Most samples that it is measured on, drawn by training.seed.", low=1)
    lora_rank: int = setting(
        0,
        "Rank of low-rank adapters, which train instead of the layers that they are added to, and become part of them "
        "in the end; the last layer trains whole. 0 for none.",
        low=0,
    )
    lora_alpha: int = setting(16, "What adapters give is multiplied by this over their rank.", low=1)
    lora_layers: tuple[str, ...] = setting(
        (), "Layers that get adapters, by name; all linear ones and ungrouped convolutions but the last where empty."
    )

    def __post_init__(self) -> None:
        """Check the fields, each and together."""
        check(self)
        ways = {"train_last": self.train_last is not None, "train": bool(self.train), "lora_rank": self.lora_rank > 0}
        found = [f"transfer.{name}" for name, given in ways.items() if given]
        if len(found) > 1:
            raise InputError(
                f"expected one of transfer.train_last, train and lora_rank, found {' and '.join(found)}. Each says "
                f"what trains; name layers for adapters as transfer.lora_layers."
            )
        if self.lora_rank and self.penalty != "none":
            raise InputError(
                f'expected transfer.penalty = "none" with transfer.lora_rank, found {self.penalty!r}. With adapters '
                f"the source's weights stay as they are."
            )
