"""A table of one's own: a CSV or Parquet file, one example per row."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from runner.data import Data, Guess, Tensors
from runner.data._files import file
from runner.data._parts import Indices, divide, parts
from runner.data._tables import Frame, codes
from runner.data._tables.column import Column
from runner.data._tables.encoding import coded, describe, encode, expand, plain, read_recorded, scale
from runner.data._tables.filling import drop, fill, values
from runner.data._tables.filling import report as filled
from runner.data._tables.frame import naming_file, read
from runner.data._tables.missing import refuse_missing
from runner.data._tables.names import listed, need
from runner.data._tables.report import report
from runner.data._tables.selection import Name, column_names, feature_columns, target_columns, typed_override
from runner.data._tables.split import column_of, split_by
from runner.data._tables.understanding import FEW, recorded_column, understand
from runner.data._targets import strata, targets, task_of_shares
from runner.data._values import Values
from runner.settings.errors import ConfigError

__all__ = ["encode", "table"]


def table(
    path: str | None = None,
    target: Name | list[Name] | None = None,
    features: list[Name] | None = None,
    leave_out: list[Name] | None = None,
    split: dict[str, Any] | None = None,
    standardize: bool = True,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    task: Literal["regression", "classification", "multilabel"] | None = None,
    missing: Literal["refuse", "median", "mean", "drop"] = "refuse",
    words: Literal["columns", "codes"] = "columns",
) -> Data:
    """Read a table: x as float32 of shape (N, columns); y as float32 of shape (N, targets), or classes, int64 of (N,).

    path: a .csv file whose first line names the columns, separated by commas, semicolons or tabs, or a .parquet file;
        relative to the working directory. Spaces around names and texts do not count.
    target: the column to predict, or a list of columns of numbers.
    features: the columns to predict it from; None: all others but those of `leave_out`, those without a name (pandas
        writes the rows' index as one), empty ones and that of `split`. True/false becomes 1/0, and text becomes one
        column of 0 and 1 for each of its values.
    split: {"by": column}: sorted by it, the earliest rows train and the latest test, and equal values stay together;
        {"group": column}: rows with the same value stay together; {"column": column}: it holds train, valid or test.
        None: at random, from every class alike.
    standardize: subtract the training rows' mean from each column of numbers and divide by their standard deviation.
    valid, test: fractions of the rows; for {"column": ...} of its training rows, for a part that it does not name.
    seed: chooses which rows go where; it is not the run's seed.
    task: None: numbers mean regression, true/false and text mean classes, which are numbered from 0 in sorted order.
        "multilabel": each of several target columns holds 0 and 1, or true and false, and is a label.
    missing: of a value that a feature lacks. "median" or "mean" of the training rows stands for a number, their most
        frequent value for a text or true/false, here and in `predict`; "drop" leaves the row out, of a target too.
    words: "codes": x is {"numbers": float32, "words": int64 of (N, text columns)}, the place of each text among its
        column's sorted categories, for layers that embed them, in place of columns of 0 and 1.
    `notes` of what is returned: `columns`, `kinds` and `categories` are of the columns that were read, `features`,
    `mean` and `std` of the columns of x; `encode(frame, notes)` does the same to other rows.
    Raises ConfigError when the file or a column is missing or unreadable, when a value is missing (see `missing`), not
    finite or a number or date written as text, and when a fraction is not one.
    """
    existing = file(path, "data.path", "a .csv or .parquet file", "file.csv")
    frame = read(existing)
    target_names = target_columns(frame, target)
    split_column = column_of(split)
    left_out = [str(name) for name in leave_out or []]
    empty = set(frame.columns[frame.isna().to_numpy().all(axis=0)])
    names = feature_columns(frame, target_names, features, {*left_out}, split_column, empty)

    def without(*more: str) -> str:
        """Return the words that leave further columns out."""
        if features is None:
            return typed_override("data.leave_out", [*left_out, *more])
        return typed_override("data.features", [name for name in names if name not in more])

    lacking: list[str] = []
    if missing == "drop":
        frame, line = drop(frame, [*target_names, *names])
        lacking = [line] if line else []
    by: dict[str, Any] = {}
    with naming_file(existing):
        refuse_missing(frame, target_names, "data.target")
        if missing == "refuse":
            refuse_missing(frame, names, "data.features", without)
        goals = [understand(frame, name, "data.target", without, task == "classification") for name in target_names]
        y, kind_of_task, classes = _targets(goals, task)
        indices = _parts(frame, split_column, valid, test, seed, strata(y, kind_of_task))
        if missing in ("median", "mean"):
            by = values(frame, names, missing, indices[0].numpy())
            lacking = filled(frame, names, by, missing)
            frame = fill(frame, names, by, "data.features")
        columns = [understand(frame, name, "data.features", without) for name in names]
    embedded = words == "codes"
    rows = (plain if embedded else expand)(columns, len(frame))
    notes = (codes.described if embedded else describe)(columns, goals, rows[indices[0].numpy()], standardize)
    x = coded(columns, len(frame), notes) if embedded else scale(rows, notes)
    unused = {"leave_out": left_out, "empty": empty, "split": split_column}
    if missing != "refuse":
        notes["missing"] = {"rule": missing, "values": by}
    lines = report(frame, str(path), columns, goals, y, classes, unused)
    lines = (lines[0], *lacking, *lines[1:])
    return Data(*divide(Tensors(x, y), indices), kind_of_task, classes, notes, lines, _guess(goals, task))


def _targets(columns: list[Column], task: str | None) -> tuple[Tensor, Any, tuple[str, ...]]:
    """Return y, the task and the names of the classes."""
    if len(columns) > 1:
        names = [column.name for column in columns]
        if task == "multilabel":
            return _labels(columns), "multilabel", tuple(names)
        if any(column.kind == "text" for column in columns):
            raise ConfigError(
                "data.target",
                f"names several columns, {listed(names)}; expected numbers in each, or one column of classes",
            )
        if task != "classification":
            return _stacked(columns), "regression", ()
        values = Values(_stacked(columns).numpy(), f"columns {listed(names)}", "data.target")
        (y,), kind_of_task, classes = targets([values], task, names)
        return y, kind_of_task, classes
    [column] = columns
    if task == "multilabel":
        raise ConfigError(
            "data.task",
            f"multilabel needs several target columns, and there is {column.name!r} alone; expected"
            f" data.target=[{column.name},...], or data.task=classification",
        )
    if task is None:
        task = "regression" if column.kind == "numbers" else "classification"
    if column.kind == "text":  # of each text once: an array of all rows would give each the room of the longest
        values = Values(np.asarray(column.categories), f"column {column.name!r}", "data.target")
        (y,), kind_of_task, classes = targets([values], task)
        return y[torch.from_numpy(column.values)], kind_of_task, classes
    (y,), kind_of_task, classes = targets([Values(column.array, f"column {column.name!r}", "data.target")], task)
    if column.kind == "numbers" and len(classes) > max(FEW, len(y) / 2):
        raise ConfigError(
            "data.task",
            f"column {column.name!r} holds {len(classes):,} different numbers in {len(y):,} rows, each of which would"
            " become a class, and hardly any comes twice; data.task=regression predicts the numbers themselves",
        )
    return y, kind_of_task, classes


def _labels(columns: list[Column]) -> Tensor:
    """Return 0 and 1 for each label, float32 of shape (N, labels). Raises ConfigError for a column of other values."""
    for column in columns:
        if column.kind == "text" or not np.isin(column.values, (0, 1)).all():
            held = (
                column.categories[0]
                if column.kind == "text"
                else f"{column.values[~np.isin(column.values, (0, 1))][0]:g}"
            )
            raise ConfigError(
                "data.target",
                f"column {column.name!r} holds {held!r}; data.task=multilabel expects 0 and 1, or true and false",
            )
    return _stacked(columns)


def _guess(columns: list[Column], task: str | None) -> Guess | None:
    """Return what the targets hold, where the task is taken from that; None where a person has set it."""
    if task is not None:
        return None
    if any(column.kind != "numbers" for column in columns):
        return "decimals" if len(columns) > 1 else "words"
    return "whole" if all((column.values == np.round(column.values)).all() for column in columns) else "decimals"


def again(noted: dict[str, Any], **arguments: Any) -> Data:
    """Return the rows of another file, or of the same one, as the examples that the model of a recorded run takes.

    noted: what the run has noted of its data: `task`, `classes` and `notes`.
    arguments: those of `table`; what decides how columns are read comes from the record.
    Raises ConfigError where the file has other columns, or others of their values, than the run's data.
    """
    options = {"path": None, "split": None, "valid": 0.15, "test": 0.15, "seed": 0, **arguments}
    notes = noted["notes"]
    if "features" not in notes:
        raise ConfigError("data.name", "the model was not trained on a table with named columns; give an array")
    path = file(options["path"], "data.path", "a .csv or .parquet file", "file.csv")
    frame = read_recorded(path, "data.path", noted)
    target_names = notes.get("targets") or [notes["target"]]
    if (target := options.get("target")) is not None and column_names(target) != target_names:
        raise ConfigError("data.target", f"{target!r}, and the model was trained to predict {listed(target_names)}")
    need(frame, target_names, "data.target")
    if notes.get("missing", {}).get("rule") == "drop":
        frame, _ = drop(frame, [*target_names, *notes["columns"]])
    with naming_file(path):
        refuse_missing(frame, target_names, "data.target")
        examples, indices = _as_noted(frame, target_names, options, noted)
    lines = (f"{options['path']}: {len(frame):,} rows, read as the run's data were",)
    return Data(*divide(examples, indices), noted["task"], tuple(noted["classes"]), notes, lines)


def _as_noted(
    frame: Frame, target_names: list[str], options: dict[str, Any], noted: dict[str, Any]
) -> tuple[Tensors, Indices]:
    """Return the rows as examples, and which of them are in which part."""
    notes, classes = noted["notes"], tuple(noted["classes"])
    kinds, categories = notes.get("kinds", {}), {target_names[0]: list(classes)}
    goals = [
        recorded_column(frame, name, "data.target", kinds.get(name, "numbers"), categories.get(name, []))
        for name in target_names
    ]
    shares = len(goals) > 1 or (goals[0].kind == "numbers" and (goals[0].values != np.round(goals[0].values)).any())
    y = _as_classes(goals[0], classes) if classes and not shares else _stacked(goals)
    # The parts are those of the task as `table` reads it, of which the loss may have made another one afterwards.
    task = task_of_shares([y]) if noted["task"] == "multilabel" else noted["task"]
    task = options["task"] if options.get("task") in ("regression", "multilabel") else task
    split = column_of(options["split"])
    indices = _parts(frame, split, options["valid"], options["test"], options["seed"], strata(y, task))
    return Tensors(encode(frame, notes), y), indices


def _as_classes(column: Column, classes: tuple[str, ...]) -> Tensor:
    """Return indices of the recorded classes. Raises ConfigError for a value that is none of them."""
    if column.kind == "text":
        return torch.from_numpy(column.values)
    texts = column.array if column.kind == "truth" else column.array.astype(np.int64)
    index = {name: place for place, name in enumerate(classes)}
    different, places = np.unique(texts, return_inverse=True)
    for text in different.astype(str).tolist():
        if text not in index:
            row = int((texts.astype(str) == text).argmax())
            raise ConfigError(
                "data.target",
                f"column {column.name!r} holds {text!r} in row {row}; expected one of {listed(classes)}, which the"
                " model was trained with",
            )
    return torch.tensor([index[text] for text in different.astype(str).tolist()], dtype=torch.int64)[places]


def _stacked(columns: list[Column]) -> Tensor:
    return torch.from_numpy(np.stack([column.values for column in columns], axis=1)).float()


def _parts(
    frame: Frame, split: tuple[str, str] | None, valid: float, test: float, seed: int, strata: Tensor | None
) -> Indices:
    if split is None:
        return parts(len(frame), valid, test, seed, strata)
    return split_by(frame, *split, valid, test, seed, strata)
