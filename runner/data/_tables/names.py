"""Names of columns: which there are, and how messages list them."""

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import Any

from runner.data._tables import Frame
from runner.settings.errors import ConfigError, did_you_mean

#: The remedy for a table of one column.
ONE = "expected commas, semicolons or tabs between columns"


def has_name(name: str) -> bool:
    """Return whether a column was given a name. pandas writes the rows' index as a first column without one."""
    return not re.fullmatch(r"Unnamed: \d+(\.\d+)*|__index_level_\d+__", name)


def need(frame: Frame, names: list[str], key: str) -> None:
    """Raise ConfigError for names that are no columns."""
    columns = dict.fromkeys(frame.columns)
    for name in names:
        if name not in columns:
            hint = f"; {ONE}" if len(columns) == 1 else ""
            raise ConfigError(
                key, f"there is no column {name!r}{did_you_mean(name, columns)} (there are {listed(columns)}{hint})"
            )


def completed(names: list[str]) -> list[str]:
    """Return the names with pandas' own for the columns without one: `Unnamed: 3`, by the place from 0."""
    complete: list[str] = []
    taken = set(names)
    for place, name in enumerate(names):
        if not name:
            name = f"Unnamed: {place}"
            while name in taken:
                name += ".1"
            taken.add(name)
        complete.append(name)
    return complete


def refuse_twins(names: list[str], path: Path, key: str) -> None:
    """Raise ConfigError for two columns of one name. pandas calls a second column `a` silently `a.1`."""
    seen: set[str] = set()
    twins = sorted({name for name in names if name and (name in seen or seen.add(name))})  # type: ignore[func-returns-value]
    if twins:
        also = ", or a line of names before it" if all(re.fullmatch(r"[\d.+-]+", name) for name in twins) else ""
        raise ConfigError(
            key,
            f"{str(path)!r} has several columns called {listed(twins)}; give each a name of its own{also}",
        )


def listed(names: Iterable[Any]) -> str:
    """Return the names in quotes, as many as a message can hold."""
    return shorten(", ".join(repr(name)[:400] for name in islice(names, 100)), 300)


def quoted(value: Any) -> str:
    """Return a value in quotes, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:60]}... ({len(text):,} characters)"
