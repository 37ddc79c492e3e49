"""Settings of the model: section [model]."""

from dataclasses import dataclass

from .fields import REQUIRED, check, setting


@dataclass(frozen=True)
class ModelSettings:
    """Which model to train, and where its first weights come from."""

    name: str = setting(
        REQUIRED,
        "torchvision:NAME or timm:NAME (with @DEFAULT, @WEIGHTS or @random behind it), hf:FOLDER_OR_NAME, "
        "hf-config:FILE.json, package.module:function, file.py:function, keras:NAME, keras:file.py:function, "
        "file.keras, or the folder of a checkpoint.",
    )
    weights: str | None = setting(
        None, "File with weights for torchvision and timm (.safetensors, .pth or .pt), instead of @WEIGHTS."
    )
    head: str = setting(
        "auto",
        "Name of the last layer, which gets as many outputs as there are classes; auto takes the last linear one that "
        "the model has.",
    )
    code: str | None = setting(
        None,
        "The function that builds a checkpoint's network, if one does: what only the checkpoint names is not run.",
    )
    seed: int = setting(0, "Fixes the weights of what is not loaded: an untrained model, and a new head.", low=0)

    def __post_init__(self) -> None:
        """Check the fields."""
        check(self)
