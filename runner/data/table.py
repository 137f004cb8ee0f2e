"""A table of one's own: a CSV or Parquet file, one example per row."""

from typing import Any, Literal

import numpy as np
from torch import Tensor

from runner.data import Data, Tensors
from runner.data._files import file
from runner.data._parts import Indices, divide, parts
from runner.data._tables import Frame, codes, goals
from runner.data._tables.column import Column, as_texts
from runner.data._tables.encoding import coded, describe, encode, expand, plain, read_recorded, scale
from runner.data._tables.filling import drop, fill, values
from runner.data._tables.filling import report as filled
from runner.data._tables.frame import naming_file, read
from runner.data._tables.missing import refuse_missing
from runner.data._tables.names import listed, need
from runner.data._tables.report import report
from runner.data._tables.selection import Name, column_names, feature_columns, target_columns, typed_override
from runner.data._tables.split import column_of, split_by
from runner.data._tables.understanding import recorded_column, understand
from runner.data._targets import strata, task_of_shares
from runner.settings.errors import ConfigError

__all__ = ["encode", "table"]


def table(
    path: str | None = None,
    target: Name | list[Name] | dict[str, Any] | None = None,
    features: list[Name] | None = None,
    leave_out: list[Name] | None = None,
    split: dict[str, Any] | None = None,
    standardize: bool = True,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    task: Literal["regression", "classification", "multilabel"] | dict[str, Any] | None = None,
    missing: Literal["refuse", "median", "mean", "drop"] = "refuse",
    words: Literal["columns", "codes"] = "columns",
    categorical: list[Name] | None = None,
) -> Data:
    """Read a table: x as float32 of shape (N, columns); y as float32 of shape (N, targets), or classes, int64 of (N,).

    path: a .csv file whose first line names the columns, separated by commas, semicolons or tabs, or a .parquet file;
        relative to the working directory. Spaces around names and texts do not count.
    target: the column to predict, or a list of columns of numbers, or several targets by name, {price: Price, alive:
        Survived}: y is a dict of these.
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
        Of several targets one for each that needs it, {alive: classification}.
    missing: of a value that a feature lacks. "median" or "mean" of the training rows stands for a number, their most
        frequent value for a text or true/false, here and in `predict`; "drop" leaves the row out, of a target too.
    words: "codes": x is {"numbers": float32, "words": int64 of (N, text columns)}, the place of each text among its
        column's sorted categories, for layers that embed them, in place of columns of 0 and 1.
    categorical: columns that are inputs of their own, int64 of (N,): the place of each value, number or text, among the
        column's sorted categories. x is {"numbers": float32 of all others} and these, by their names.
    `notes` of what is returned: `columns`, `kinds` and `categories` are of the columns that were read, `features`,
    `mean` and `std` of the columns of x; `encode(frame, notes)` does the same to other rows.
    Raises ConfigError when the file or a column is missing or unreadable, when a value is missing (see `missing`), not
    finite or a number or date written as text, and when a fraction is not one.
    """
    existing = file(path, "data.path", "a .csv or .parquet file", "file.csv")
    embedded = [str(name) for name in categorical or []]
    frame = as_texts(read(existing, texts=embedded), embedded, "data.categorical")
    by_name = goals.by_name(target, task)
    target_names = target_columns(frame, goals.columns_of(by_name) if by_name else target)
    split_column = column_of(split)
    left_out = [str(name) for name in leave_out or []]
    empty = set(frame.columns[frame.isna().to_numpy().all(axis=0)])
    names = feature_columns(frame, target_names, features, {*left_out}, split_column, empty)
    codes.check(embedded, names, words)

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
        refuse_missing(frame, target_names, "data.target", rules=True)
        if missing == "refuse":
            refuse_missing(frame, names, "data.features", without, rules=True)
        classified = {name for name in target_names if goals.is_classified(name, by_name, task)}
        wanted = [understand(frame, name, "data.target", without, name in classified) for name in target_names]
        y, kind_of_task, classes = goals.several(wanted, by_name, task) if by_name else goals.one(wanted, task)
        indices = _parts(frame, split_column, valid, test, seed, goals.alike(y, kind_of_task))
        if missing in ("median", "mean"):
            by = values(frame, names, missing, indices[0].numpy())
            lacking = filled(frame, names, by, missing)
            frame = fill(frame, names, by, "data.features")
        columns = [understand(frame, name, "data.features", without, categorical=name in embedded) for name in names]
    x, notes = _inputs(columns, wanted, indices[0].numpy(), standardize, words == "codes", embedded)
    if by_name:
        notes["goals"] = by_name
    unused = {"leave_out": left_out, "empty": empty, "split": split_column}
    if missing != "refuse":
        notes["missing"] = {"rule": missing, "values": by}
    lines = report(frame, str(path), columns, wanted, y, classes, unused)
    lines = (lines[0], *lacking, *lines[1:])
    guess = None if by_name else goals.guess(wanted, task)
    return Data(*divide(Tensors(x, y), indices), kind_of_task, classes, notes, lines, guess)


