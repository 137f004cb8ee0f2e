"""A CSV or Parquet file as a pandas frame, and its columns as numbers."""

import csv
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.data._values import Array, Values, floats
from runner.lookup import ConfigError, did_you_mean

#: Texts that one column may hold. Each becomes a column of 0 and 1; a name or a date in every row would be hundreds.
MOST = 100

Frame = Any  # pandas.DataFrame: importing pandas takes a second, and most runs read no table
Column = Any  # pandas.Series


def read(found: Path, key: str = "data.path") -> Frame:
    """The file's rows; ConfigError when it is not a table with a row of names and a row of values."""
    import pandas

    readers = {".csv": lambda: pandas.read_csv(found, low_memory=False), ".parquet": lambda: pandas.read_parquet(found)}
    if found.suffix.lower() not in readers:
        raise ConfigError(key, f"{str(found)!r} ends in {found.suffix!r}; expected .csv or .parquet")
    try:
        frame = readers[found.suffix.lower()]()
    except (ValueError, OSError) as error:  # pandas' and Arrow's own errors are ValueErrors
        raise ConfigError(key, f"{str(found)!r} cannot be read as a table: {str(error).strip()}") from error
    if found.suffix.lower() == ".csv" and not isinstance(frame.index, pandas.RangeIndex):
        raise ConfigError(key, f"rows of {str(found)!r} have more values than its first line has names")
    if found.suffix.lower() == ".csv":
        _refuse_twins(found, key)
    if not len(frame):
        raise ConfigError(key, f"{str(found)!r} has no rows; expected a line of names and one line per example")
    return frame.set_axis(frame.columns.map(str), axis=1)


def _refuse_twins(found: Path, key: str) -> None:
    """pandas calls a second column `a` silently `a.1`."""
    with found.open(newline="", encoding="utf-8-sig") as lines:
        names = next(csv.reader(lines), [])
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ConfigError(key, f"{str(found)!r} has several columns called {_list(twins)}; give each a name of its own")


def need(frame: Frame, names: list[str], key: str) -> None:
    """Refuse names that are no columns, and columns with missing values."""
    columns = list(frame.columns)
    for name in names:
        if name not in columns:
            hint = "; expected commas between columns" if len(columns) == 1 else ""
            raise ConfigError(
                key, f"there is no column {name!r}{did_you_mean(name, columns)} (there are {_list(columns)}{hint})"
            )
    missing = frame[names].isna().sum()
    if missing.any():
        counts = ", ".join(f"{name!r} in {n:,}" for name, n in missing.items() if n)
        raise ConfigError(
            key,
            f"values are missing: {shorten(counts, 300)} of {len(frame):,} rows (empty cells, NA, null and None count);"
            " fill them in, drop those rows (pandas: frame.dropna()), or leave the column out with data.features",
        )


def values(column: Column, key: str) -> Array:
    """A column as an array of float64, bool or text."""
    from pandas.api import types

    if isinstance(column.dtype, types.CategoricalDtype) or types.is_string_dtype(column):
        _refuse_mixed(column, key)
        return np.asarray(column.astype(str).tolist(), dtype=np.str_)
    if types.is_bool_dtype(column):
        return np.asarray(column.to_numpy(dtype=bool))
    if types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=np.float64)
        floats(Values(numbers, f"column {column.name!r}, row ", key))
        return np.asarray(numbers)
    raise ConfigError(
        key,
        f"column {column.name!r} holds {column.dtype}; expected numbers, true/false or text:"
        " convert it, or leave it out with data.features",
    )


def categories(frame: Frame, columns: list[str]) -> dict[str, list[str]]:
    """The different texts of each column that holds text, sorted."""
    found = {name: values(frame[name], "data.features") for name in columns}
    texts = {name: np.unique(array).tolist() for name, array in found.items() if array.dtype.kind == "U"}
    for name, different in texts.items():
        if len(different) > MOST:
            others = ",".join(column for column in columns if column != name)
            raise ConfigError(
                "data.features",
                f"column {name!r} holds {len(different):,} different texts; expected at most {MOST}, each of which"
                f" becomes a column of 0 and 1; leave it out, data.features=[{shorten(others, 60)}], or turn it into"
                " numbers",
            )
    return texts


def expand(frame: Frame, columns: list[str], texts: dict[str, list[str]]) -> NDArray[np.float64]:
    """The columns side by side as numbers: true is 1, and a text has a column of 0 and 1 for each value it can have."""
    return np.hstack([_expand(frame[name], texts.get(name)) for name in columns])


def _expand(column: Column, texts: list[str] | None) -> NDArray[np.float64]:
    array = values(column, "data.features")
    if texts is None:
        return array.astype(np.float64)[:, None]
    for text in np.unique(array).tolist():
        if text not in texts:
            raise ConfigError("data.features", f"column {column.name!r} holds {text!r}; expected one of {_list(texts)}")
    return np.stack([array == text for text in texts], axis=1).astype(np.float64)


def _refuse_mixed(column: Column, key: str) -> None:
    """Numbers with a few words between them, such as `?` for a missing value, would pass for text."""
    import pandas

    words = pandas.to_numeric(column.astype(object), errors="coerce").isna().to_numpy()
    if words.any() and words.sum() < len(words) / 2:
        row = int(words.argmax())
        raise ConfigError(
            key,
            f"column {column.name!r} holds numbers, but {column.iloc[row]!r} in row {row} and {int(words.sum()):,} of"
            f" {len(words):,} rows hold text; replace it by a number, or drop those rows",
        )


def _list(names: list[str]) -> str:
    return shorten(", ".join(repr(name) for name in names), 300)
