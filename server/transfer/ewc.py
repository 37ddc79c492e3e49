"""Elastic weight consolidation: weights that matter to the source are held where they were."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from ...errors import InputError
from .penalty import Anchored, Pull, check_new, check_weight


def ewc(model: nn.Module, fisher: Mapping[str, Tensor], *, weight: float = 1.0, new: Collection[str] = ()) -> Anchored:
    """Return ``weight/2 Σ F (θ - θ_source)²`` over what comes from the source.

    New parameters have no information and are not held: EWC does nothing for classes that are added. There, statistics
    of the source, prototypes or replay help. Frozen parameters are left out.

    Args:
        model: With the weights it starts from; they are copied.
        fisher: Diagonal of the information on the source, by parameter name; see `fisher_diagonal`. Rows that a
            parameter has beyond it are those of added classes.
        weight: The source's samples over the target's, if the loss is a mean: then this is Laplace's approximation of
            the loss on both.
        new: Names of the parameters that are new.

    Raises:
        InputError: If the information is of another model, not finite or below 0, the weight is, or the model has no
            such parameter.

    References:
        Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks".
    """
    check_new(model, new)
    check_weight(weight, "weight")
    pulls: dict[str, Pull] = {}
    old = {name: p for name, p in model.named_parameters() if p.requires_grad and name not in new}
    if old and not old.keys() & fisher.keys():
        raise InputError(
            f"expected information on parameters of the model such as {next(iter(old))!r}, found "
            f"{', '.join(map(repr, list(fisher)[:4])) or 'none'}. Measure it on this model, with these layers to train."
        )
    added = False
    for name, parameter in old.items():
        if name not in fisher:
            continue
        start, known = parameter.detach(), fisher[name]
        if not bool((known.isfinite() & (known >= 0)).all()):
            raise InputError(f"expected finite information of 0 or more, found other values of {name!r}.")
        held = torch.zeros_like(start)
        if known.shape == start.shape:
            held.copy_(known)
        elif _has_fewer_rows(known, start):
            added = True
            held[: len(known)] = known.to(start)
        elif _has_other_inputs(known, start) and not added:
            # Channels of the first layer, fitted to the data: the source says nothing of these weights.
            continue
        else:
            # Behind rows that were added, other inputs say that those were no classes.
            raise InputError(
                f"expected information on {name!r} of shape {tuple(start.shape)}, or of fewer classes in its last "
                f"layer, found {tuple(known.shape)}. Measure it on the model that this one was made from."
            )
        pulls[name] = Pull(start.clone(), weight * held)
    return Anchored("ewc", pulls)


def without_information(model: nn.Module, fisher: Mapping[str, Tensor], new: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names of parameters that train and that EWC leaves alone, in part at least: of added classes, say."""
    return tuple(
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (name in new or name not in fisher or fisher[name].shape != parameter.shape)
    )


def _has_fewer_rows(known: Tensor, start: Tensor) -> bool:
    return known.dim() == start.dim() and known.shape[1:] == start.shape[1:] and 0 < len(known) < len(start)


def _has_other_inputs(known: Tensor, start: Tensor) -> bool:
    return known.dim() == start.dim() > 1 and known.shape[0] == start.shape[0]
