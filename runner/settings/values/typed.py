"""Settings checked against their declared types, where a reference has brought a value past OmegaConf."""

import dataclasses
import types
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from runner.settings.errors import ConfigError, Problems

_NOUNS: dict[Any, str] = {
    bool: "true or false",
    dict: "a mapping, as in {a: 1}",
    float: "a number",
    int: "a whole number",
    list: "a list, as in [a, b]",
    str: "a word",
    type(None): "null",
}


def check(value: Any, hint: Any, key: str = "") -> None:
    """Raise ConfigError for every value that is not what its field of the dataclass, its list or its mapping takes."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        _check_all({f"{key}.{n}" if key else n: (getattr(value, n), h) for n, h in _hints(hint).items()})
        return
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    inside = next((k for k in kinds if k is Any or _is(value, get_origin(k) or k)), None)
    if inside is None:
        expected = " or ".join(_NOUNS[get_origin(kind) or kind] for kind in kinds)
        raise ConfigError(key, f"{value!r} is not {expected}")
    if isinstance(value, dict) and get_args(inside):
        _check_all({f"{key}.{name}": (inner, get_args(inside)[1]) for name, inner in value.items()})
    if isinstance(value, list) and get_args(inside):
        _check_all({f"{key}[{i}]": (inner, get_args(inside)[0]) for i, inner in enumerate(value)})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _check_all(parts: dict[str, tuple[Any, Any]]) -> None:
    problems = Problems()
    for key, (value, hint) in parts.items():
        with problems.collect():
            check(value, hint, key)
    problems.raise_all()


def _is(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
