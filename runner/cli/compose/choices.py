"""The form in which a study chooses presets in its defaults."""

import re
from typing import Any

from runner.settings.errors import ConfigError


def check(defaults: Any, name: str, presets: dict[str, list[str]], studies: list[str]) -> None:
    """Raise ConfigError for an entry that is meant to choose a preset and is written otherwise.

    Hydra would look for it among the studies, or take it for a second choice beside the first.

    defaults: plain, as in the file. name: of the file. presets: those of each group. studies: what else there may be.
    """
    for index, entry in enumerate(defaults or []):
        if right := _right(entry, presets, studies):
            pair = next(iter(entry.items())) if isinstance(entry, dict) else (entry,)
            written = ": ".join("null" if word is None else str(word) for word in pair)
            raise ConfigError(
                f"defaults[{index}]", f"`{written}` chooses no preset in a study; expected {_said(right)} ({name})"
            )


def _right(entry: Any, presets: dict[str, list[str]], studies: list[str]) -> str:
    """Return the right form of an entry; "" if nothing is wrong with it."""
    key, value = next(iter(entry.items())) if isinstance(entry, dict) else (str(entry), None)
    place = re.sub(r"^\s*((optional|override)\b)?\s*/?(conf/)?", "", key, flags=re.IGNORECASE)
    group = place.partition("@")[0]
    if isinstance(entry, dict):
        if group not in presets or group in studies:
            return ""
        if isinstance(value, dict):
            return f"{group}: {_flow(value)}"  # of the study itself
        return "" if key.startswith("override /") else f"override /{group}: {'null' if value is None else value}"
    for group, names in presets.items():
        if match := re.fullmatch(rf"{group}[=:/ ]+(\w+)", place):
            return f"override /{group}: {match[1]}"
        if place in names and place not in studies:
            return f"override /{group}: {place}"
    return ""


def _said(right: str) -> str:
    return f"`{right}`" if right.startswith("override") else f"the study's own values, `{right}` beside `defaults:`"


def _flow(value: dict[Any, Any]) -> str:
    return "{" + ", ".join(f"{key}: {inner}" for key, inner in value.items()) + "}"
