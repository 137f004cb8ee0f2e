"""The words by which runs are found and shown: filters, orders and columns, in MLflow's grammar and a shorter one.

A metric may be written without its kind and without backticks: `valid/loss < 0.1` is metrics.`valid/loss` < 0.1.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runner.settings.errors import ConfigError, did_you_mean
from runner.tracking.store.stores import Row

#: Columns that every run has, and what MLflow calls those that it can sort by.
ATTRIBUTES = {
    "run": "run_id",
    "name": "run_name",
    "experiment": "",
    "status": "status",
    "started": "start_time",
    "ended": "end_time",
    "took": "",
    "results": "",
}
#: Kinds of values, by the beginnings of their names.
KINDS = {"metric": "metrics", "param": "params", "parameter": "params", "tag": "tags", "attribute": "attributes"}
KINDS |= {kind: kind for kind in list(KINDS.values())}

_QUOTED = re.compile(r"""('[^']*'|"[^"]*"|`[^`]*`)""")
_NAMED = re.compile(r"\b(metrics?|params?|parameters?|tags?)\.([\w.\-]*[/\-][\w./\-]*)")
_BARE = re.compile(r"(?<![\w.`/-])([A-Za-z_][\w\-]*/[\w./\-]+)")


def condition(words: str) -> str:
    """Return a filter in MLflow's grammar: names with slashes in backticks, and bare ones as those of metrics."""
    parts = _QUOTED.split(words)
    for number, part in enumerate(parts):
        if part[:1] not in ("'", '"', "`"):
            quoted = _NAMED.sub(r"\1.`\2`", part)
            pieces = _QUOTED.split(quoted)
            parts[number] = "".join(p if p[:1] == "`" else _BARE.sub(r"metrics.`\1`", p) for p in pieces)
    return "".join(parts)


@dataclass(frozen=True)
class Column:
    """A value of each run."""

    kind: str  # metrics | params | tags | attributes | "" for whichever has the name
    name: str
    written: str  # as it was typed

    def of(self, row: Row) -> Any:
        """Return the value of a run; None if it has none."""
        if self.kind == "attributes":
            values = {"run": row.run_id, "ended": ended(row), "took": row.seconds, "results": row.metrics}
            return values[self.name] if self.name in values else getattr(row, self.name)
        kinds = [self.kind] if self.kind else ["metrics", "params", "tags"]
        return next((v for kind in kinds if (v := getattr(row, kind).get(self.name)) is not None), None)


def column(word: str) -> Column:
    """Return the column that a word names: `started`, `valid/loss`, `optimizer.lr`, metrics.`valid/loss`, tags.host."""
    word = word.strip()
    kind, dot, name = word.partition(".")
    if dot and kind in KINDS:
        name = name.strip("`")
        back = {mlflow: own for own, mlflow in ATTRIBUTES.items() if mlflow}
        return Column(KINDS[kind], back.get(name, name) if KINDS[kind] == "attributes" else name, word)
    plain = word.strip("`")
    return Column("attributes" if plain in ATTRIBUTES else "metrics" if "/" in plain else "", plain, word)


def columns(words: str) -> list[Column]:
    """Return the columns of a list such as `[name,valid/loss,optimizer.lr]`, with or without brackets."""
    inside = words.strip().removeprefix("[").removesuffix("]")
    names = [one for one in re.findall(r"(?:`[^`]*`|[^,`])+", inside) if one.strip()]
    if not names:
        raise ConfigError("columns", f"{words!r} names no column; expected one or several, as in [name,valid/loss]")
    return [column(name) for name in names]


def check(key: str, chosen: Iterable[Column], rows: list[Row]) -> None:
    """Raise ConfigError for a column that none of the runs has. key: of the command."""
    for one in chosen:
        if one.kind == "attributes" and one.name in ATTRIBUTES:
            continue
        if one.kind == "attributes" or all(one.of(row) is None for row in rows):
            known = dict.fromkeys((*ATTRIBUTES, *(name for row in rows for name in _names(row, one.kind))))
            listed = ", ".join(ATTRIBUTES)
            raise ConfigError(
                key,
                f"no run that is listed has {one.written!r}{did_you_mean(one.name, list(known))}; expected {listed}, or"
                " the name of a metric, a param or a tag, as in valid/loss, optimizer.lr, tags.host",
            )


def _names(row: Row, kind: str) -> list[str]:
    kinds = [kind] if kind in ("metrics", "params", "tags") else ["metrics", "params", "tags"]
    return [name for one in kinds for name in getattr(row, one)]


@dataclass(frozen=True)
class Order:
    """An order of runs."""

    by: Column
    descending: bool

    @property
    def in_store(self) -> str:
        """The order in MLflow's words; "" for one that a store does not have: it sorts params as texts."""
        side = "DESC" if self.descending else "ASC"
        if self.by.kind == "metrics":
            return f"metrics.`{self.by.name}` {side}"
        mlflow = ATTRIBUTES.get(self.by.name, "") if self.by.kind == "attributes" else ""
        return f"attributes.{mlflow} {side}" if mlflow else ""

    def sorted(self, rows: list[Row]) -> list[Row]:
        """Return the runs in this order, numbers by their size, those without a value at the end."""
        having = [row for row in rows if _key(self.by.of(row)) is not None]
        having.sort(key=lambda row: _key(self.by.of(row)) or (0, 0.0, ""), reverse=self.descending)
        return having + [row for row in rows if _key(self.by.of(row)) is None]


def _key(value: Any) -> tuple[int, float, str] | None:
    if value is None or value == "" or isinstance(value, dict):
        return None
    try:
        number = float(value)
    except ValueError:
        return (1, 0.0, str(value))
    return None if math.isnan(number) else (0, number, "")


def order(words: str) -> Order | None:
    """Return the order of `valid/loss`, `valid/Accuracy desc`, or of "": None, for the newest first."""
    if not words.strip():
        return None
    name, _, side = words.strip().rpartition(" ")
    name, side = (name, side.lower()) if side.lower() in ("asc", "desc") else (words, "")
    by = column(name)
    if by.kind == "attributes" and by.name not in ATTRIBUTES:
        raise ConfigError("sort", f"{name.strip()!r} is no attribute; expected one of {', '.join(ATTRIBUTES)}")
    if by.name == "results" and by.kind == "attributes":
        raise ConfigError("sort", "results are several values; name one of them, as in sort=valid/loss")
    return Order(by, side == "desc" or (not side and by.name in ("started", "ended") and by.kind == "attributes"))


def ended(row: Row) -> float | None:
    """Return when a run ended, in seconds since 1970; None if it has not."""
    return None if row.started is None or row.seconds is None else row.started + row.seconds
