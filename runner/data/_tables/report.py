"""The report of a table, lines for people: what was left out, what is doubtful, every column."""

import re
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from runner.data._tables import Frame
from runner.data._tables.column import Column
from runner.data._tables.names import has_name, listed
from runner.data._tables.understanding import FEW

#: Columns that get a line of their own.
MOST = 40
#: Names that people give to columns which only tell the rows apart.
_ID = re.compile(
    r"(?i)(.*[_ ])?(id|ids|idx|index|uuid|key|nr|no|row|rowid|row[_ ]?number|record)|#|.*[a-z](Id|ID|Index)"
)


def report(
    frame: Frame,
    path: str,
    columns: list[Column],
    targets: list[Column],
    y: Any,
    classes: Any,
    unused: dict[str, Any],
) -> tuple[str, ...]:
    """Return a summary in one line, then a line for each column.

    frame: the file's rows. path: of the file, for the summary.
    columns, targets: the features and the targets. y: the targets as a tensor. classes: their names.
    unused: why columns may be unused: `leave_out`, `empty`, and `split`, the kind of split and its column, or None.
    """
    summary = [
        f"{path}: {len(frame):,} rows, {len(frame.columns):,} columns",
        *_left_out(frame, columns, targets, unused),
    ]
    used = {column.name for column in [*columns, *targets]}
    doubts = [f"{name!r} {words}" for name, words in frame.attrs.get("doubts", {}).items() if name in used]
    doubts += [words for name, words in frame.attrs.get("doubts", {}).items() if not name]
    doubts += [f"{name!r} {words}" for name, words in frame.attrs.get("swallowed", {}).items()]  # of those left out
    doubts += _doubts(columns, targets, y, classes)
    if doubts:
        summary.append(f"doubtful: {'; '.join(doubts)}")
    lines = [f"column {column.name!r}: {describe(column)}" for column in columns[:MOST]]
    if len(columns) > MOST:
        kinds = [column.kind for column in columns[MOST:]]
        counts = ", ".join(f"{kinds.count(kind):,} of {kind}" for kind in dict.fromkeys(kinds))
        lines.append(f"and {len(kinds):,} more columns: {counts}")
    lines += [f"target {column.name!r}: {describe(column)}" for column in targets]
    twice = _repeated([column.values for column in [*columns, *targets]])
    if twice:
        words = "row repeats an earlier one" if twice == 1 else "rows repeat an earlier one"
        lines.append(f"{twice:,} {words}; equal rows may be in training and in test data")
    return ("; ".join(summary), *lines)


def _repeated(columns: list[NDArray[Any]]) -> int:
    """Return how many rows are equal to an earlier one.

    Column by column, rows are left out that differ from all others.
    """
    import pandas

    rows = np.arange(len(columns[0]))
    groups = np.zeros(len(rows), np.int64)  # of rows that are equal so far
    for column in columns:
        codes, different = pandas.factorize(column[rows])
        groups, _ = pandas.factorize(groups * len(different) + codes)
        alike = np.bincount(groups)[groups] > 1
        rows, groups = rows[alike], groups[alike]
        if not len(rows):
            return 0
    return len(rows) - len(np.unique(groups))


def _left_out(frame: Frame, columns: list[Column], targets: list[Column], unused: dict[str, Any]) -> list[str]:
    used = {column.name for column in [*columns, *targets]}
    left_out = set(unused["leave_out"])
    reasons: dict[str, list[str]] = {}
    for name in frame.columns:
        if name in used:
            continue
        if unused["split"] is not None and name == unused["split"][1]:
            reason = f"data.split.{unused['split'][0]}"
        elif name in left_out:
            reason = "data.leave_out"
        elif name in unused["empty"]:
            reason = "empty"
        else:
            reason = "not in data.features" if has_name(name) else "without a name"
        reasons.setdefault(reason, []).append(name)
    if not reasons:
        return []
    total = sum(map(len, reasons.values()))
    return [f"{total:,} left out: " + ", ".join(f"{listed(names)} ({reason})" for reason, names in reasons.items())]


def _doubts(columns: list[Column], targets: list[Column], y: Any, classes: Any) -> list[str]:
    doubts = []
    ids = [column.name for column in columns if is_id(column)]
    if ids:
        doubts.append(f"{listed(ids)} only tells the rows apart")
    dates = [column for column in [*columns, *targets] if are_dates(column)]
    if dates:
        example = f"{int(dates[0].values[0])} is read as {int(dates[0].values[0]):,}"
        doubts.append(f"{listed(column.name for column in dates)} may hold dates: {example}")
    if len(targets) == 1 and isinstance(y, Tensor):
        copies = [column.name for column in columns if _determines(column, targets[0], y, len(classes))]
        if copies:
            doubts.append(f"{listed(copies)} alone tells the target")
        different = np.unique(targets[0].values) if not classes and targets[0].kind == "numbers" else np.zeros(0)
        if 2 < len(different) <= 10 and (different == np.round(different)).all() and len(y) > 5 * len(different):
            doubts.append(
                f"the target holds {len(different)} different whole numbers, which are predicted as numbers;"
                " data.task=classification makes classes of them"
            )
    return doubts


def _determines(column: Column, target: Column, y: Tensor, classes: int) -> bool:
    """Return whether a column is the target under another name: equal, or with one value for each class."""
    if not classes or y.is_floating_point():  # numbers, or probabilities of classes
        return column.kind == "numbers" and np.array_equal(column.values, target.values)
    values = column.values
    if column.kind == "text" and column.width != classes:
        return False
    index = y.numpy()
    first = np.zeros(classes, dtype=values.dtype)
    first[index[::-1]] = values[::-1]  # the value beside the first row of each class
    return len(np.unique(first)) == classes and bool((first[index] == values).all())


def is_id(column: Column) -> bool:
    """Return whether numbers only tell the rows apart: they count them, or are called an id and never repeat."""
    values = column.values
    if column.kind != "numbers" or len(values) < FEW or not (values == np.floor(values)).all():
        return False
    is_count = values.max() - values.min() == len(values) - 1
    if not is_count and not _ID.fullmatch(column.name):
        return False
    return len(np.unique(values)) == len(values)


def are_dates(column: Column) -> bool:
    """Return whether whole numbers are dates without their dashes, as 20240131: their differences are no times."""
    if column.kind != "numbers" or not ((column.values >= 19000101) & (column.values <= 21001231)).all():
        return False
    months, days = column.values // 100 % 100, column.values % 100
    return bool(((months >= 1) & (months <= 12) & (days >= 1) & (days <= 31) & (days == np.floor(days))).all())


def describe(column: Column) -> str:
    """Return words for what a column holds."""
    values, total = column.values, len(column.values)
    if column.kind == "text":
        counts = np.bincount(values, minlength=len(column.categories))
        shown = zip(column.categories[:100], counts[:100].tolist(), strict=True)  # more than there is room for
        each = ", ".join(f"{text!r} {n:,}" for text, n in shown)
        alike = {text.casefold() for text in column.categories}
        twins = "; some differ in upper and lower case only" if len(alike) < len(column.categories) else ""
        return f"text, {_count(len(column.categories), 'category', 'categories')}: {shorten(each, 120)}{twins}"
    if column.kind == "truth":
        return f"true and false: {int(values.sum()):,} true, {int(total - values.sum()):,} false"
    low, high = (f"{v:.10g}" if v == np.floor(v) else f"{v:g}" for v in (values.min(), values.max()))
    return f"numbers, always {low}" if low == high else f"numbers, {low} to {high}"


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"
