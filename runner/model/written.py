"""A layer as it is written down: its class, its arguments, and what it takes from other layers."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.model import classes, specs
from runner.model.graph import Reads
from runner.model.layers import COMBINING
from runner.model.recurrent import WITH_LENGTHS
from runner.settings.errors import ConfigError

#: The key of the layers that a layer reads from, which no argument of Python can have.
FROM = "from"
#: The key of the name of a parameter, or of a whole layer, that two layers share.
TIE = "tie"


@dataclass
class Written:
    """One layer of a configuration, of which nothing is inferred yet."""

    target: Any  # a class, or a function that returns a module
    key: str  # of its arguments
    parameters: dict[str, inspect.Parameter]
    arguments: dict[str, Any]
    reads: Reads = ()  # references, as they are written
    beside: dict[str, str] = field(default_factory=dict)  # argument of forward -> the reference it is given by
    given: dict[str, Any] = field(default_factory=dict)  # parameter name -> its values
    ties: dict[str, str] = field(default_factory=dict)  # parameter name -> the name of the other one

    @property
    def reads_key(self) -> str:
        """The key of the references."""
        return self.key if self.target in COMBINING else f"{self.key}.{FROM}"


def read(spec: Any, key: str, find: Callable[[Any, str], Any]) -> Written:
    """Return a layer's parts. find: looks a class up by its name and its key. Raises ConfigError.

    Beside what `specs.read` takes there are `{Bilinear: {out_features: 5, from: [left, right]}}`, the same with `from`
    beside the class, and `{Concat: [up, conv1]}`.
    """
    spec, beside = _without_from(spec, key)
    name, key, value = specs.read(spec, key)
    target = find(name, key)
    if isinstance(value, Mapping) and "lengths" in value:
        target = WITH_LENGTHS.get(target, target)
    parameters = specs.signature(target)
    if target in COMBINING and value is not None and not isinstance(value, Mapping):
        value = {FROM: value}
    arguments = specs.arguments(target, parameters, value, key)
    inside = arguments.pop(FROM, None)
    if beside is not None and inside is not None:
        raise ConfigError(f"{key}.{FROM}", "stands beside the class as well; remove one")
    references = inside if beside is None else beside
    written = Written(target, key, parameters, arguments)
    if references is not None:
        written.reads = read_references(references, written.reads_key)
    for one in list(arguments):
        if one in getattr(target, "BESIDE", ()) and one not in parameters:
            written.beside[one] = read_path(arguments.pop(one), f"{key}.{one}")
        elif specs.is_given(parameters, one, arguments[one]):
            written.given[one] = arguments.pop(one)
        elif isinstance(arguments[one], Mapping) and set(arguments[one]) == {TIE}:
            written.ties[one] = read_path(arguments.pop(one)[TIE], f"{key}.{one}.{TIE}")
    return written


def has_reads(spec: Any) -> bool:
    """Return whether a layer says what it reads from, as far as that can be seen without its class."""
    if is_tied(spec):
        return FROM in spec
    try:
        found = read(spec, "", classes.find)
    except ConfigError:
        return False
    return bool(found.reads)


def combines(spec: Any) -> bool:
    """Return whether a layer combines several inputs and does not say which, as `{Concat: {dim: 2}}`."""
    try:
        found = read(spec, "", classes.find)
    except ConfigError:
        return False
    return found.target in COMBINING and not found.reads


def _without_from(spec: Any, key: str) -> tuple[Any, Any]:
    """Return the specification without the references that stand beside the class, and these; None for none."""
    if not isinstance(spec, Mapping) or FROM not in spec:
        return spec, None
    rest = {name: value for name, value in spec.items() if name != FROM}
    if not rest:
        raise ConfigError(key, f"no class stands beside `from`; to go on from there, write {{From: {spec[FROM]}}}")
    return rest, spec[FROM]


def is_tied(spec: Any) -> bool:
    """Return whether a layer is an earlier one, `{tie: left}`."""
    return isinstance(spec, Mapping) and TIE in spec


def read_references(value: Any, key: str) -> Reads:
    """Return the names of the layers that a layer reads from. Raises ConfigError for what are none."""
    if isinstance(value, Mapping):
        return {str(name): read_path(one, f"{key}.{name}") for name, one in value.items()}
    references = tuple(read_path(one, key) for one in (value if isinstance(value, list | tuple) else [value]))
    if not references:
        raise ConfigError(key, "is empty; expected the name of an earlier layer, or several")
    return references


def read_path(value: Any, key: str) -> str:
    """Return the name of a layer or of a parameter. Raises ConfigError for what is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value):
        raise ConfigError(key, f"{value!r} is not the name of an earlier layer; expected one, or a list of names")
    return str(value)
