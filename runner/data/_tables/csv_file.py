"""A CSV file as a pandas frame, and what its numbers may be instead."""

import contextlib
import csv
import re
import warnings
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from runner.data._tables import Frame
from runner.data._tables.names import completed, listed, refuse_twins
from runner.data._tables.raw import lines_of, not_closed, swallowed
from runner.settings.errors import ConfigError

#: Separators of the values of a line, with their names.
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
#: Lines at the beginning of a CSV file that decide which of them it is.
LINES = 20
#: Rows at the beginning of a CSV file whose numbers are inspected as they are written.
ROWS = 1000
#: Columns of a table, and characters of a column's name, at most.
COLUMNS, NAME = 1_000_000, 1000
#: Columns from which on a frame is copied, and texts that are inspected as they are written.
WIDE, CELLS = 100, 1_000_000


class Header(NamedTuple):
    """The head of a CSV file: the columns' names, stripped of spaces, and what separates the values of a line."""

    names: list[str]
    separator: str


def read_csv(path: Path, key: str, texts: set[str]) -> Frame:
    """Return the rows of a CSV file. Raises ConfigError for one that is none, or whose names or rows cannot be right.

    key: of the configuration, for messages.
    texts: columns that are text even if all that they hold in this file looks like numbers.
    `attrs` of the frame: see `frame.read`.
    """
    import pandas

    lines = lines_of(path, key)
    names, separator = _header(path, key)
    if not names:
        raise ConfigError(key, f"{str(path)!r} cannot be read as a table: it is empty; expected a line of names")
    _refuse_values(names, path, key)
    refuse_twins(names, path, key)
    names = completed(names)
    options: Any = {
        "sep": separator,
        "header": 0,
        "names": names,
        "index_col": False,  # a comma at the end of every line but the first would make an index of the first column
        "skipinitialspace": True,
        "encoding": "utf-8-sig",
        "low_memory": False,
    }
    if int(pandas.__version__.partition(".")[0]) < 3:  # which reads one number in three off by its last bit
        options["float_precision"] = "round_trip"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(path, dtype=dict.fromkeys(texts & set(names), "str"), **options)
    except pandas.errors.ParserWarning as error:
        raise ConfigError(
            key,
            f"rows of {str(path)!r} have more values than its first line has names, {listed(names)}; give each column"
            " a name, or take out the lines above those with the names",
        ) from error
    except pandas.errors.ParserError as error:
        if "EOF inside string" not in str(error):
            raise
        with _any_length():
            raise not_closed(path, key, separator) from error
    if len(names) > WIDE:
        frame = frame.copy()  # into one block of memory: column by column, every operation takes long
    frame.attrs["doubts"] = _Uncopied(_doubts(frame, path, separator))
    if (words := _first_example(names)) is not None:
        frame.attrs["doubts"][""] = words
    frame.attrs["swallowed"] = _Uncopied(swallowed(frame, separator) if lines > len(frame) + 1 else {})
    return frame


def _header(path: Path, key: str) -> Header:
    """Read the head of a CSV file. Raises ConfigError for one that is too long to be names of columns."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = list(islice((line for line in file if line.strip()), LINES))
    for separator in SEPARATORS if lines else ():
        if (columns := lines[0].count(separator) + 1) > COLUMNS:
            raise ConfigError(
                key,
                f"the first line of {str(path)!r} has {columns:,} values between {SEPARATORS[separator]}; expected at"
                f" most {COLUMNS:,} names of columns: give each example a line of its own, or save arrays (.npz)",
            )
    with _any_length():
        separator = _separator(lines)
        names = next(csv.reader(lines, delimiter=separator, skipinitialspace=True), [])
    if names and (longest := max(map(len, names))) > NAME:
        raise ConfigError(
            key,
            f"the first line of {str(path)!r} holds a name of {longest:,} characters; expected names of columns,"
            " separated by commas, semicolons or tabs",
        )
    return Header([name.strip() for name in names], separator)


def _separator(lines: list[str]) -> str:
    """Return what gives the first line the most columns, and every line as many: commas, where several do."""
    scores = {}
    for separator in SEPARATORS:
        widths = [len(row) for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)]
        even = all(width in (widths[0], widths[0] + 1) for width in widths[:-1])  # the last may go on in further lines
        scores[separator] = (even and widths[0] > 1, widths[0]) if widths else (False, 0)
    return max(scores, key=lambda separator: scores[separator])


@contextlib.contextmanager
def _any_length() -> Iterator[None]:
    """Let Python's reader take cells of more than 131,072 characters, which pandas reads too."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _refuse_values(names: list[str], path: Path, key: str) -> None:
    """Raise ConfigError for a file that begins with its first example.

    The example would be lost, and the columns would be called 5.1 and 3.5.
    """
    values = [name for name in names if re.fullmatch(r"[+-]?\d*\.\d+([eE][+-]?\d+)?|[+-]\d+", name)]
    if 2 * len(values) > len(names):
        raise ConfigError(
            key,
            f"the first line of {str(path)!r} holds values, {listed(values[:3])}, where names are expected; put a line"
            " with the columns' names before it",
        )


class _Uncopied(dict[str, str]):
    """Words by column. pandas copies what is in `attrs` whenever it takes a column out of a frame."""

    def __deepcopy__(self, memo: Any) -> "_Uncopied":
        return self


def _doubts(frame: Frame, path: Path, separator: str) -> dict[str, str]:
    """Return what columns may be that pandas takes for numbers, by the way in which their first rows are written."""
    from pandas.api import types

    doubts = {}
    numbers = [types.is_numeric_dtype(dtype) and not types.is_bool_dtype(dtype) for dtype in frame.dtypes]
    for name, is_number, texts in zip(frame.columns, numbers, _as_written(path, separator), strict=False):
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


def _as_written(path: Path, separator: str) -> Iterator[tuple[str, ...]]:
    """Yield the texts of each column in the file's first rows; of a wide file, fewer rows.

    Nothing of a file that pandas has read and Python's reader refuses: then no doubt is reported.
    """
    with path.open(newline="", encoding="utf-8-sig") as file, _any_length(), contextlib.suppress(csv.Error):
        rows = (row for row in csv.reader(file, delimiter=separator, skipinitialspace=True) if row)
        width = len(next(rows, []))
        count = max(10, min(ROWS, CELLS // max(width, 1)))
        stripped = [[text.strip() for text in row] for row in islice(rows, count)]
        yield from zip_longest(*stripped, fillvalue="")


def _first_example(names: list[str]) -> str | None:
    """Return words for a first line of whole numbers which do not count the columns; None for any other."""
    numbers = [int(name) for name in names if re.fullmatch(r"\d{1,18}", name)]
    if 2 * len(numbers) <= len(names) or [n - numbers[0] for n in numbers] == list(range(len(numbers))):
        return None
    return f"the first line, {listed(names[:5])}, is read as names of columns: if it is an example, put names before it"
