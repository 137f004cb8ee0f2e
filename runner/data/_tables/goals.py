"""The targets of a table: y, its task and its classes, of one column, of several, or of several by name."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from runner.data import Guess
from runner.data._tables.column import Column
from runner.data._tables.names import listed
from runner.data._tables.understanding import FEW
from runner.data._targets import strata, targets
from runner.data._values import Values
from runner.settings.errors import ConfigError, did_you_mean

#: Tasks of a target.
TASKS = ("regression", "classification", "multilabel")


def by_name(target: Any, task: Any) -> dict[str, str | list[str]]:
    """Return the columns of each target where there are several by name; none where there is one.

    target: `data.target`: {price: Price, alive: [Survived]}, or a list of columns with a task for each by its name.
    Raises ConfigError for a name that is none, and for tasks of targets that are not there.
    """
    if isinstance(target, list) and isinstance(task, dict):
        target = {name: name for name in target}
    if not isinstance(target, dict):
        if isinstance(task, dict):
            raise ConfigError(
                "data.task", f"{task} is for several targets, and data.target is {target!r}; expected one"
            )
        return {}
    names: dict[str, str | list[str]] = {}
    for name, value in target.items():
        inner = value if isinstance(value, list) else [value]
        if not inner or not all(isinstance(column, str | int) and not isinstance(column, bool) for column in inner):
            raise ConfigError(f"data.target.{name}", f"{value!r} is not the name of a column, nor a list of names")
        if "." in str(name):
            raise ConfigError(
                "data.target",
                f"{name!r} has a dot, which no target's name may have; call it otherwise, {{NAME: {inner[0]}}}",
            )
        names[str(name)] = [str(column) for column in inner] if isinstance(value, list) else str(value)
    for name, its in task.items() if isinstance(task, dict) else ():
        if name not in names:
            raise ConfigError(
                f"data.task.{name}", f"is no target{did_you_mean(name, names)} (these are {listed(names)})"
            )
        if its not in TASKS:
            raise ConfigError(f"data.task.{name}", f"{its!r} is not one of {', '.join(TASKS)}")
    if isinstance(task, str):
        raise ConfigError(
            "data.task", f"{task}, and there are several targets; expected {{{next(iter(names))}: {task}}}"
        )
    return names


def columns_of(names: dict[str, str | list[str]]) -> list[str]:
    """Return the columns of all targets."""
    return [column for inner in names.values() for column in (inner if isinstance(inner, list) else [inner])]


def is_classified(column: str, names: dict[str, str | list[str]], task: Any) -> bool:
    """Return whether the task says that a column's values are classes, which may be called 1, 2 and x."""
    if not isinstance(task, dict):
        return bool(task == "classification")
    return any(column in columns_of({name: names[name]}) for name, its in task.items() if its == "classification")


def alike(y: Any, task: Any) -> Tensor | None:
    """Return the class of every example, by which they are divided: of several targets, of the first with classes."""
    if isinstance(y, Tensor):
        return strata(y, task)
    return next((found for name in y if (found := strata(y[name], task[name])) is not None), None)


def categories(target_names: list[str], noted: dict[str, Any]) -> dict[str, list[str]]:
    """Return the classes of each target column, as a recorded run has them. noted: by the run, of its data."""
    names, classes = noted["notes"].get("goals", {}), noted["classes"]
    if not names:
        return {target_names[0]: list(classes)}
    return {inner: list(classes[name]) for name, inner in names.items() if isinstance(inner, str)}


def again(columns: list[Column], names: dict[str, str | list[str]], classes: dict[str, Any]) -> dict[str, Tensor]:
    """Return y of several targets by name, of other rows than those that a run was trained with."""
    by_column = {column.name: column for column in columns}
    y: dict[str, Tensor] = {}
    for name, inner in names.items():
        own = [by_column[column] for column in columns_of({name: inner})]
        y[name] = as_classes(own[0], tuple(classes[name])) if classes[name] and len(own) == 1 else stacked(own)
    return y


def several(
    columns: list[Column], names: dict[str, str | list[str]], task: Any
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, tuple[str, ...]]]:
    """Return y, the task and the classes of each target by its name. Raises ConfigError for one that may be either.

    columns: of all targets. names: the columns of each target. task: of each, or None.
    """
    by_column = {column.name: column for column in columns}
    y: dict[str, Tensor] = {}
    tasks: dict[str, Any] = {}
    classes: dict[str, tuple[str, ...]] = {}
    for name, inner in names.items():
        own = [by_column[column] for column in columns_of({name: inner})]
        wanted = (task or {}).get(name)
        if wanted is None and len(own) == 1 and _may_be_classes(own[0]):
            raise ConfigError(
                f"data.task.{name}",
                f"missing; column {own[0].name!r} holds a few whole numbers, which may be classes or numbers: expected"
                " classification or regression",
            )
        y[name], tasks[name], classes[name] = one(own, wanted)
    return y, tasks, classes


def _may_be_classes(column: Column) -> bool:
    different = np.unique(column.values)
    whole = column.kind == "numbers" and bool((different == np.round(different)).all())
    return whole and 1 < len(different) <= FEW and len(column.values) >= 2 * len(different)


def one(columns: list[Column], task: Any) -> tuple[Tensor, Any, tuple[str, ...]]:
    """Return y of one target, the task and the names of the classes."""
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
            return stacked(columns), "regression", ()
        values = Values(stacked(columns).numpy(), f"columns {listed(names)}", "data.target")
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
    return stacked(columns)


def guess(columns: list[Column], task: Any) -> Guess | None:
    """Return what the targets hold, where the task is taken from that; None where a person has set it."""
    if task is not None:
        return None
    if any(column.kind != "numbers" for column in columns):
        return "decimals" if len(columns) > 1 else "words"
    return "whole" if all((column.values == np.round(column.values)).all() for column in columns) else "decimals"


def as_classes(column: Column, classes: tuple[str, ...]) -> Tensor:
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


def stacked(columns: list[Column]) -> Tensor:
    """Return the columns side by side as float32 of (N, columns)."""
    return torch.from_numpy(np.stack([column.values for column in columns], axis=1)).float()
