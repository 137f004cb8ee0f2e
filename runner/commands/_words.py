"""The words of a command line that are not Hydra's: the command, and RUN key=value ... after some of them."""

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


#: Hydra's flags that take no word after them.
ALONE = ("-m", "--multirun", "-r", "--run", "--resolve", "-h", "--help", "--hydra-help", "--version")
#: Hydra's flags that take one.
WITH_VALUE = ("-c", "--cfg", "-p", "--package", "-i", "--info", "-sc", "--shell-completion", "--trust")


def bare(words: list[str]) -> list[str]:
    """Those that are neither flags, nor overrides, nor what belongs to a flag of Hydra's, as in `--cfg job`."""
    return [w for w, before in zip(words, ["", *words], strict=False) if _is_bare(w, before)]


def flags_first(words: list[str]) -> list[str]:
    """The words with flags before the others: Hydra takes no `seed=1 -m lr=0.1,0.2`."""
    flags = [n for n, (w, b) in enumerate(zip(words, ["", *words], strict=False)) if w[:1] == "-" or b in WITH_VALUE]
    return [words[n] for n in flags] + [word for n, word in enumerate(words) if n not in flags]


def indexed(word: str) -> str:
    """`model.layers[0].Linear=1` as Hydra's grammar spells it: `model.layers.0.Linear=1`."""
    key, equals, value = word.partition("=")
    if key.lstrip("+") in {f"{component}._target_" for component in COMPONENTS}:
        key = key.replace("_target_", "name")  # which the preset has already, and would keep
    return re.sub(r"\[(\d+)\]", r".\1", key) + equals + value


#: (overrides as they were typed, a recorded configuration) -> the configuration with them.
Changed = Callable[[list[str], Settings], Settings]


def call(name: str, command: Callable[..., int], words: list[str], changed: Changed) -> int:
    """Call `command(uri, run, key=value, ...)`; its keyword-only arguments, all of them strings, are the keys.

    tracking.uri=URI among the words names another store than MLFLOW_TRACKING_URI, or else mlflow.db here.
    changed: a command with a third argument, `change`, takes overrides too; it is called with a function from the
        recorded configuration to the overridden one.
    Raises ConfigError for a word that is too many, unknown or missing.
    """
    run, uri = run_of(name, words)
    given = dict(_split(word, name) for word in words if word is not run)
    given.pop("tracking.uri", None)
    if "change" not in inspect.signature(command).parameters:
        _check(name, command, given)
        return int(command(uri, run, **given))
    overrides = [f"{key}={given.pop(key)}" for key in list(given) if _is_override(key, command)]
    _check(name, command, given, ["OVERRIDE ..."])
    return int(command(uri, run, partial(changed, overrides), **given))


def run_of(name: str, words: list[str]) -> tuple[str, str]:
    """The RUN among the words, and the tracking store that it is in."""
    runs = bare(words)
    if len(runs) != 1:
        raise ConfigError("", f"{name} needs one RUN ({RUN}), found {' and '.join(runs) or 'none'}")
    given = [typed_words.text(word) for word in words if word.startswith("tracking.uri=")]
    uri = next(iter(given), "") or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        permission.store(Tracking().uri, "tracking.uri")
    return runs[0], uri or Tracking().uri


def own(command: Callable[..., int], words: list[str]) -> dict[str, str]:
    """Take out of `words` the command's own key=value, those of its keyword-only arguments."""
    takes = {k for k, p in inspect.signature(command).parameters.items() if p.kind is p.KEYWORD_ONLY}
    given = {}
    for word in [w for w in words if w.partition("=")[0] in takes and "=" in w]:
        words.remove(word)
        given[word.partition("=")[0]] = word.partition("=")[2]
    return given


def overrides(words: list[str]) -> list[str] | None:
    """The words, if all of them are overrides and Hydra is asked for nothing else; else None."""
    return None if any(word.startswith("-") for word in words) else list(words)


def whole(key: str, word: str, least: int = 1) -> int:
    """The whole number that was typed for `key`."""
    if not word.isdecimal() or int(word) < least:
        raise ConfigError(key, f"{word!r} is not a whole number of at least {least}")
    return int(word)


def truth(key: str, word: str) -> bool:
    """The true or false that was typed for `key`."""
    if word not in ("true", "false"):
        raise ConfigError(key, f"{word!r} is neither true nor false")
    return word == "true"


def _is_override(key: str, command: Callable[..., int]) -> bool:
    """A key of the configuration that is no key of the command's own."""
    known = {field.name for field in dataclasses.fields(Settings)}
    return key not in _keys(command) and re.split(r"[.\[]", key)[0] in known


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


def _check(name: str, command: Callable[..., int], given: dict[str, Any], further: list[str] | None = None) -> None:
    takes = _keys(command)
    for key in given:
        if key not in takes:
            known = [*takes, "tracking.uri"]
            near = keys.hint(key, [*known, *keys.declared()], given[key]) if further else did_you_mean(key, known)
            raise ConfigError(
                key,
                f"{name} of a recorded run takes no such key{near} (it takes {', '.join([*known, *(further or [])])})",
            )
    missing = [f"{k}=..." for k, p in takes.items() if p.default is p.empty and k not in given]
    if missing:
        raise ConfigError("", f"{name} needs {' and '.join(missing)}")
