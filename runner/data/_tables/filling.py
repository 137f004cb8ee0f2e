"""Missing values of features, by the rule of `data.missing`: rows are dropped, or values filled in and noted."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runner.data._tables import Frame, Series
from runner.data._tables.missing import missing_in, refuse_missing
from runner.settings.errors import ConfigError

Rule = Literal["refuse", "median", "mean", "drop"]


def drop(frame: Frame, names: list[str]) -> tuple[Frame, str]:
    """Return the rows in which no value of these columns is missing, and a line for the report; "" if that is all.

    Raises ConfigError where none is left.
    """
    wrong = np.any([missing_in(frame[name]) for name in names], axis=0)
    if not wrong.any():
        return frame, ""
    if wrong.all():
        raise ConfigError("data.missing", "drop leaves no row: in each a value is missing; leave sparse columns out")
    attributes, rest = frame.attrs, frame[~wrong].reset_index(drop=True).infer_objects()
    rest.attrs = attributes
    return rest, f"missing values: {int(wrong.sum()):,} of {len(frame):,} rows are dropped"


def values(frame: Frame, names: list[str], rule: Rule, train: NDArray[np.int64]) -> dict[str, Any]:
    """Return what stands for a missing value of each column: of numbers their mean or median, else the most frequent.

    train: the numbers of the training rows, from which it is computed.
    Raises ConfigError for a column without a value in these.
    """
    return {name: _value(frame[name].iloc[train], name, rule) for name in names}


def fill(frame: Frame, names: list[str], by: dict[str, Any], key: str) -> Frame:
    """Return the rows with `by[name]` where a value of the column `name` is missing.

    key: of the configuration, for messages. Raises ConfigError for missing values of other columns.
    """
    refuse_missing(frame, [name for name in names if name not in by], key)
    filled = {}
    for name in names:
        rows = missing_in(frame[name]) if name in by else np.zeros(0, bool)
        if rows.any():
            filled[name] = _filled(frame[name], rows, by[name])
    attributes, frame = frame.attrs, frame.assign(**filled)
    frame.attrs = attributes
    return frame


def report(frame: Frame, names: list[str], by: dict[str, Any], rule: Rule) -> list[str]:
    """Return a line for the columns in which values are missing, with what stands for them."""
    counts = {name: int(rows.sum()) for name in names if (rows := missing_in(frame[name])).any()}
    shown = ", ".join(f"{name!r} in {count:,} rows: {_short(by[name])}" for name, count in list(counts.items())[:20])
    more = f" and {len(counts) - 20} more columns" if len(counts) > 20 else ""
    what = f"the {rule} of the training rows, or their most frequent text"
    return [f"missing values are filled with {what}: {shown}{more}"] if counts else []


def _value(series: Series, name: str, rule: Rule) -> Any:
    from pandas.api import types

    present = series[~missing_in(series)]
    if not len(present):
        raise ConfigError(
            "data.missing",
            f"{rule} of column {name!r} cannot be had: no training row has a value; leave the column out",
        )
    if types.is_numeric_dtype(present) and not types.is_bool_dtype(present):
        numbers = present.to_numpy(dtype=np.float64)
        return float(np.median(numbers) if rule == "median" else numbers.mean())
    counts = present.astype(str).str.strip().value_counts()
    frequent = sorted(counts[counts == counts.max()].index)[0]
    if set(map(type, present)) <= {bool, np.bool_}:
        return frequent == "True"
    return frequent


def _filled(series: Series, rows: NDArray[np.bool_], value: Any) -> Series:
    if isinstance(value, bool):
        return series.astype(object).mask(rows, value).astype(bool)
    if isinstance(value, float):
        return series.mask(rows).astype("float64").mask(rows, value)
    return series.astype(object).mask(rows, value).astype(str)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)
