"""A CSV or Parquet file as a pandas frame whose columns have the names that its first line gives."""

import contextlib
import csv
import re
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import torch

from runner.data._raw import lines_of, no_text, not_closed, refuse_ending, swallowed
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.memory import memory, size

Frame = Any  # pandas.DataFrame: importing pandas takes a second, and most runs read no table

#: What may stand between the values of a line, with its name.
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
#: What is said of a table of one column.
ONE = "expected commas, semicolons or tabs between columns"
#: Lines at the beginning of a CSV file that decide which of them it is.
LINES = 20
#: Rows at the beginning of a CSV file whose numbers are looked at as they are written.
ROWS = 1000
#: Columns of a table, and characters of a column's name, at most.
COLUMNS, NAME = 1_000_000, 1000
#: Bytes of a value in memory, at least, of those kinds of Parquet's that may take less than 8.
NARROW = {"BOOLEAN": 1, "INT32": 1, "FLOAT": 4}
#: Columns from which those of a frame are put beside each other, and texts that are looked at as they are written.
WIDE, CELLS = 100, 1_000_000


class Header(NamedTuple):
    """The columns' names, stripped of spaces, and what separates the values of a line."""

    names: list[str]
    separator: str


def read(found: Path, key: str = "data.path", texts: Iterable[str] = ()) -> Frame:
    """The file's rows; ConfigError when it is not a table with a row of names and a row of values.

    texts: columns that are text even if all that they hold in this file looks like numbers.
    A column without a name is called `Unnamed: 3` by its place from 0, as pandas does it. `attrs` of the frame says of
    columns what their numbers may be instead ("doubts"), and which hold other rows of the file ("swallowed").
    """
    refuse_ending(found, key)
    try:
        is_csv = found.suffix.lower() == ".csv"
        frame = _read_csv(found, key, set(texts)) if is_csv else _read_parquet(found, key)
    except ConfigError:
        raise
    except UnicodeError as error:
        raise no_text(found, key) from error
    except (ValueError, TypeError, OSError, csv.Error) as error:  # Arrow's are ValueErrors, pandas' of notes TypeErrors
        raise ConfigError(key, f"{str(found)!r} cannot be read as a table: {str(error).strip()}") from error
    if not len(frame):
        raise ConfigError(key, f"{str(found)!r} has no rows; expected a line of names and one line per example")
    return frame


def header(found: Path, key: str = "data.path") -> Header:
    """Read the head of a CSV file. Raises ConfigError if it holds no names."""
    with found.open(newline="", encoding="utf-8-sig") as file:
        lines = list(islice((line for line in file if line.strip()), LINES))
    for separator in SEPARATORS if lines else ():
        if (columns := lines[0].count(separator) + 1) > COLUMNS:
            raise ConfigError(
                key,
                f"the first line of {str(found)!r} has {columns:,} values between {SEPARATORS[separator]}; expected at"
                f" most {COLUMNS:,} names of columns: give each example a line of its own, or save arrays (.npz)",
            )
    with _any_length():
        separator = _separator(lines)
        names = next(csv.reader(lines, delimiter=separator, skipinitialspace=True), [])
    if names and (longest := max(map(len, names))) > NAME:
        raise ConfigError(
            key,
            f"the first line of {str(found)!r} holds a name of {longest:,} characters; expected names of columns,"
            " separated by commas, semicolons or tabs",
        )
    return Header([name.strip() for name in names], separator)


@contextlib.contextmanager
def _any_length() -> Iterator[None]:
    """Python's reader refuses cells of more than 131,072 characters, which pandas reads."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@contextlib.contextmanager
def columns_of(found: Path) -> Iterator[None]:
    """Around the reading of columns: what is wrong with one is told with the file's name."""
    try:
        yield
    except ConfigError as error:
        if not error.key.startswith(("data.features", "data.target", "data.split.", "inputs")):
            raise
        raise ConfigError(error.key, f"{str(error).removeprefix(f'{error.key}: ')}; in {str(found)!r}") from error


