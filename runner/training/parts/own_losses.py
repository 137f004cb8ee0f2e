"""Losses of the user's own beyond a class of (output, target): functions, and losses of (model, batch)."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from runner.settings.errors import ConfigError
from runner.settings.values import lookup

#: The first parameters of a loss that is given the model and the whole batch.
MODEL = ["model", "batch"]


@dataclass(frozen=True)
class Found:
    """What the checks have found out about a loss of the user's own, by computing it once."""

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
    function = type(loss).function if isinstance(loss, Function) else type(loss).forward
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    return names[:2] == MODEL


def found(loss: nn.Module) -> Found:
    """Return what was found out about a loss."""
    return _found.get(loss, Found())


def note(loss: nn.Module, what: Found) -> None:
    """Keep what was found out about a loss."""
    _found[loss] = what
