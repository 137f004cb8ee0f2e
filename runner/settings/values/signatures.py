"""Signatures: names and annotations of arguments, and the check of a value against an annotation."""

import inspect
import types
from collections.abc import Callable
from functools import cache
from typing import Any

from runner.settings.errors import ConfigError


@cache
def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the arguments of a class or function, with their annotations as objects if possible."""
    initializer = getattr(target, "__init__", None) if isinstance(target, type) else None
    if getattr(initializer, "__qualname__", "") == "Module.__init__":  # torch's has **kwargs, and takes none
        return {}
    try:
        return dict(inspect.signature(target, eval_str=True).parameters)
    except Exception:  # annotations that only a type checker can read
        return dict(inspect.signature(target).parameters)


def as_words(accepted: dict[str, inspect.Parameter], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments, whole numbers as words where only words are taken: `target=2` names a column."""
    return {
        key: _as_word(accepted[key].annotation, value) if key in accepted else value for key, value in arguments.items()
    }


def _as_word(wants: Any, value: Any) -> Any:
    inner = getattr(wants, "__args__", ())
    if getattr(wants, "__origin__", wants) is list and isinstance(value, list):
        return [_as_word(inner[0], part) for part in value] if inner else value
    if isinstance(wants, types.UnionType) or str(getattr(wants, "__origin__", "")) == "typing.Union":
        fitting = [kind for kind in inner if _fits(value, kind)]
        lists = [kind for kind in fitting if getattr(kind, "__origin__", None) is list]
        if fitting and not lists:
            return value
        return next((word for kind in lists or inner if (word := _as_word(kind, value)) != value), value)
    return str(value) if wants is str and isinstance(value, int) and not isinstance(value, bool) else value


def check_type(parameter: inspect.Parameter, value: Any, key: str) -> None:
    """Refuse a word where the signature wants a number, or the other way round."""
    if not fits(parameter, value):
        raise ConfigError(key, f"{value!r} is not {_words(_wants(parameter))}")


def fits(parameter: inspect.Parameter, value: Any) -> bool:
    """Return whether a value is of the type that the signature wants."""
    wants = _wants(parameter)
    return (value is None and (wants is Any or parameter.default is None)) or _fits(value, wants)


def _wants(parameter: inspect.Parameter) -> Any:
    wants = parameter.annotation
    if wants is parameter.empty or isinstance(wants, str):
        wants = type(parameter.default) if type(parameter.default) in (bool, int, float, str) else Any
        return int | float if wants is int else wants
    return wants


def _fits(value: Any, wants: Any) -> bool:
    args = getattr(wants, "__args__", ())
    origin = getattr(wants, "__origin__", None)
    if isinstance(wants, types.UnionType) or str(origin) == "typing.Union":
        return any(_fits(value, a) for a in args)
    if str(origin) == "typing.Literal":
        return value in args
    if wants in (int, float, complex):
        return isinstance(value, int if wants is int else int | float) and not isinstance(value, bool)
    if wants in (bool, str):
        return isinstance(value, wants)
    if origin in (list, tuple) or wants in (list, tuple):
        return isinstance(value, list | tuple)
    if wants is type(None):
        return value is None
    return not _plain(wants)


def _plain(wants: Any) -> bool:
    """Return whether this is torch.Tensor, which YAML cannot spell and no user means."""
    return isinstance(wants, type) and wants.__name__ == "Tensor"


def _words(wants: Any) -> str:
    if isinstance(wants, types.UnionType) or str(getattr(wants, "__origin__", "")) == "typing.Union":
        words = [_words(a) for a in wants.__args__ if a is not type(None) and not _plain(a)]
        return " or ".join(dict.fromkeys(words)) or "a list of numbers"
    if str(getattr(wants, "__origin__", "")) == "typing.Literal":
        return "one of " + ", ".join(repr(a) for a in wants.__args__)
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    holds = " ".join(map(str, getattr(wants, "__args__", ())))
    names |= dict.fromkeys((list, tuple), f"a list, as in {'[a, b]' if 'str' in holds else '[0.9, 0.99]'}")
    wants = getattr(wants, "__origin__", wants)
    return names.get(wants, str(getattr(wants, "__name__", wants)))
