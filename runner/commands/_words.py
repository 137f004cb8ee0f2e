"""The words of a command line that Hydra does not read: the command, and RUN key=value ... after some commands."""

import dataclasses
import inspect
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from runner.settings import Settings, Tracking
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.trust import permission
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
#: Beginnings of the conditions of a FILTER, in which an equals sign is no override: `params.seed = '3'`.
CONDITIONS = ("metrics.", "params.", "tags.", "attributes.", "status ", "status=", "run_name", "start_time", "end_time")


def call(name: str, command: Callable[..., Any], words: list[str], changed: Changed) -> Any:
    """Call `command(uri, run, key=value, ...)` and return its result: an exit code or a `Result`.

    Its positional parameters, but for `uri` and `change`, are words without a key, in their order: RUN, OTHER, NAME.
    Those with a default may be left out; with *words there may be more. The keys are its keyword-only arguments, and
    any with **keys. All are strings.
    uri: the store that tracking.uri=URI names; without it that is MLFLOW_TRACKING_URI, or else mlflow.db of the
        working directory.
    change: takes overrides too; `changed` maps the recorded configuration to the overridden one.
    Raises ConfigError for a word that is superfluous, unknown or missing.
    """
    parameters = inspect.signature(command).parameters
    plain = _plain_words(words, parameters)
    values = dict(_split(word, name) for word in words if word not in plain)
    known = takes(command)
    given: dict[str, Any] = dict(zip(known, _counted(name, command, plain), strict=False))
    if "uri" in parameters:
        values.pop("tracking.uri", None)
        given["uri"] = _uri(words)
    overrides: list[str] = []
    if "change" in parameters:
        overrides = [f"{key}={values.pop(key)}" for key in list(values) if _is_override(key, command)]
        given["change"] = partial(changed, overrides)
    values = {_short(key, command): value for key, value in values.items()}
    _check(name, command, values, ["OVERRIDE ..."] if "change" in parameters else None)
    first = [given.pop(key) for key, p in parameters.items() if p.kind is p.POSITIONAL_ONLY and key in given]
    return command(*first, *plain[len(known) :], **given, **values)


def takes(command: Callable[..., Any]) -> dict[str, bool]:
    """Return the names of the words without a key that a command takes, and whether each is needed."""
    parameters = inspect.signature(command).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {p.name: p.default is p.empty for p in parameters if p.kind in kinds and p.name not in ("uri", "change")}


def run_of(name: str, words: list[str]) -> tuple[str, str]:
    """Return the RUN among the words, and the URI of its tracking store."""
    runs = bare(words)
    if len(runs) != 1:
        raise ConfigError("", f"{name} needs one RUN ({RUN}), found {' and '.join(runs) or 'none'}")
    return runs[0], _uri(words)


def _uri(words: list[str]) -> str:
    from runner.settings.trust import typed_words

    uris = [typed_words.text(word) for word in words if word.startswith("tracking.uri=")]
    uri = next(iter(uris), "") or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        permission.store(Tracking().uri, "tracking.uri")
    return uri or Tracking().uri


def _plain_words(words: list[str], parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Return the words without a key. A FILTER and a TEXT may have equals signs."""
    plain = [w for w in words if w in bare([w]) or ("filter" in parameters and _is_condition(w))]
    if "text" in parameters and len(plain) < 2:
        plain += [w for w in words if w not in plain and not w.startswith("tracking.uri=")][:1]
    return plain


def _has(command: Callable[..., Any], kind: Any) -> bool:
    """Return whether a command takes any number of further words, or any key."""
    return any(parameter.kind is kind for parameter in inspect.signature(command).parameters.values())


def _is_condition(word: str) -> bool:
    """Return whether a word with an equals sign is a FILTER: `valid/loss <= 0.1`."""
    return word.startswith(CONDITIONS) or re.match(r"[\w./`-]+\s*([<>!]=|\s=|[<>])", word) is not None


def _counted(name: str, command: Callable[..., Any], words: list[str]) -> list[str]:
    """Return words without a key. Raises ConfigError for too few or too many of them."""
    known = takes(command)
    needed = [key.upper() for key, is_needed in known.items() if is_needed]
    several = _has(command, inspect.Parameter.VAR_POSITIONAL)
    if len(needed) <= len(words) and (several or len(words) <= len(known)):
        return words
    found = " and ".join(words) or "none"
    if list(known) == ["run"]:
        raise ConfigError("", f"{name} needs one RUN ({RUN}), found {found}")
    if not known:
        raise ConfigError("", f"{name} takes no word without a key, found {found}")
    all_words = " ".join([*needed, *(f"[{key.upper()}]" for key, is_needed in known.items() if not is_needed)])
    all_words += " ..." * several
    meaning = f" ({RUN})" if "run" in known else ""
    raise ConfigError("", f"{name} takes {all_words}{meaning}, found {found}")


def own(command: Callable[..., Any], words: list[str]) -> dict[str, str]:
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


def _short(key: str, command: Callable[..., Any]) -> str:
    """Return `experiment` for `tracking.experiment`, if the command has such a key."""
    own_key = key.removeprefix("tracking.")
    return own_key if own_key in _keys(command) else key


def _is_override(key: str, command: Callable[..., Any]) -> bool:
    """Return whether `key` is a key of the configuration and not one of the command."""
    names = {field.name for field in dataclasses.fields(Settings)}
    return key not in _keys(command) and re.split(r"[.\[]", key)[0] in names


def _keys(command: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {k: p for k, p in inspect.signature(command).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _is_bare(word: str, before: str) -> bool:
    if "=" in word or word.startswith(("-", "~", "+")):
        return False
    return not before.startswith("-") or "=" in before or before in ALONE


def _split(word: str, name: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or word.startswith(("-", "~", "+")):
        raise ConfigError(word, f"{name} takes no such word; it takes key=value")
    return key, value


def _check(name: str, command: Callable[..., Any], values: dict[str, Any], further: list[str] | None = None) -> None:
    own_keys, parameters = _keys(command), inspect.signature(command).parameters
    for key in values:
        if key not in own_keys and not _has(command, inspect.Parameter.VAR_KEYWORD):
            valid = [*own_keys, *(["tracking.uri"] if "uri" in parameters else [])]
            near = keys.hint(key, [*valid, *keys.declared()], values[key]) if further else did_you_mean(key, valid)
            of_run = " of a recorded run" * ("run" in parameters)
            raise ConfigError(
                key, f"{name}{of_run} takes no such key{near} (it takes {', '.join([*valid, *(further or [])])})"
            )
    missing = [f"{k}=..." for k, p in own_keys.items() if p.default is p.empty and k not in values]
    if missing:
        raise ConfigError("", f"{name} needs {' and '.join(missing)}")
