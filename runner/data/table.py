"""A table of one's own: a CSV or Parquet file, one example per row."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.data import Data, Guess, Tensors
from runner.data._columns import FEW, Column, recorded, refuse_missing, understand
from runner.data._files import file
from runner.data._frame import ONE, Frame, columns_of, has_name, listed, need, read
from runner.data._parts import Indices, divide, parts
from runner.data._spelled import spelled
from runner.data._split import column_of, split_by
from runner.data._standard import moments, scale
from runner.data._table_report import report
from runner.data._targets import strata, targets, task_of_shares
from runner.data._values import Values
from runner.settings.errors import ConfigError

Name = str | int


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
    task: Literal["regression", "classification"] | None = None,
) -> Data:
    """x: float32 of shape (N, columns); y: numbers as float32 of shape (N, targets), or classes as int64 of shape (N,).

    path: a .csv file whose first line names the columns, separated by commas, semicolons or tabs, or a .parquet file;
        relative to the working directory. Spaces around names and texts do not count.
    target: the column to predict, or a list of columns of numbers.
    features: the columns to predict it from; None: all others but those of `leave_out`, those without a name (pandas
        writes the rows' index as one), empty ones and that of `split`. True/false becomes 1/0, and text becomes one
        column of 0 and 1 for each of its values.
    split: {"by": column}: sorted by it, the earliest rows train and the latest test, and equal values stay together;
        {"group": column}: rows with the same value stay together; {"column": column}: it says train, valid or test.
        None: at random, from every class alike.
    standardize: subtract the training rows' mean from each column of numbers and divide by their standard deviation.
    valid, test: fractions of the rows; for {"column": ...} of its training rows, for a part that it does not name.
    seed: chooses which rows go where; it is not the run's seed.
    task: None: numbers mean regression, true/false and text mean classes, which are numbered from 0 in sorted order.
    notes: `columns`, `kinds` and `categories` say what was read, `features`, `mean` and `std` describe the columns of
        x, and `encode(frame, notes)` does the same to other rows.
    Raises ConfigError when the file or a column is missing or unreadable, when a value is missing, not finite or a
        number or date written as text, and when a fraction is not one.
    """
    found = file(path, "data.path", "a .csv or .parquet file", "file.csv")
    frame = read(found)
    goals = _goals(frame, target)
    parted = column_of(split)
    spared = [str(name) for name in leave_out or []]
    empty = set(frame.columns[frame.isna().to_numpy().all(axis=0)])
    names = _features(frame, goals, features, {*spared}, parted, empty)

    def without(*more: str) -> str:
        """The words that leave further columns out."""
        if features is None:
            return spelled("data.leave_out", [*spared, *more])
        return spelled("data.features", [name for name in names if name not in more])

    with columns_of(found):
        refuse_missing(frame, goals, "data.target")
        refuse_missing(frame, names, "data.features", without)
        wanted = [understand(frame, name, "data.target", without, task == "classification") for name in goals]
        columns = [understand(frame, name, "data.features", without) for name in names]
        y, kind_of_task, classes = _targets(wanted, task)
        indices = _parts(frame, parted, valid, test, seed, strata(y, kind_of_task))
    x = _expand(columns, len(frame))
    notes = _describe(columns, wanted, x[indices[0].numpy()], standardize)
    lines = report(
        frame, str(path), columns, wanted, y, classes, {"leave_out": spared, "empty": empty, "split": parted}
    )
    return Data(
        *divide(Tensors(scale(x, notes), y), indices), kind_of_task, classes, notes, lines, _guess(wanted, task)
    )


def again(noted: dict[str, Any], **arguments: Any) -> Data:
    """The rows of another file, or of the same one, as the model of a recorded run knows them.

    noted: what the run has noted of its data: `task`, `classes` and `notes`.
    arguments: those of `table`; what decides how columns are read comes from the record.
    """
    given = {"path": None, "split": None, "valid": 0.15, "test": 0.15, "seed": 0, **arguments}
    notes = noted["notes"]
    if "features" not in notes:
        raise ConfigError("data.name", "the model was not trained on a table with named columns; give an array")
    path = file(given["path"], "data.path", "a .csv or .parquet file", "file.csv")
    frame = read_recorded(path, "data.path", noted)
    goals = notes.get("targets") or [notes["target"]]
    if (target := given.get("target")) is not None and _list(target) != goals:
        raise ConfigError("data.target", f"{target!r}, and the model was trained to predict {listed(goals)}")
    need(frame, goals, "data.target")
    with columns_of(path):
        refuse_missing(frame, goals, "data.target")
        examples, indices = _as_noted(frame, goals, given, noted)
    lines = (f"{given['path']}: {len(frame):,} rows, read as the run's data were",)
    return Data(*divide(examples, indices), noted["task"], tuple(noted["classes"]), notes, lines)


def _as_noted(frame: Frame, goals: list[str], given: dict[str, Any], noted: dict[str, Any]) -> tuple[Tensors, Indices]:
    """The rows as examples, and which of them are in which part."""
    notes, classes = noted["notes"], tuple(noted["classes"])
    kinds, categories = notes.get("kinds", {}), {goals[0]: list(classes)}
    texts = {name: kinds.get(name, "numbers") for name in goals}
    wanted = [recorded(frame, name, "data.target", texts[name], categories.get(name, [])) for name in goals]
    shares = len(goals) > 1 or (wanted[0].kind == "numbers" and (wanted[0].values != np.round(wanted[0].values)).any())
    y = _as_classes(wanted[0], classes) if classes and not shares else _stacked(wanted)
    # The parts are those of the task as `table` reads it, of which the loss may have made another one afterwards.
    task = task_of_shares([y]) if noted["task"] == "multilabel" else noted["task"]
    task = "regression" if given.get("task") == "regression" else task
    indices = _parts(frame, column_of(given["split"]), given["valid"], given["test"], given["seed"], strata(y, task))
    return Tensors(encode(frame, notes), y), indices


def read_recorded(path: Any, key: str, noted: dict[str, Any]) -> Frame:
    """The rows of a file, in which the columns that were text for a recorded run are text again."""
    kinds = noted["notes"].get("kinds", {})
    return read(path, key, [name for name, kind in kinds.items() if kind == "text"])


def encode(frame: Frame, notes: dict[str, Any]) -> Tensor:
    """The rows of a pandas frame as the model's input, in the way that `notes` of a table's Data describes."""
    return scale(numbers(frame, notes), notes)


def numbers(frame: Frame, notes: dict[str, Any], key: str = "data.features") -> NDArray[np.float64]:
    """The same before it is standardized: the columns of x as they were in the file."""
    names, texts = notes.get("columns", notes["features"]), notes.get("categories", {})
    kinds = notes.get("kinds", {})
    need(frame, names, key)
    refuse_missing(frame, names, key)
    columns = [
        recorded(frame, n, key, kinds.get(n, "text" if n in texts else "numbers"), texts.get(n, [])) for n in names
    ]
    return _expand(columns, len(frame))


def _list(names: Any) -> list[str]:
    given = names if isinstance(names, list) else [names]
    for name in given:
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise ConfigError("data.target", f"{name!r} is not the name of a column, nor a list of names")
    return [str(name) for name in given]


def _goals(frame: Frame, target: Any) -> list[str]:
    named = [name for name in frame.columns if has_name(name)] or list(frame.columns)
    if target is None or target in ("", []):
        example = spelled("data.target", named[-1])
        if len(frame.columns) == 1:
            raise ConfigError("data.path", f"there is only one column, {named[0]!r}; {ONE}")
        raise ConfigError("data.target", f"missing; give the column to predict, e.g. {example}")
    goals = _list(target)
    need(frame, goals, "data.target")
    if len(set(goals)) < len(goals):
        raise ConfigError("data.target", f"names a column twice: {listed(goals)}")
    return goals


def _features(
    frame: Frame,
    goals: list[str],
    features: list[Name] | None,
    spared: set[str],
    parted: tuple[str, str] | None,
    empty: set[str],
) -> list[str]:
    """The columns to predict from."""
    need(frame, sorted(spared), "data.leave_out")
    if parted is not None:
        need(frame, [parted[1]], f"data.split.{parted[0]}")
    names = [str(name) for name in features or []]
    if features is None:
        out = {*goals, *spared, *empty, *([parted[1]] if parted else [])}
        names = [name for name in frame.columns if name not in out and has_name(name)]
    elif spared:
        raise ConfigError(
            "data.leave_out", "stands beside data.features, which names all columns to use; give one of them"
        )
    for goal in goals:
        if parted is not None and parted[1] == goal:
            raise ConfigError(f"data.split.{parted[0]}", f"names the target {goal!r}; expected another column")
        if goal in spared:
            raise ConfigError("data.leave_out", f"names the target {goal!r}; expected columns to predict it from")
        if goal in names:
            raise ConfigError("data.features", f"holds the target {goal!r}; a model would only have to copy it")
    if parted is not None and parted[0] == "column" and parted[1] in names:
        raise ConfigError("data.features", f"holds {parted[1]!r}, which says the parts; leave it out")
    if not names:
        raise ConfigError(
            "data.features", f"there is nothing to predict {listed(goals)} from; expected at least one column"
        )
    need(frame, names, "data.features")
    if len(set(names)) < len(names):
        raise ConfigError("data.features", f"names a column twice: {listed(names)}")
    return names


def _targets(columns: list[Column], task: str | None) -> tuple[Tensor, Any, tuple[str, ...]]:
    if len(columns) > 1:
        names = [column.name for column in columns]
        if any(column.kind == "text" for column in columns):
            raise ConfigError(
                "data.target",
                f"names several columns, {listed(names)}; expected numbers in each, or one column of classes",
            )
        if task != "classification":
            return _stacked(columns), "regression", ()
        given = [Values(_stacked(columns).numpy(), f"columns {listed(names)}", "data.target")]
        (y,), kind_of_task, classes = targets(given, task, names)
        return y, kind_of_task, classes
    [column] = columns
    if task is None:
        task = "regression" if column.kind == "numbers" else "classification"
    if column.kind == "text":  # of each text once: an array of all rows would give each the room of the longest
        given = [Values(np.asarray(column.categories), f"column {column.name!r}", "data.target")]
        (y,), kind_of_task, classes = targets(given, task)
        return y[torch.from_numpy(column.values)], kind_of_task, classes
    (y,), kind_of_task, classes = targets([Values(column.array, f"column {column.name!r}", "data.target")], task)
    if column.kind == "numbers" and len(classes) > max(FEW, len(y) / 2):
        raise ConfigError(
            "data.task",
            f"column {column.name!r} holds {len(classes):,} different numbers in {len(y):,} rows, each of which would"
            " become a class, and hardly any comes twice; data.task=regression predicts the numbers themselves",
        )
    return y, kind_of_task, classes


def _guess(columns: list[Column], task: str | None) -> Guess | None:
    """What the targets hold, where the task is taken from that."""
    if task is not None:
        return None
    if any(column.kind != "numbers" for column in columns):
        return "decimals" if len(columns) > 1 else "words"
    return "whole" if all((column.values == np.round(column.values)).all() for column in columns) else "decimals"


def _stacked(columns: list[Column]) -> Tensor:
    return torch.from_numpy(np.stack([column.values for column in columns], axis=1)).float()


def _as_classes(column: Column, classes: tuple[str, ...]) -> Tensor:
    """Indices of the recorded classes."""
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


def _parts(
    frame: Frame, parted: tuple[str, str] | None, valid: float, test: float, seed: int, strata: Tensor | None
) -> Indices:
    if parted is None:
        return parts(len(frame), valid, test, seed, strata)
    return split_by(frame, *parted, valid, test, seed, strata)


def _expand(columns: list[Column], total: int) -> NDArray[np.float64]:
    """The columns side by side as numbers: true is 1, and a text has a column of 0 and 1 for each value it can have."""
    x = np.zeros((total, sum(column.width for column in columns)))
    place = 0
    for column in columns:
        column.fill(x[:, place : place + column.width])
        place += column.width
    return x


def _describe(
    columns: list[Column], wanted: list[Column], train: NDArray[np.float64], standardize: bool
) -> dict[str, Any]:
    """What `encode` needs to know. Columns of 0 and 1 stay as they are: mean 0, standard deviation 1."""
    mean, std = moments(train)
    scaled = [standardize and column.kind == "numbers" for column in columns for _ in range(column.width)]
    return {
        "columns": [column.name for column in columns],
        "kinds": {column.name: column.kind for column in [*columns, *wanted]},
        "categories": {column.name: column.categories for column in columns if column.kind == "text"},
        "features": [name for column in columns for name in column.features],
        "mean": [value if scales else 0.0 for value, scales in zip(mean, scaled, strict=True)],
        "std": [value if scales else 1.0 for value, scales in zip(std, scaled, strict=True)],
        "target": ", ".join(column.name for column in wanted),
        "targets": [column.name for column in wanted],
    }
