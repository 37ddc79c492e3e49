"""The blocks of a model, from its stem to its head: which of them train, and what stays as it was."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from ...errors import InputError

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_TOLD = 12


@dataclass(frozen=True)
class Block:
    """What is frozen or trained together: a block of layers, or a layer with the normalisation behind it.

    Args:
        modules: Names of its modules, each with all that it contains; behind them, in the first block of a module that
            was taken apart, the names of that module's own parameters, such as a class token.
    """

    modules: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its first module."""
        return self.modules[0]


def blocks_of(model: nn.Module) -> tuple[Block, ...]:
    """Part a model into blocks, in the order in which its modules were defined.

    Containers are taken apart, and so is a module that holds a stack of equal modules, as an encoder holds its layers.

    Raises:
        InputError: If it has no parameters.
    """
    groups: list[list[str]] = []
    for names, unit in _units("", model):
        # Normalisation goes with the layer in front of it.
        if groups and not any(parameter.dim() > 1 for parameter in unit.parameters()):
            groups[-1].extend(names)
        else:
            groups.append([*names])
    if not groups:
        raise InputError(f"expected a model with parameters, found none in {type(model).__name__}.")
    return tuple(Block(tuple(names)) for names in groups)


def last_blocks(model: nn.Module, count: int) -> tuple[str, ...]:
    """Return the names of the modules, and of parameters beside them, of a model's last blocks.

    Raises:
        InputError: If it has fewer, or none is asked for.
    """
    blocks = blocks_of(model)
    if count < 1:
        raise InputError(f"expected one block or more to train, found {count}. Leave it out to train all.")
    if count > len(blocks):
        raise InputError(
            f"expected transfer.train_last of at most {len(blocks)}, the blocks of the model, found {count}. They are "
            f"{', '.join(block.name or 'the model itself' for block in blocks[-_TOLD:])}"
            f"{' and those before' if len(blocks) > _TOLD else ''}; leave it out to train all."
        )
    return tuple(name for block in blocks[-count:] for name in block.modules)


def check_names(model: nn.Module, names: Sequence[str], where: str) -> None:
    """Refuse names that no module of a model has.

    Args:
        model: The model.
        names: The names.
        where: The setting that they stand in, for messages.

    Raises:
        InputError: If there is such a name.
    """
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3) or [block.name for block in blocks_of(model)[-_TOLD:]]
            raise InputError(
                f"expected names of modules of {type(model).__name__} as {where}, found {name!r}. It has "
                f"{', '.join(map(repr, near))}."
            )


def within(name: str, modules: Sequence[str]) -> bool:
    """Whether a parameter or module is one of these modules or in one; the empty name is the model itself."""
    return any(not one or name == one or name.startswith(f"{one}.") for one in modules)


def freeze_but(model: nn.Module, modules: Sequence[str]) -> None:
    """Let these modules train, by name, and nothing else."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(within(name, modules))


def still_modules(model: nn.Module, modules: Sequence[str]) -> tuple[nn.Module, ...]:
    """Return what stays in evaluation mode while the rest trains.

    That is every module whose parameters are all frozen, with what it contains, and what has no parameters in front of
    the first that trains: BatchNorm keeps its statistics, and no dropout varies what frozen layers give. Dropout right
    in front of the first layer that trains stays in use.

    Args:
        model: The model, its parameters frozen or not.
        modules: Names of the modules that train whole.
    """
    named = [(name, module, list(module.parameters())) for name, module in model.named_modules()]
    moves = [any(parameter.requires_grad for parameter in found) for _, _, found in named]
    own = [any(p.requires_grad for p in module.parameters(recurse=False)) for _, module, _ in named]
    first = own.index(True) if any(own) else len(named)
    ahead = [at for at in range(first) if named[at][2] and not moves[at]]
    front = max(ahead, default=-1)
    still: dict[nn.Module, None] = {}
    for at, (name, module, parameters) in enumerate(named):
        if parameters and not moves[at]:
            still.update(dict.fromkeys(module.modules()))
        elif not parameters and not within(name, modules) and (at < front or any(True for _ in module.buffers())):
            still[module] = None
    return tuple(still)


def hold_still(modules: Sequence[nn.Module]) -> None:
    """Put modules, but not what they contain, into evaluation mode."""
    for module in modules:
        module.training = False


def _units(name: str, module: nn.Module) -> Iterator[tuple[tuple[str, ...], nn.Module]]:
    children = [(child, part) for child, part in module.named_children() if _has_parameters(part)]
    if children and (not name or _is_taken_apart(module)):
        # What a module adds to its input itself, as positions, goes with the first of its parts.
        own = tuple(parameter for parameter, _ in module.named_parameters(name, recurse=False))
        for child, part in children:
            for names, unit in _units(f"{name}.{child}" if name else child, part):
                yield (*names, *own), unit
                own = ()
    elif _has_parameters(module):
        yield (name,), module


def _is_taken_apart(module: nn.Module) -> bool:
    return isinstance(module, _CONTAINERS) or any(map(_is_stack, module.modules()))


def _is_stack(module: nn.Module) -> bool:
    """Whether it is a container of two or more modules of one class, which is no container and none of torch's own."""
    if not isinstance(module, _CONTAINERS):
        return False
    kinds = [type(part) for part in module.children() if _has_parameters(part)]
    own = bool(kinds) and not kinds[0].__module__.startswith("torch.nn") and not issubclass(kinds[0], _CONTAINERS)
    return len(kinds) > 1 and len(set(kinds)) == 1 and own


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None
