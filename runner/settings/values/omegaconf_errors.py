"""The problem with a value, from the type and the fields of OmegaConf's error for it."""

from typing import Any

from omegaconf import BooleanNode, DictConfig, FloatNode, IntegerNode, ListConfig, OmegaConf, StringNode
from omegaconf.errors import (
    ConfigIndexError,
    InterpolationKeyError,
    InterpolationResolutionError,
    InterpolationValidationError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
    ValidationError,
)

from runner.settings.errors import first_line
from runner.settings.trust.resolvers import RESOLVERS
from runner.settings.values.foreign_texts import name_in

#: Kinds of nodes -> what their values are.
NOUNS: dict[Any, str] = {
    BooleanNode: "true or false",
    FloatNode: "a number",
    IntegerNode: "a whole number",
    StringNode: "a single value",
    DictConfig: "a mapping, as in {a: 1}",
    ListConfig: "a list, as in [a, b]",
}


def key(error: BaseException) -> str:
    """Return the dotted key that an error of OmegaConf is about; "" if it names none."""
    return str(getattr(error, "full_key", None) or "")


def problem(error: OmegaConfBaseException) -> str:
    """Return the problem with the value at `key(error)`; OmegaConf's own words for an unusual one."""
    text, value, noun = first_line(error), repr(error.value), NOUNS.get(type(error.child_node), "")
    if isinstance(error, UnsupportedInterpolationType):
        name = name_in(text, "unknown resolver")
        return f"${{{name}:...}} may not be used; expected one of {', '.join(RESOLVERS)}"
    if isinstance(error, InterpolationKeyError):
        name = name_in(text, "unknown key in a reference")
        return f"${{{name}}} refers to an unknown key; correct it, or add that key"
    if isinstance(error, InterpolationValidationError) and noun:
        return f"{_written(error)} stands for {value}, which is not {noun}"
    if isinstance(error, InterpolationResolutionError):
        if name_in(text, "reference to itself"):
            return "refers to itself; write the value out"
        return first_line(_below(error))
    if isinstance(error, ConfigIndexError):
        return "the list is shorter than that; expected a place in it, counted from 0, or the whole list"
    if isinstance(error, ValidationError) and error.child_node is not None and error.value is None:
        return "null is not allowed; give a value, or leave the key out for the default"
    if isinstance(error, ValidationError) and not noun and isinstance(error.value, dict | list):
        noun = NOUNS[StringNode]  # a new key of a mapping has no node
    if isinstance(error, ValidationError) and noun:
        return f"{value} is not {noun}"
    return text


def _written(error: OmegaConfBaseException) -> Any:
    """Return the text of the value as it stands in the configuration, with its references."""
    holder: Any = OmegaConf.to_container(error.parent_node, resolve=False)
    return holder[error.key]


def _below(error: BaseException) -> BaseException:
    """Return the error that a resolver has raised, below those by which OmegaConf passes it on."""
    below: BaseException | None = error
    while type(below) is InterpolationResolutionError:
        below = below.__cause__ or below.__context__
    return below or error