def has_name(name: str) -> bool:
    """Whether a column was given a name. pandas writes the rows' index as a first column without one."""
    return not re.fullmatch(r"Unnamed: \d+(\.\d+)*|__index_level_\d+__", name)


def need(frame: Frame, names: list[str], key: str) -> None:
    """Refuse names that are no columns."""
    columns = set(frame.columns)
    for name in names:
        if name not in columns:
            there = list(frame.columns)
            hint = f"; {ONE}" if len(there) == 1 else ""
            raise ConfigError(
                key, f"there is no column {name!r}{did_you_mean(name, there)} (there are {listed(there)}{hint})"
            )


def quoted(value: Any) -> str:
    """A value in quotes, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:60]}... ({len(text):,} characters)"


def listed(names: Iterable[Any]) -> str:
    """The names in quotes, as many as a message can hold."""
    return shorten(", ".join(repr(name)[:400] for name in islice(names, 100)), 300)


def _read_csv(found: Path, key: str, texts: set[str]) -> Frame:
    import pandas

    lines = lines_of(found, key)
    names, separator = header(found, key)
    if not names:
        raise ConfigError(key, f"{str(found)!r} cannot be read as a table: it is empty; expected a line of names")
    _refuse_values(names, found, key)
    _refuse_twins(names, found, key)
    names = _named(names)
    how: Any = {
        "sep": separator,
        "header": 0,
        "names": names,
        "index_col": False,  # a comma at the end of every line but the first would make an index of the first column
        "skipinitialspace": True,
        "encoding": "utf-8-sig",
        "low_memory": False,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(found, dtype=dict.fromkeys(texts & set(names), "str"), **how)
    except pandas.errors.ParserWarning as error:
        raise ConfigError(
            key,
            f"rows of {str(found)!r} have more values than its first line has names, {listed(names)}; give each column"
            " a name, or take out the lines above those with the names",
        ) from error
    except pandas.errors.ParserError as error:
        if "EOF inside string" not in str(error):
            raise
        with _any_length():
            raise not_closed(found, key, separator) from error
    if len(names) > WIDE:
        frame = frame.copy()  # columns that lie beside each other: each by itself takes its time in every operation
    frame.attrs["doubts"] = _Doubts(_doubts(frame, found, separator))
    if (words := _first_example(names)) is not None:
        frame.attrs["doubts"][""] = words
    frame.attrs["swallowed"] = _Doubts(swallowed(frame, separator) if lines > len(frame) + 1 else {})
    return frame


class _Doubts(dict[str, str]):
    """By column. pandas copies what is in `attrs` whenever it takes a column out of a frame."""

    def __deepcopy__(self, memo: Any) -> "_Doubts":
        return self


def _doubts(frame: Frame, found: Path, separator: str) -> dict[str, str]:
    """Of columns that pandas takes for numbers, what they may be instead, as their first rows are written."""
    from pandas.api import types

    doubts = {}
    numbers = [types.is_numeric_dtype(dtype) and not types.is_bool_dtype(dtype) for dtype in frame.dtypes]
    for name, is_number, texts in zip(frame.columns, numbers, _as_written(found, separator), strict=False):
        if not is_number:
            continue
        zeros = next((text for text in texts if text[:1] in "+-0" and re.fullmatch(r"[+-]?0\d+", text)), None)
        dots = [text for text in texts if "." in text] if separator == ";" else []
        powers = [text for text in texts if text]
        if powers and all(re.fullmatch(r"\d+[eE]\d+", text) for text in powers):  # programs write 1e+05
            doubts[name] = (
                f"holds {powers[0]!r}, read as {float(powers[0]):g}: codes are text, such as {'c' + powers[0]!r}"
            )
        elif zeros is not None:
            doubts[name] = f"holds {zeros!r}, whose leading zero is lost: codes are text, such as {'c' + zeros!r}"
        elif dots and all(re.fullmatch(r"[+-]?[1-9]\d{0,2}\.\d{3}", text) for text in dots):
            number = dots[0].replace(".", "")
            doubts[name] = (
                f"holds {dots[0]!r}, read as {float(dots[0]):g}; if the point groups thousands, write {number}"
            )
    return doubts


def _first_example(names: list[str]) -> str | None:
    """Words for a first line that holds whole numbers which do not count the columns."""
    numbers = [int(name) for name in names if re.fullmatch(r"\d{1,18}", name)]
    if 2 * len(numbers) <= len(names) or [n - numbers[0] for n in numbers] == list(range(len(numbers))):
        return None
    return f"the first line, {listed(names[:5])}, is read as names of columns: if it is an example, put names before it"


def _as_written(found: Path, separator: str) -> Iterator[tuple[str, ...]]:
    """The texts of each column in the file's first rows; of a wide file, fewer rows."""
    with found.open(newline="", encoding="utf-8-sig") as file, _any_length(), contextlib.suppress(csv.Error):
        rows = (row for row in csv.reader(file, delimiter=separator, skipinitialspace=True) if row)
        width = len(next(rows, []))
        most = max(10, min(ROWS, CELLS // max(width, 1)))
        read = [[text.strip() for text in row] for row in islice(rows, most)]
        yield from zip_longest(*read, fillvalue="")


def _read_parquet(found: Path, key: str) -> Frame:
    import pandas

    _refuse_large(found, key)
    frame = pandas.read_parquet(found)
    named = [name for name in frame.index.names if name is not None]
    frame = frame.reset_index(named) if named else frame
    names = [str(name).strip() for name in frame.columns]
    _refuse_twins(names, found, key)
    return frame.set_axis(_named(names), axis=1).reset_index(drop=True)


def _refuse_large(found: Path, key: str) -> None:
    """A Parquet file of a few kB may hold one value a billion times."""
    from pyarrow import parquet

    about = parquet.read_metadata(found)
    kinds = [about.schema.column(i).physical_type for i in range(about.num_columns)]
    least, there = about.num_rows * sum(NARROW.get(kind, 8) for kind in kinds), memory(torch.device("cpu"))
    if least > there:
        raise ConfigError(
            key,
            f"{str(found)!r} has {about.num_rows:,} rows of {about.num_columns:,} columns, which take at least"
            f" {size(least)}, and there are {size(there)}; save less of it",
        )


def _separator(lines: list[str]) -> str:
    """Gives the first line the most columns, and every line as many: commas, where several do."""
    widths = {}
    for separator in SEPARATORS:
        found = [len(row) for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)]
        even = all(width in (found[0], found[0] + 1) for width in found[:-1])  # the last may go on in further lines
        widths[separator] = (even and found[0] > 1, found[0]) if found else (False, 0)
    return max(widths, key=lambda separator: widths[separator])


def _named(names: list[str]) -> list[str]:
    """pandas' names for the columns without one."""
    named: list[str] = []
    taken = set(names)
    for place, name in enumerate(names):
        if not name:
            name = f"Unnamed: {place}"
            while name in taken:
                name += ".1"
            taken.add(name)
        named.append(name)
    return named


def _refuse_twins(names: list[str], found: Path, key: str) -> None:
    """pandas calls a second column `a` silently `a.1`."""
    seen: set[str] = set()
    twins = sorted({name for name in names if name and (name in seen or seen.add(name))})  # type: ignore[func-returns-value]
    if twins:
        also = ", or a line of names before it" if all(re.fullmatch(r"[\d.+-]+", name) for name in twins) else ""
        raise ConfigError(
            key,
            f"{str(found)!r} has several columns called {listed(twins)}; give each a name of its own{also}",
        )


def _refuse_values(names: list[str], found: Path, key: str) -> None:
    """A file that begins with its first example would lose it, and its columns would be called 5.1 and 3.5."""
    values = [name for name in names if re.fullmatch(r"[+-]?\d*\.\d+([eE][+-]?\d+)?|[+-]\d+", name)]
    if 2 * len(values) > len(names):
        raise ConfigError(
            key,
            f"the first line of {str(found)!r} holds values, {listed(values[:3])}, where names are expected; put a line"
            " with the columns' names before it",
        )
