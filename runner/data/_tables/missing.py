"""Missing values: which there are, and what helps."""

from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.data._tables import Frame, Series
from runner.data._tables.selection import Without
from runner.data._tables.texts import MISSING
from runner.settings.errors import ConfigError

_NOTHING = {*MISSING, ""}


def refuse_missing(
    frame: Frame, names: list[str], key: str, without: Without | None = None, rules: bool = False
) -> None:
    """Raise ConfigError where values are missing, with the remedies; to drop every row is none of them.

    without: gives the words that leave columns out; None where they are needed.
    rules: `data.missing` is a key of the source.
    """
    empty = frame[names].isna().to_numpy().any(axis=0)
    suspects = [
        n
        for n, is_empty, dtype in zip(names, empty, frame[names].dtypes, strict=True)
        if is_empty or _may_be_text(dtype)
    ]
    missing = {name: rows for name in suspects if (rows := missing_in(frame[name])).any()}
    if not missing:
        return
    total = len(frame)
    sparse = [name for name, rows in missing.items() if 2 * rows.sum() > total]
    remedies = []
    if sparse and without:
        remedies.append(f"leave out what is mostly empty, {without(*sparse)}")
    dense = {name: rows for name, rows in missing.items() if name not in sparse}
    remaining = int((~np.any(list(dense.values()), axis=0)).sum()) if dense else 0
    if remaining:
        dropped = f"pandas: frame = frame.dropna(subset={list(dense)!r}), which leaves {remaining:,} of {total:,} rows"
        filled = ", data.missing=median" * (rules and without is not None)  # a target is never filled in
        remedies.append(("fill in the others" if remedies else "fill them in") + filled)
        ways = ["data.missing=drop"] * rules + [dropped] * _pandas_agrees(frame, dense)
        remedies.append(", ".join(["drop those rows", " or with ".join(ways)] if ways else ["drop those rows"]))
    elif not remedies:
        remedies.append("fill them in")
    if dense and without:
        remedies.append(f"leave the column{'s' * (len(missing) > 1)} out, {without(*missing)}")
    counts = ", ".join(f"{name!r} in {int(rows.sum()):,}" for name, rows in missing.items())
    first, rows = next(iter(missing.items()))
    raise ConfigError(
        key,
        f"values are missing: {shorten(counts, 300)} of {total:,} rows, first {first!r} in row {int(rows.argmax())}"
        f" (empty cells, NA, null and None count); {'; or '.join(remedies)}",
    )


def missing_in(series: Series) -> NDArray[np.bool_]:
    """Return whether each value of a column is missing: empty, or a text that stands for nothing."""
    rows: NDArray[np.bool_] = series.isna().to_numpy()
    if not _may_be_text(series.dtype):
        return rows
    try:
        values = series.unique()
    except TypeError:  # lists and mappings, which `understand` refuses
        return rows
    words = [text for text in values if isinstance(text, str) and text.strip()[:20].casefold() in _NOTHING]
    return rows | series.isin(words).to_numpy() if words else rows


def _may_be_text(dtype: Any) -> bool:
    """Return whether a column of this type may hold text."""
    return not isinstance(dtype, np.dtype) or dtype.kind == "O"


def _pandas_agrees(frame: Frame, names: Any) -> bool:
    """Return whether pandas counts the same values as missing: it takes `Na` for a text."""
    return not frame[list(names)].notna().all(axis=1)[np.any([missing_in(frame[n]) for n in names], axis=0)].any()
