"""The outputs of a stack while it is planned, and the inputs of its next layer among them."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from runner.model import classes, specs
from runner.model.graph import INPUT, Reads, read
from runner.model.written import Written
from runner.settings.errors import ConfigError, did_you_mean

#: Names that a message lists.
SHOWN = 20


@dataclass(frozen=True)
class Inner:
    """The layers of a model's input or of one of its outputs, which are a stack of their own."""

    layers: Any
    key: str
    reads: Reads = ()


@dataclass
class Inputs:
    """The inputs of a layer on the meta device, and the references by which it gets them."""

    inputs: tuple[Any, ...]
    named: dict[str, Any] = field(default_factory=dict)
    reads: Reads = ()  # empty: the output before it
    previous: str = INPUT  # the name of that
    beside: frozenset[str] = frozenset()  # of those by name, these are no sequences and no images: they have no size

    def all(self) -> list[Any]:
        """Return the inputs in order, then those by name; lengths left out."""
        return [*self.inputs, *(value for name, value in self.named.items() if name not in self.beside)]

    def shown(self) -> str:
        """Return the references in words, and the layer before."""
        return f"{self.reads!r} {self.previous}"

    def spread(self, module: nn.Module) -> None:
        """Give the items of a tuple or a dict one by one to a module that takes as many arguments, by their names."""
        if self.reads or len(self.inputs) != 1:
            return
        [value], takes = self.inputs, _takes(module)
        if isinstance(value, Mapping) and value and all(name in takes for name in value):
            self.reads = {str(name): f"{self.previous}.{name}" for name in value}
            self.inputs, self.named = (), {str(name): one for name, one in value.items()}
        elif isinstance(value, tuple | list) and len(value) == sum(takes.values()) > 1:
            self.reads = tuple(f"{self.previous}.{number}" for number in range(len(value)))
            self.inputs = tuple(value)


class Wires:
    """The outputs of the layers that are planned, by their names. example: what comes into the stack."""

    def __init__(self, example: Any) -> None:
        self.example = example  # the output of the last layer
        self.previous = INPUT
        self.outputs: dict[str, Any] = {INPUT: example}
        self.later: list[str] = []
        self._taken = False  # whether a layer is called as the input is

    def add(self, name: str, output: Any) -> None:
        """Add the output of a layer, from which the next one goes on."""
        self._taken |= name == INPUT
        self.outputs[name], self.example, self.previous = output, output, name

    def inputs(self, written: Written | Inner, targets: classes.Targets) -> Inputs:
        """Return what a layer takes. Raises ConfigError for a name that none of the earlier layers has."""
        key = written.reads_key if isinstance(written, Written) else written.key
        if isinstance(written, Written) and written.beside:
            return self._beside(written, targets)
        if not written.reads:
            return Inputs((self.example,), previous=self.previous)
        if isinstance(written.reads, dict):
            reads = {name: self._whole(one) for name, one in written.reads.items()}
            named = {name: self._of(one, f"{key}.{name}", targets) for name, one in reads.items()}
            return Inputs((), named, reads)
        references = tuple(map(self._whole, written.reads))
        return Inputs(tuple(self._of(one, key, targets) for one in references), reads=references)

    def _beside(self, written: Written, targets: classes.Targets) -> Inputs:
        """Return the inputs of a layer that is given further ones, such as `lengths`: all of them by name."""
        main = written.reads or (self.previous,)
        if not isinstance(main, dict):
            names = list(inspect.signature(written.target.forward).parameters)[1:]
            main = dict(zip(names, main, strict=False))
        places = {name: (self._whole(one), f"{written.reads_key}.{name}") for name, one in main.items()}
        places |= {name: (self._whole(one), f"{written.key}.{name}") for name, one in written.beside.items()}
        named = {name: self._of(one, key, targets) for name, (one, key) in places.items()}
        return Inputs(
            (), named, {name: one for name, (one, _) in places.items()}, self.previous, frozenset(written.beside)
        )

    def _whole(self, reference: str) -> str:
        """Return a reference to an input of the model that is named alone, as `image`, in full: `input.image`."""
        given, name = self.outputs.get(INPUT), reference.partition(".")[0]
        is_input = isinstance(given, Mapping) and name in given and name not in (*self.outputs, *self.later)
        return f"{INPUT}.{reference}" if is_input else reference

    def _of(self, reference: str, key: str, targets: classes.Targets) -> Any:
        name, _, item = reference.partition(".")
        if name not in self.outputs:
            raise ConfigError(key, self._missing(name, targets))
        if name == INPUT and (self._taken or name in self.later):
            raise ConfigError(key, f"both a layer and what comes in are called {INPUT!r}; call the layer otherwise")
        try:
            return read(self.outputs, reference)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            value = self.outputs[name]
            there = f"it has {some(value)}" if isinstance(value, Mapping) else f"it is {specs.what(value)}"
            raise ConfigError(key, f"there is no item {item!r} of {name!r}: {there}") from error

    def _missing(self, name: str, targets: classes.Targets) -> str:
        if name in self.later:
            return f"{name!r} comes later; a layer reads from those before it, which are {some(self.outputs)}"
        if any(name in names for names in targets.around[:-1]):
            return (
                f"{name!r} is a layer outside of this stack, which sees {INPUT!r} and its own layers:"
                f" {some(self.outputs)}; combine the two where {name!r} stands"
            )
        return f"{name!r} is no earlier layer{did_you_mean(name, self.outputs)} (there are {some(self.outputs)})"


def some(names: Iterable[Any]) -> str:
    """Return names in words, the first ones of many."""
    names = list(map(str, names))
    return ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])]) or "none"


def _takes(module: nn.Module) -> dict[str, bool]:
    """Return the arguments of a module's forward, and whether each has to be given."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default is p.empty for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
