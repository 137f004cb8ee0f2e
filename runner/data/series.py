"""A series of one's own: a table whose rows follow each other in time, cut into windows and what comes after each."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.data import Data, Tensors
from runner.data._files import file
from runner.data._parts import check_fractions
from runner.data._tables.column import Column
from runner.data._tables.encoding import describe, expand, numbers, read_recorded, scale
from runner.data._tables.frame import naming_file, read
from runner.data._tables.missing import refuse_missing
from runner.data._tables.names import listed, need
from runner.data._tables.report import describe as described
from runner.data._tables.selection import Name, column_names, target_columns, typed_override
from runner.data._tables.understanding import recorded_column, understand
from runner.data._values import MOST
from runner.data._windows import inputs, series_columns, sort_by_time
from runner.settings.errors import ConfigError


def series(
    path: str | None = None,
    target: Name | list[Name] | None = None,
    features: list[Name] | None = None,
    leave_out: list[Name] | None = None,
    time: Name | None = None,
    window: int = 24,
    horizon: int = 1,
    step: int = 1,
    standardize: bool = True,
    valid: float = 0.15,
    test: float = 0.15,
) -> Data:
    """Read a series: x, rows in a row, as float32 of shape (N, window, columns); y, the target in the rows after them.

    y is float32 of shape (N, horizon), of several targets (N, targets) for one row and (N, horizon, targets) for more.
    path: a .csv file whose first line names the columns, or a .parquet file; relative to the working directory.
    target: the column of numbers to predict, or a list of them.
    features: the columns to predict it from; None: all but those of `leave_out`, `time` and columns without a name or
        without values. The target's own past is among them; texts become columns of 0 and 1.
    time: the column by which the rows are sorted; None: they are in their order already.
    window: rows that the model sees. horizon: rows after them whose targets it predicts.
    step: rows from the beginning of one window to that of the next.
    standardize: subtract the training rows' mean from each column of x and divide by their standard deviation. The
        target keeps its scale.
    valid, test: fractions of the rows: the earliest train, the latest test. No window, with what comes after it, has
        rows of two parts.
    Raises ConfigError as `table` does, and when a part is shorter than a window and its horizon.
    """
    existing = file(path, "data.path", "a .csv or .parquet file", "file.csv")
    check_fractions(valid, test)
    frame = sort_by_time(read(existing), time)
    targets = target_columns(frame, target)
    names = series_columns(frame, targets, features, leave_out, time)

    def without(*more: str) -> str:
        """Return the words that leave further columns out."""
        if features is None:
            return typed_override("data.leave_out", [*map(str, leave_out or []), *more])
        return typed_override("data.features", [name for name in names if name not in more])

    with naming_file(existing):
        refuse_missing(frame, targets, "data.target")
        refuse_missing(frame, names, "data.features", without)
        goals = [_numbers(understand(frame, name, "data.target", without)) for name in targets]
        columns = [understand(frame, name, "data.features", without) for name in names]
    rows = expand(columns, len(frame))
    first = len(frame) - round(len(frame) * test) - round(len(frame) * valid)
    notes = describe(columns, goals, rows[: max(first, 1)], standardize)
    notes |= {"window": window, "horizon": horizon, "time": None if time is None else str(time), "predicts": targets}
    if len(targets) == 1 and horizon > 1:
        notes["targets"] = [f"{targets[0]}+{ahead}" for ahead in range(1, horizon + 1)]
    report = [f"column {column.name!r}: {described(column)}" for column in columns]
    report += [f"target {column.name!r}: {described(column)}" for column in goals]
    return _data(str(path), rows, goals, notes, step, (valid, test), report)


def again(noted: dict[str, Any], **arguments: Any) -> Data:
    """Read another series as the examples that the model of a recorded run takes.

    noted: what the run has noted of its data. arguments: those of `series`; what decides how columns are read and how
        windows are cut comes from the record.
    """
    options = {"step": 1, "valid": 0.15, "test": 0.15, **arguments}
    notes = noted["notes"]
    if "window" not in notes:
        raise ConfigError("data.name", "the model was not trained on a series; give a table, arrays or images")
    path = file(options.get("path"), "data.path", "a .csv or .parquet file", "file.csv")
    check_fractions(options["valid"], options["test"])
    targets = notes["predicts"]
    if (target := options.get("target")) is not None and column_names(target) != targets:
        raise ConfigError("data.target", f"{target!r}, and the model was trained to predict {listed(targets)}")
    for name in ("window", "horizon"):
        if options.get(name, notes[name]) != notes[name]:
            raise ConfigError(f"data.{name}", f"{options[name]}, and the model was trained with {notes[name]}")
    frame = sort_by_time(read_recorded(path, "data.path", noted), notes["time"])
    need(frame, targets, "data.target")
    with naming_file(path):
        refuse_missing(frame, targets, "data.target")
        goals = [recorded_column(frame, name, "data.target", "numbers", []) for name in targets]
        rows = numbers(frame, notes)
    return _data(str(options["path"]), rows, goals, notes, options["step"], (options["valid"], options["test"]), [])


def _numbers(column: Column) -> Column:
    if column.kind == "text":
        raise ConfigError("data.target", f"column {column.name!r} holds text; expected numbers, one for each time")
    return column


def _data(
    path: str,
    rows: NDArray[np.float64],
    goals: list[Column],
    notes: dict[str, Any],
    step: int,
    fractions: tuple[float, float],
    report: list[str],
) -> Data:
    total, (valid, test) = len(rows), fractions
    held_out = total - round(total * test)
    ends = (held_out - round(total * valid), held_out)
    x = torch.tensor_split(scale(rows, notes), ends)
    y = torch.tensor_split(torch.from_numpy(np.stack([goal.values for goal in goals], axis=1)).float(), ends)
    parts: dict[str, Tensors] = {}
    for part, share, each, goal in zip(("train", "valid", "test"), (1.0, valid, test), x, y, strict=True):
        if share:
            parts[part] = _examples(each, goal, notes, step, part)
    counts = ", ".join(f"{len(each):,} {part}" for part, each in parts.items())
    window, horizon = notes["window"], notes["horizon"]
    line = f"{path}: {total:,} rows; windows of {window}, and {horizon} after each: {counts}"
    return Data(parts["train"], parts.get("valid"), parts.get("test"), notes=notes, report=(line, *report))


def _examples(x: Tensor, y: Tensor, notes: dict[str, Any], step: int, part: str) -> Tensors:
    """Return the windows of a part, and the targets of the rows after each, without dimensions of one."""
    window, horizon = notes["window"], notes["horizon"]
    if len(x) < window + horizon:
        remedy = "smaller ones" if part == "train" else f"smaller ones, a larger data.{part}, or data.{part}=0"
        raise ConfigError(
            "data.window",
            f"{window}, with data.horizon={horizon}, is more than the {part} part has, {len(x):,} rows; use {remedy}",
        )
    count = (len(x) - window - horizon) // step + 1
    if count * window * x.shape[1] > MOST:
        raise ConfigError("data.step", f"{step} makes {count:,} windows, more than {MOST:,} numbers; use a larger step")
    after = torch.arange(count).unsqueeze(1) * step + window + torch.arange(horizon)
    ahead = y[after]
    return Tensors(inputs(x, window, step)[:count], ahead.squeeze(2) if y.shape[1] == 1 else _bare(ahead))


def _bare(ahead: Tensor) -> Tensor:
    return ahead.squeeze(1) if ahead.shape[1] == 1 else ahead
