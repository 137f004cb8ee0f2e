"""The words of a command line that Hydra does not read: the command, and RUN key=value ... after some commands."""

import dataclasses
import inspect
import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from runner.settings import Settings, Tracking
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.trust import permission, typed_words
from runner.settings.values import keys
from runner.settings.values.keys import COMPONENTS

RUN = "a run id, a unique prefix of one, or `last`"


#: Hydra's flags without a value.
ALONE = ("-m", "--multirun", "-r", "--run", "--resolve", "-h", "--help", "--hydra-help", "--version")
#: Hydra's flags whose value is the next word.
WITH_VALUE = ("-c", "--cfg", "-p", "--package", "-i", "--info", "-sc", "--shell-completion", "--trust")


def bare(words: list[str]) -> list[str]:
    """Return the words that are no flags, no overrides and no values of Hydra's flags, as `job` in `--cfg job`."""
    return [w for w, before in zip(words, ["", *words], strict=False) if _is_bare(w, before)]


def flags_first(words: list[str]) -> list[str]:
    """Return the words with flags before the others: Hydra does not accept `seed=1 -m lr=0.1,0.2`."""
    flags = [n for n, (w, b) in enumerate(zip(words, ["", *words], strict=False)) if w[:1] == "-" or b in WITH_VALUE]
    return [words[n] for n in flags] + [word for n, word in enumerate(words) if n not in flags]


def indexed(word: str) -> str:
    """Return `model.layers[0].Linear=1` in Hydra's grammar: `model.layers.0.Linear=1`."""
    key, equals, value = word.partition("=")
    if key.lstrip("+") in {f"{component}._target_" for component in COMPONENTS}:
        key = key.replace("_target_", "name")  # the preset sets `name`, which would stay beside _target_
    return re.sub(r"\[(\d+)\]", r".\1", key) + equals + value


#: (overrides as typed, a recorded configuration) -> the configuration with the overrides.
Changed = Callable[[list[str], Settings], Settings]


def call(name: str, command: Callable[..., int], words: list[str], changed: Changed) -> int:
    """Call `command(uri, run, key=value, ...)` and return its exit code.

    The keys are the command's keyword-only arguments, all strings. tracking.uri=URI names the store; without it that is
    MLFLOW_TRACKING_URI, or else mlflow.db of the working directory.
    changed: a command with a third argument, `change`, takes overrides too; `change` maps the recorded configuration to
        the overridden one.
    Raises ConfigError for a word that is superfluous, unknown or missing.
    """
    run, uri = run_of(name, words)
    values = dict(_split(word, name) for word in words if word is not run)
    values.pop("tracking.uri", None)
    if "change" not in inspect.signature(command).parameters:
        _check(name, command, values)
        return int(command(uri, run, **values))
    overrides = [f"{key}={values.pop(key)}" for key in list(values) if _is_override(key, command)]
    _check(name, command, values, ["OVERRIDE ..."])
    return int(command(uri, run, partial(changed, overrides), **values))


def run_of(name: str, words: list[str]) -> tuple[str, str]:
    """Return the RUN among the words, and the URI of its tracking store."""
    runs = bare(words)
    if len(runs) != 1:
        raise ConfigError("", f"{name} needs one RUN ({RUN}), found {' and '.join(runs) or 'none'}")
    uris = [typed_words.text(word) for word in words if word.startswith("tracking.uri=")]
    uri = next(iter(uris), "") or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        permission.store(Tracking().uri, "tracking.uri")
    return runs[0], uri or Tracking().uri


def own(command: Callable[..., int], words: list[str]) -> dict[str, str]:
    """Remove the command's own key=value from `words` and return them; its keys are its keyword-only arguments."""
    values = {}
    for word in [w for w in words if w.partition("=")[0] in _keys(command) and "=" in w]:
        words.remove(word)
        values[word.partition("=")[0]] = word.partition("=")[2]
    return values


def overrides(words: list[str]) -> list[str] | None:
    """Return the words if all are overrides; None if there is a flag among them."""
    return None if any(word.startswith("-") for word in words) else list(words)


def whole(key: str, word: str, least: int = 1) -> int:
    """Return the whole number typed for `key`. Raises ConfigError for anything else, and for less than `least`."""
    if not word.isdecimal() or int(word) < least:
        raise ConfigError(key, f"{word!r} is not a whole number of at least {least}")
    return int(word)


def truth(key: str, word: str) -> bool:
    """Return the true or false typed for `key`. Raises ConfigError for anything else."""
    if word not in ("true", "false"):
        raise ConfigError(key, f"{word!r} is neither true nor false")
    return word == "true"


def _is_override(key: str, command: Callable[..., int]) -> bool:
    """Return whether `key` is a key of the configuration and not one of the command."""
    names = {field.name for field in dataclasses.fields(Settings)}
    return key not in _keys(command) and re.split(r"[.\[]", key)[0] in names


def _keys(command: Callable[..., int]) -> dict[str, inspect.Parameter]:
    return {k: p for k, p in inspect.signature(command).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _is_bare(word: str, before: str) -> bool:
    if "=" in word or word.startswith(("-", "~", "+")):
        return False
    return not before.startswith("-") or "=" in before or before in ALONE


def _split(word: str, name: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or word.startswith(("-", "~", "+")):
        raise ConfigError(word, f"{name} of a recorded run takes key=value")
    return key, value


def _check(name: str, command: Callable[..., int], values: dict[str, Any], further: list[str] | None = None) -> None:
    takes = _keys(command)
    for key in values:
        if key not in takes:
            valid = [*takes, "tracking.uri"]
            near = keys.hint(key, [*valid, *keys.declared()], values[key]) if further else did_you_mean(key, valid)
            raise ConfigError(
                key,
                f"{name} of a recorded run takes no such key{near} (it takes {', '.join([*valid, *(further or [])])})",
            )
    missing = [f"{k}=..." for k, p in takes.items() if p.default is p.empty and k not in values]
    if missing:
        raise ConfigError("", f"{name} needs {' and '.join(missing)}")