def _inputs(
    columns: list[Column], targets: list[Column], train: Any, standardize: bool, words: bool, embedded: list[str]
) -> tuple[Any, dict[str, Any]]:
    """Return x and the notes. train: the numbers of the training rows. words, embedded: which columns are embedded."""
    total = len(columns[0].values)
    if embedded:
        rows = expand([column for column in columns if column.name not in embedded], total)
        notes = codes.by_name(columns, targets, rows[train], standardize, embedded)
    else:
        rows = (plain if words else expand)(columns, total)
        notes = (codes.described if words else describe)(columns, targets, rows[train], standardize)
    return coded(columns, total, notes) if embedded or words else scale(rows, notes), notes


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
    target = options.get("target")
    given = goals.by_name(target, options.get("task"))
    if given != notes.get("goals", {}) or (target is not None and not given and column_names(target) != target_names):
        raise ConfigError("data.target", f"{target!r}, and the model was trained to predict {listed(target_names)}")
    need(frame, target_names, "data.target")
    if notes.get("missing", {}).get("rule") == "drop":
        frame, _ = drop(frame, [*target_names, *notes["columns"]])
    with naming_file(path):
        refuse_missing(frame, target_names, "data.target")
        examples, indices = _as_noted(frame, target_names, options, noted)
    lines = (f"{options['path']}: {len(frame):,} rows, read as the run's data were",)
    classes = noted["classes"]
    classes = {name: tuple(its) for name, its in classes.items()} if isinstance(classes, dict) else tuple(classes)
    return Data(*divide(examples, indices), noted["task"], classes, notes, lines)


def _as_noted(
    frame: Frame, target_names: list[str], options: dict[str, Any], noted: dict[str, Any]
) -> tuple[Tensors, Indices]:
    """Return the rows as examples, and which of them are in which part."""
    notes, classes = noted["notes"], tuple(noted["classes"])
    kinds, categories = notes.get("kinds", {}), goals.categories(target_names, noted)
    wanted = [
        recorded_column(frame, name, "data.target", kinds.get(name, "numbers"), categories.get(name, []))
        for name in target_names
    ]
    split = column_of(options["split"])
    if "goals" in notes:
        several = goals.again(wanted, notes["goals"], noted["classes"])
        alike = goals.alike(several, noted["task"])
        indices = _parts(frame, split, options["valid"], options["test"], options["seed"], alike)
        return Tensors(encode(frame, notes), several), indices
    shares = len(wanted) > 1 or (wanted[0].kind == "numbers" and (wanted[0].values != np.round(wanted[0].values)).any())
    y = goals.as_classes(wanted[0], classes) if classes and not shares else goals.stacked(wanted)
    # The parts are those of the task as `table` reads it, of which the loss may have made another one afterwards.
    task = task_of_shares([y]) if noted["task"] == "multilabel" else noted["task"]
    task = options["task"] if options.get("task") in ("regression", "multilabel") else task
    indices = _parts(frame, split, options["valid"], options["test"], options["seed"], strata(y, task))
    return Tensors(encode(frame, notes), y), indices


def _parts(
    frame: Frame, split: tuple[str, str] | None, valid: float, test: float, seed: int, strata: Tensor | None
) -> Indices:
    if split is None:
        return parts(len(frame), valid, test, seed, strata)
    return split_by(frame, *split, valid, test, seed, strata)
