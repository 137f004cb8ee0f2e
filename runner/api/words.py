"""Values of Python as the words of a command line."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from runner.settings.errors import ConfigError
from runner.settings.trust import typed_words

#: One value, or several by their keys: `"optimizer.lr=0.1"`, `{"optimizer.lr": 0.1}`.
Word = str | Mapping[str, Any]


def of_call(study: str | None, words: Iterable[Word], keywords: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line for the arguments of a call.

    study: the name of an experiment, or a first word, `"data=digits"`. keywords: values by their keys.

        of_call("digits_cnn", ["optimizer.lr=0.01"], {"seed": 3})
        ["experiments=digits_cnn", "optimizer.lr=0.01", "seed=3"]
    """
    result: list[str] = []
    if study is not None:
        result.append(study if "=" in study or study.startswith(("~", "-")) else f"experiments={study}")
    for word in (*words, keywords):
        if isinstance(word, str):
            result.append(word)
        elif isinstance(word, Mapping):
            result += [f"{key}={value_text(value, str(key))}" for key, value in word.items()]
        else:
            raise ConfigError("", f"{word!r} is neither key=value nor a mapping of keys to values")
    return result


def of_grid(grid: Mapping[str, Iterable[Any]]) -> list[str]:
    """Return the words of a sweep: `{"optimizer.lr": [0.1, 0.01]}` becomes `optimizer.lr=0.1,0.01`."""
    words = []
    for key, values in grid.items():
        listed = [values] if isinstance(values, str | int | float | Mapping) or values is None else list(values)
        if not listed:
            raise ConfigError(str(key), "has no values to sweep over; give at least one")
        words.append(f"{key}={','.join(value_text(value, str(key)) for value in listed)}")
    return words


def value_text(value: Any, key: str = "") -> str:
    """Return a value in the grammar of the command line. Raises ConfigError for one that is no plain value."""
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # a number of NumPy or torch
        value = value.item()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if value == value and abs(value) != float("inf") else str(value).replace("inf", ".inf")
    if isinstance(value, str):
        return typed_words.written(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_name(k, key)}:{value_text(v, key)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple | range):
        return "[" + ",".join(value_text(one, key) for one in value) + "]"
    raise ConfigError(key, f"{type(value).__name__} is no plain value; expected text, numbers, lists or mappings")


def _name(name: Any, key: str) -> str:
    text = str(name)
    if not text.replace("_", "a").replace(".", "a").isalnum():
        raise ConfigError(key, f"{json.dumps(text)} cannot be a key in a mapping here; put it into a file")
    return text
