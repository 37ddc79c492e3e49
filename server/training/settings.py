"""Settings of training, objective and run: the sections [training], [objective] and [run] of a file of settings."""

from dataclasses import dataclass

from ...errors import InputError
from ..config.fields import check, setting

# Objectives that adapt to a domain without labels.
ADAPTATION = ("dann", "dan", "jan", "deep-coral")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. The same settings, data, first weights and number of threads give the same weights, bit for bit.

    `train_classifier` takes the first seven; the others are of `pretrain`.

    References:
        AdamW: Loshchilov and Hutter 2019, "Decoupled weight decay regularization". One cycle: Smith and Topin 2018,
        "Super-convergence". Cosine: Loshchilov and Hutter 2017, "SGDR". Label smoothing: Szegedy et al. 2016,
        "Rethinking the Inception architecture". mixup: Zhang et al. 2018. CutMix: Yun et al. 2019.
    """

    epochs: int = setting(10, "Passes over the data.", unit="epochs", low=1)
    batch_size: int = setting(
        128,
        "Samples in one step, over all processes and accumulated parts; a last smaller batch is left out of an epoch.",
        unit="samples",
        low=1,
    )
    learning_rate: float = setting(3e-3, "Peak of the schedule.", above=0)
    weight_decay: float = setting(
        1e-2, "Decoupled decay of matrices and kernels; biases and normalisation have none.", low=0
    )
    label_smoothing: float = setting(
        0.1,
        "Share of the target distribution that is spread evenly over the classes; distillation has none, as a "
        "teacher's answers are soft already.",
        low=0,
        below=1,
    )
    gradient_norm: float = setting(5.0, "Gradients longer than this are shortened to it.", above=0)
    seed: int = setting(0, "Fixes the order of samples, augmentation, mixing and dropout.", low=0)
    schedule: str = setting(
        "one-cycle",
        "Course of the learning rate: one-cycle rises over 30 % of the steps and falls along a cosine; cosine falls "
        "from the peak to 0; constant stays.",
        choices=("one-cycle", "cosine", "constant"),
    )
    warmup: float = setting(
        0.0,
        "Share of the steps over which cosine and constant rise from 0 in a straight line; one-cycle has its own rise.",
        unit="share of the steps",
        low=0,
        below=1,
    )
    accumulation: int = setting(
        1, "Parts that a step's batch is computed in, one after another, to save memory.", unit="parts", low=1
    )
    precision: str = setting(
        "float32",
        "Precision of forward and backward passes; weights stay in float32. float16 needs a GPU.",
        choices=("float32", "bfloat16", "float16"),
    )
    ema: float = setting(
        0.0,
        "Decay of an exponential moving average of the weights, which is then validated and kept; 0 for none.",
        unit="share kept per step",
        low=0,
        below=1,
    )
    mixup: float = setting(0.0, "Alpha of the beta distribution of mixup; 0 for none.", low=0)
    cutmix: float = setting(
        0.0, "Alpha of the beta distribution of CutMix; 0 for none. With mixup, each gets half of the batches.", low=0
    )
    balanced: bool = setting(False, "Draw every class equally often, with replacement.")
    patience: int | None = setting(
        None, "Epochs without a better validation score after which training stops; none for no such stop.", low=1
    )
    monitor: str = setting(
        "accuracy",
        "Validation score that decides which weights are best; last keeps those of the last epoch.",
        choices=("accuracy", "macro_f1", "loss", "last"),
    )

    def __post_init__(self) -> None:
        """Check the fields."""
        check(self)


@dataclass(frozen=True)
class ObjectiveSettings:
    """What is minimised.

    References:
        Uncertainty weights: Kendall, Gal and Cipolla 2018. PCGrad: Yu et al. 2020, "Gradient surgery for multi-task
        learning". SimCLR: Chen et al. 2020. Barlow Twins: Zbontar et al. 2021. Distillation: Hinton, Vinyals and Dean
        2015, "Distilling the knowledge in a neural network"; hints: Romero et al. 2015, "FitNets"; relations: Park et
        al. 2019, "Relational knowledge distillation". DANN: Ganin et al. 2016; DAN: Long et al. 2015; JAN: Long et al.
        2017; deep CORAL: Sun and Saenko 2016.
    """

    name: str = setting(
        "supervised",
        "supervised: labels of one task; multi-task: several labels a sample, a shared trunk; distillation: what "
        "another model answers, and labels of one task where there are some; simclr and barlow-twins: no labels, then "
        "a linear probe; dann, dan, jan and deep-coral: labels of one task, and features that are alike in data.train "
        "and data.target.",
        choices=("supervised", "multi-task", "distillation", "simclr", "barlow-twins", *ADAPTATION),
    )
    combine: str = setting(
        "uncertainty",
        "How multi-task adds up losses: equal, weighted by learnt uncertainty, or equal with conflicting gradients "
        "projected (pcgrad).",
        choices=("equal", "uncertainty", "pcgrad"),
    )
    projection: int = setting(128, "Outputs of the projector of simclr and barlow-twins.", unit="dimensions", low=2)
    hidden: int = setting(512, "Hidden units of the projector.", unit="units", low=1)
    temperature: float = setting(0.5, "Temperature of simclr.", above=0)
    redundancy: float = setting(0.005, "Weight of the off-diagonal terms of barlow-twins.", low=0)
    probe_share: float = setting(
        1.0,
        "Share of the labelled samples that the linear probe is fitted on.",
        unit="share of the labels",
        above=0,
        high=1,
    )
    teacher: str | None = setting(
        None, "Folder of the run, or of the checkpoint, whose answers distillation learns; its classes are the data's."
    )
    teacher_code: str | None = setting(None, "The function that builds the teacher's network, if one does.")
    distil_temperature: float = setting(
        4.0,
        "Logits of teacher and student are divided by this; larger values show more of what the teacher holds possible "
        "besides its answer.",
        above=0,
    )
    hard_weight: float = setting(
        0.1, "Share of the labels in the loss of distillation; the teacher has the rest.", unit="share", low=0, high=1
    )
    hints: tuple[str, ...] = setting(
        (),
        "Modules whose results distillation matches through a linear projection, each as student=teacher, or one name "
        "for both.",
    )
    hint_weight: float = setting(1.0, "Weight of each hint beside the answers.", low=0)
    relations: str | None = setting(
        None, "Modules between whose results distances and angles of samples are to be alike, as for hints."
    )
    distance_weight: float = setting(25.0, "Weight of the distances of relations.", low=0)
    angle_weight: float = setting(
        50.0,
        "Weight of the angles of relations; 0 leaves them out, for large batches: memory grows with the cube.",
        low=0,
    )

    adaptation_weight: float | None = setting(
        None,
        "Weight of the alignment with the target at the end of training, to which it rises from 0; none takes 100 for "
        "deep-coral and 1 for dann, dan and jan; 0 trains on the source alone.",
        low=0,
    )
    layers: tuple[str, ...] = setting(
        (),
        "Modules whose results are aligned, or what they take, as module:input; empty takes what the last linear "
        "layer takes. dan and jan align the probabilities of the answers besides.",
    )
    target_batch: int | None = setting(
        None, "Samples of the target in one step; none takes training.batch_size.", unit="samples", low=2
    )
    bandwidths: tuple[float, ...] = setting(
        (0.25, 0.5, 1.0, 2.0, 4.0),
        "Bandwidths of the kernels of dan and jan.",
        unit="median distances",
        above=0,
    )
    domain_units: int = setting(128, "Hidden units of dann's domain classifier.", unit="units", low=1)
    guard: bool = setting(
        True,
        "Train a model on the source alone beside the adapted one, and keep that where adaptation did harm, as far as "
        "can be seen.",
    )

    def __post_init__(self) -> None:
        """Check the fields, each and together."""
        check(self)
        if not self.bandwidths:
            raise InputError("expected one number or more as objective.bandwidths, found none. Leave it out.")
        if self.name != "distillation" and (self.teacher is not None or self.hints or self.relations is not None):
            raise InputError(
                f"expected objective.teacher, hints and relations with the objective distillation, found them with "
                f'{self.name}. Set objective.name = "distillation", or leave them out.'
            )


@dataclass(frozen=True)
class RunSettings:
    """Where the work is done and what is kept of it; none of it changes what is learnt."""

    workers: int = setting(
        0,
        "Processes that load data, for each process that trains; 0 reads ahead in a thread where samples allow it.",
        unit="processes",
        low=0,
        high=1024,
    )
    sharding: str = setting(
        "none",
        "none: each process holds the whole model (DDP); fsdp: each holds a part of its parameters.",
        choices=("none", "fsdp"),
    )
    checkpoint_every: int | None = setting(
        None, "Steps between checkpoints; one is written after every epoch in any case.", unit="steps", low=1
    )
    keep_last: int = setting(1, "Newest checkpoints that are kept.", unit="checkpoints", low=1)
    log_every: int = setting(10, "Steps between lines of the log.", unit="steps", low=1)
    tensorboard: bool = setting(True, "Write TensorBoard's event files beside the JSON lines.")
    report: bool = setting(True, "Write report.html, a page on the run, when it ends.")

    def __post_init__(self) -> None:
        """Check the fields."""
        check(self)
