"""The columns that are chosen: targets, features, and the words of a command line that choose them."""

import re
import shlex
from collections.abc import Callable
from typing import Any

from runner.data._tables import Frame
from runner.data._tables.names import ONE, has_name, listed, need
from runner.settings.errors import ConfigError

Name = str | int
#: (names of columns) -> the words of a command line that leave them out
Without = Callable[..., str]
#: Read by Hydra as something else than text.
_WORDS = ("true", "false", "null", "nan", "inf", "on", "off", "yes", "no")


def target_columns(frame: Frame, target: Any) -> list[str]:
    """Return the names of the columns to predict.

    target: `data.target`: a name, or a list of names.
    Raises ConfigError where it is missing, names a column twice, or one that is not in `frame`.
    """
    named = [name for name in frame.columns if has_name(name)] or list(frame.columns)
    if target is None or target in ("", []):
        example = typed_override("data.target", named[-1])
        if len(frame.columns) == 1:
            raise ConfigError("data.path", f"there is only one column, {named[0]!r}; {ONE}")
        raise ConfigError("data.target", f"missing; give the column to predict, e.g. {example}")
    targets = column_names(target)
    need(frame, targets, "data.target")
    if len(set(targets)) < len(targets):
        raise ConfigError("data.target", f"names a column twice: {listed(targets)}")
    return targets


def column_names(target: Any) -> list[str]:
    """Return the names that `data.target` holds. Raises ConfigError for what is no name, nor a list of names."""
    names = target if isinstance(target, list) else [target]
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise ConfigError("data.target", f"{name!r} is not the name of a column, nor a list of names")
    return [str(name) for name in names]


def feature_columns(
    frame: Frame,
    targets: list[str],
    features: list[Name] | None,
    left_out: set[str],
    split: tuple[str, str] | None,
    empty: set[str],
) -> list[str]:
    """Return the names of the columns to predict from.

    features: `data.features`; None: all columns with a name, but the other ones given here.
    left_out: `data.leave_out`. split: the kind of split and its column. empty: columns without a value.
    Raises ConfigError for names that are no columns, that come twice, or that contradict each other, and where none is
    left.
    """
    need(frame, sorted(left_out), "data.leave_out")
    if split is not None:
        need(frame, [split[1]], f"data.split.{split[0]}")
    names = [str(name) for name in features or []]
    if features is None:
        unused = {*targets, *left_out, *empty, *([split[1]] if split else [])}
        names = [name for name in frame.columns if name not in unused and has_name(name)]
    elif left_out:
        raise ConfigError(
            "data.leave_out", "stands beside data.features, which names all columns to use; give one of them"
        )
    for target in targets:
        if split is not None and split[1] == target:
            raise ConfigError(f"data.split.{split[0]}", f"names the target {target!r}; expected another column")
        if target in left_out:
            raise ConfigError("data.leave_out", f"names the target {target!r}; expected columns to predict it from")
        if target in names:
            raise ConfigError("data.features", f"holds the target {target!r}; a model would only have to copy it")
    if split is not None and split[0] == "column" and split[1] in names:
        raise ConfigError("data.features", f"holds {split[1]!r}, which holds the names of the parts; leave it out")
    if not names:
        raise ConfigError(
            "data.features", f"there is nothing to predict {listed(targets)} from; expected at least one column"
        )
    need(frame, names, "data.features")
    if len(set(names)) < len(names):
        raise ConfigError("data.features", f"names a column twice: {listed(names)}")
    return names


def typed_override(key: str, value: Any) -> str:
    """Return `key=value` to paste into a shell, quoted for Hydra's grammar and then for the shell.

    value: a text, or lists and mappings of texts.
    typed_override("data.target", "length (cm)") is 'data.target="length (cm)"', with the outer quotes.
    """
    return shlex.quote(f"{key}={_hydra(value)}")


def _hydra(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{_hydra(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_hydra, value)) + "]"
    if re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII) and value.lower() not in _WORDS:
        return str(value)
    if re.fullmatch(r"0|[1-9]\d*", value, re.ASCII):  # a column may be called 2; Hydra reads a number
        return str(value)
    # Hydra takes a backslash for one only where a quote follows, and ${...} for a reference.
    text = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ("\\" if m[2] else "") + m[2], value)
    return '"' + text.replace("${", "\\${") + '"'
