"""Short texts for tables and plots: keys, times, numbers."""

from collections.abc import Iterable

from runner.settings.trust import terminal
from runner.sweeps.report.table import Row


def short(keys: Iterable[str]) -> dict[str, str]:
    """Return key -> its shortest ending that no other key has: `lr` for `optimizer.lr`."""
    keys = list(keys)
    return {key: next(end for end in _ends(key) if end == key or _alone(end, keys)) for key in keys}


def named(row: Row, names: dict[str, str]) -> str:
    """Return the overrides of a row with short names, as in `lr=0.1, seed=2`. names: returned by `short`."""
    return terminal.line(", ".join(f"{names.get(key, key)}={value}" for key, value in row.overrides.items()))


def took(seconds: float | None) -> str:
    """Return a time as `3.2 s`, `2:05 min` or `1:02 h`; "" for None."""
    if seconds is None:
        return ""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02} min" if whole < 3600 else f"{whole // 3600}:{whole % 3600 // 60:02} h"


def figure(value: float | None) -> str:
    """Return a number with four digits; "" for None."""
    return "" if value is None else f"{value:.4g}"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, as in `1 job` or `1,200 jobs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _ends(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]


def _alone(end: str, keys: list[str]) -> bool:
    return sum(end in _ends(key) for key in keys) == 1
