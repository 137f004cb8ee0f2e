"""Presets of the working directory that share a name with one of ours, which is the one that is used."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from runner.settings.errors import ConfigError
from runner.settings.files import places
from runner.settings.trust import terminal

_mentioned: set[Path] = set()


def check(choices: Mapping[str, Any], words: Sequence[str]) -> None:
    """Raise ConfigError for a preset that is chosen and stands in both folders: one would be read for the other.

    Print that one is not read where nobody has chosen it, since it is the default: a `conf/` may belong to
    another program. choices: group -> preset.
    """
    typed = {word.partition("=")[0].lstrip("+") for word in words}
    for group, name in choices.items():
        theirs, ours = (folder / group / f"{name}.yaml" for folder in (Path.cwd() / "conf", places.conf()))
        if not ours.is_file() or not theirs.is_file() or _is_same(theirs, ours):
            continue
        shown = f"conf/{group}/{name}.yaml"
        if group in typed or _defaults().get(group) != name:
            raise ConfigError(
                "",
                f"{group}={name} is a preset that comes with runner, and {shown} of the working directory would not be"
                f" read; rename that file, as in conf/{group}/my_{name}.yaml, and type {group}=my_{name}",
            )
        if theirs not in _mentioned:
            _mentioned.add(theirs)
            terminal.say(f"{shown} is not read: {group}={name} comes with runner; give the file another name")


def _is_same(theirs: Path, ours: Path) -> bool:
    """Return whether two files hold the same; one of a stranger's may be larger than memory."""
    return theirs.stat().st_size == ours.stat().st_size and theirs.read_bytes() == ours.read_bytes()


@cache
def _defaults() -> dict[str, Any]:
    """Return the presets that are chosen when nobody types one, by their group."""
    chosen = yaml.safe_load((places.conf() / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return {group: name for entry in chosen if isinstance(entry, dict) for group, name in entry.items()}
