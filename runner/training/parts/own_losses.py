"""Losses of the user's own beyond a class of (output, target): functions, and losses of (model, batch)."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from runner.data import nests
from runner.settings.errors import ConfigError
from runner.settings.values import lookup
from runner.training.events import LONGEST, NAME

#: The first parameters of a loss that is given the model and the whole batch.
MODEL = ["model", "batch"]
#: Names of values that are recorded beside a loss's parts.
TAKEN = ("eval_loss", "lr", "epoch")


@dataclass(frozen=True)
class Found:
    """Facts about a loss of the user's own, which the checks know from computing it once."""

    names: tuple[str, ...] = ()  # of its parts beside the loss itself
    gradients: bool = True  # it needs gradients where nothing is trained, too, as torch.autograd.grad does


#: Loss -> what was found; of one that could not be tried, what is right for any.
_found: WeakKeyDictionary[nn.Module, Found] = WeakKeyDictionary()


class Function(nn.Module):
    """A function as a loss. Its class bears the function's name and module, by which all code knows whose it is."""

    function: Callable[..., Any]

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments

    def __reduce__(self) -> Any:
        """Return the loss for a copy, or another process: its class is made anew."""
        return made, (type(self).function, self.arguments, "loss")

    def forward(self, *given: Any) -> Any:
        """Return what the function returns."""
        return type(self).function(*given, **self.arguments)


def made(function: Callable[..., Any], arguments: dict[str, Any], key: str) -> nn.Module:
    """Return a function of (output, target) or (model, batch) as a loss. Raises ConfigError for another signature."""
    takes = list(lookup.parameters(function))
    if len(takes) < 2:
        raise ConfigError(
            f"{key}.name",
            f"{function.__name__} takes {', '.join(takes) or 'nothing'}; expected a function of (output, target), or of"
            " (model, batch)",
        )
    lookup.refuse(arguments, takes[:2], key, "is filled in; leave it out")
    lookup.bind(function, arguments, key, free=takes[:2])
    members = {"__module__": function.__module__, "function": staticmethod(function)}
    return type(function.__name__, (Function,), members)(arguments)  # type: ignore[no-any-return]


def of_model(loss: nn.Module) -> bool:
    """Return whether a loss is called with the model and the batch: its first parameters are named model and batch."""
    if not lookup.is_own(type(loss)):
        return False
    names = [name for name in inspect.signature(written(loss)).parameters if name != "self"]
    return names[:2] == MODEL


def written(loss: nn.Module) -> Callable[..., Any]:
    """Return the function that the user has written: the loss itself, or the `forward` of its class."""
    return type(loss).function if isinstance(loss, Function) else type(loss).forward


def check_value(value: Any, name: str) -> tuple[str, ...]:
    """Return the names of the parts that a loss has returned beside "loss"; none for a tensor.

    name: of the loss. Raises ConfigError for anything but a tensor of shape (), or several by name.
    """
    expected = "expected the loss, a tensor without dimensions, or several by name, {loss: ..., kl: ...}"
    if isinstance(value, Tensor):
        if value.dim():
            raise ConfigError("loss", f"{name} gives {tuple(value.shape)} numbers, expected one")
        return ()
    if not isinstance(value, Mapping):
        raise ConfigError("loss.name", f"{name} returned {nests.described(value)}; {expected}")
    if "loss" not in value:
        raise ConfigError("loss.name", f"{name} returned {', '.join(map(str, value))}; one must be called 'loss'")
    for part, one in value.items():
        if not isinstance(one, Tensor) or one.dim():
            raise ConfigError("loss.name", f"{name} returned {part}, {nests.described(one)}; {expected}")
        if not isinstance(part, str) or len(part) > LONGEST or not re.fullmatch(NAME, part):
            raise ConfigError("loss.name", f"{name} returned {part!r}; use letters, digits and _ for a part's name")
        if part in TAKEN:
            raise ConfigError("loss.name", f"{name} returned {part!r}, which is the name of another value; rename it")
    return tuple(part for part in value if part != "loss")


def total(value: Any) -> Tensor:
    """Return the loss itself of what a loss has returned."""
    loss: Tensor = value["loss"] if isinstance(value, Mapping) else value
    return loss


def found(loss: nn.Module) -> Found:
    """Return what was found out about a loss."""
    return _found.get(loss, Found())


def note(loss: nn.Module, what: Found) -> None:
    """Keep what was found out about a loss."""
    _found[loss] = what
