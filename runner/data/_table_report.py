"""How a table was understood, in lines for people: what was left out, what is doubtful, every column."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from runner.data._columns import Column, are_dates, describe, is_id
from runner.data._frame import Frame, has_name, listed

#: Columns that get a line of their own.
MOST = 40


def report(
    frame: Frame,
    path: str,
    columns: list[Column],
    wanted: list[Column],
    y: Tensor,
    classes: tuple[str, ...],
    chosen: dict[str, Any],
) -> tuple[str, ...]:
    """A summary in one line, then a line for each column.

    columns, wanted: the features and the targets. y: the targets as tensors.
    chosen: `leave_out`, `empty`, and `split`, the kind of split and its column, or None.
    """
    summary = [
        f"{path}: {len(frame):,} rows, {len(frame.columns):,} columns",
        *_left_out(frame, columns, wanted, chosen),
    ]
    used = {column.name for column in [*columns, *wanted]}
    said = [f"{name!r} {words}" for name, words in frame.attrs.get("doubts", {}).items() if name in used]
    said += [words for name, words in frame.attrs.get("doubts", {}).items() if not name]
    said += [f"{name!r} {words}" for name, words in frame.attrs.get("swallowed", {}).items()]  # of those left out
    doubts = said + _doubts(columns, wanted, y, classes)
    if doubts:
        summary.append(f"doubtful: {'; '.join(doubts)}")
    lines = [f"column {column.name!r}: {describe(column)}" for column in columns[:MOST]]
    if len(columns) > MOST:
        kinds = [column.kind for column in columns[MOST:]]
        counts = ", ".join(f"{kinds.count(kind):,} of {kind}" for kind in dict.fromkeys(kinds))
        lines.append(f"and {len(kinds):,} more columns: {counts}")
    lines += [f"target {column.name!r}: {describe(column)}" for column in wanted]
    twice = _repeated([column.values for column in [*columns, *wanted]])
    if twice:
        words = "row repeats an earlier one" if twice == 1 else "rows repeat an earlier one"
        lines.append(f"{twice:,} {words}; equal rows may be in training and in test data")
    return ("; ".join(summary), *lines)


def _repeated(columns: list[NDArray[Any]]) -> int:
    """Rows that are equal to an earlier one. Column by column, rows are left out that differ from all others."""
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


def _left_out(frame: Frame, columns: list[Column], wanted: list[Column], chosen: dict[str, Any]) -> list[str]:
    used = {column.name for column in [*columns, *wanted]}
    spared = set(chosen["leave_out"])
    reasons: dict[str, list[str]] = {}
    for name in frame.columns:
        if name in used:
            continue
        if chosen["split"] is not None and name == chosen["split"][1]:
            reason = f"data.split.{chosen['split'][0]}"
        elif name in spared:
            reason = "data.leave_out"
        elif name in chosen["empty"]:
            reason = "empty"
        else:
            reason = "not in data.features" if has_name(name) else "without a name"
        reasons.setdefault(reason, []).append(name)
    if not reasons:
        return []
    total = sum(map(len, reasons.values()))
    return [f"{total:,} left out: " + ", ".join(f"{listed(names)} ({reason})" for reason, names in reasons.items())]


def _doubts(columns: list[Column], wanted: list[Column], y: Tensor, classes: tuple[str, ...]) -> list[str]:
    doubts = []
    ids = [column.name for column in columns if is_id(column)]
    if ids:
        doubts.append(f"{listed(ids)} only tells the rows apart")
    dates = [column for column in [*columns, *wanted] if are_dates(column)]
    if dates:
        example = f"{int(dates[0].values[0])} is read as {int(dates[0].values[0]):,}"
        doubts.append(f"{listed(column.name for column in dates)} may hold dates: {example}")
    if len(wanted) == 1:
        copies = [column.name for column in columns if _tells(column, wanted[0], y, len(classes))]
        if copies:
            doubts.append(f"{listed(copies)} alone tells the target")
        different = np.unique(wanted[0].values) if not classes and wanted[0].kind == "numbers" else np.zeros(0)
        if 2 < len(different) <= 10 and (different == np.round(different)).all() and len(y) > 5 * len(different):
            doubts.append(
                f"the target holds {len(different)} different whole numbers, which are predicted as numbers;"
                " data.task=classification makes classes of them"
            )
    return doubts


def _tells(column: Column, target: Column, y: Tensor, classes: int) -> bool:
    """Whether a column is the target under another name: equal, or with one value for each class."""
    if not classes or y.is_floating_point():  # numbers, or probabilities of classes
        return column.kind == "numbers" and np.array_equal(column.values, target.values)
    values = column.values
    if column.kind == "text" and column.width != classes:
        return False
    index = y.numpy()
    first = np.zeros(classes, dtype=values.dtype)
    first[index[::-1]] = values[::-1]  # the value beside the first row of each class
    return len(np.unique(first)) == classes and bool((first[index] == values).all())
