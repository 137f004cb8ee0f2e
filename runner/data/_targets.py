"""Targets: from y as a file has it to numbers as float32, or class indices as int64."""

from textwrap import shorten

import numpy as np
import torch
from torch import Tensor

from runner.data import Guess, Task, labels_of
from runner.data._values import Array, Values, column, floats, kind
from runner.settings.errors import ConfigError, did_you_mean


def targets(
    ys: list[Values], task: str | None, names: list[str] | None = None
) -> tuple[list[Tensor], Task, tuple[str, ...]]:
    """Return the targets, the task and the classes' names.

    ys: y of the training part, then those of further parts.
    task: "regression", "classification" or "multilabel" (0 and 1 for each label, float32 of y's shape); None: numbers
        with a decimal point mean regression, all else classes. Several whole numbers or texts for an example are
        classes of places, int64 of y's shape.
        Classes are whole numbers, text or truth values, or probabilities as float32: of shape (N, 1) those of the
        second of two, of shape (N, C) those of C classes where each row sums to 1, else of C labels.
    names: the classes' names, of which whole numbers are indices; None: the different values of y, sorted.
    Raises ConfigError for values that are no targets of the task: not finite, of several kinds, of one class only, or
    none of `names`.
    """
    if task == "multilabel":
        return _flags(ys, names)
    decimal = not names and any(values.array.dtype.kind == "f" for values in ys)
    if task == "regression" or (task is None and decimal):
        return [column(values) for values in ys], "regression", ()
    if _are_shares(ys):
        return _shares(ys, names)
    labels = [values._replace(array=_labels(values)) for values in ys]
    classes = _check_names(names) if names else _different(labels)
    indices = [_indices(label, classes, named=bool(names)) for label in labels]
    return indices, "binary" if len(classes) == 2 else "multiclass", classes


def strata(y: Tensor, task: Task) -> Tensor | None:
    """Return the class of every example, int64 of shape (N,), to be divided alike; None without classes.

    y: targets as `Data` describes them; those of places have no class for the whole example. task: of the data.
    """
    if task in ("regression", "multilabel") or (not y.is_floating_point() and y[0].numel() != 1):
        return None
    return labels_of(y, task).reshape(len(y))


def guess(ys: list[Values]) -> Guess:
    """Return what y holds, from which the task is taken where no setting has it."""
    kinds = {values.array.dtype.kind for values in ys}
    return "decimals" if "f" in kinds else "whole" if kinds <= set("iu") else "words"


def _flags(ys: list[Values], names: list[str] | None) -> tuple[list[Tensor], Task, tuple[str, ...]]:
    """Return 0 and 1 for each label, float32 of shape (N, labels, ...)."""
    for values in ys:
        array = values.array
        if array.dtype.kind not in "biuf" or array.ndim < 2:
            raise ConfigError(
                "data.task",
                f"multilabel needs a 0 or 1 for each label of every example, of shape (N, labels), and {values.name}"
                f" holds {kind(array)} of shape {array.shape}",
            )
        wrong = np.argwhere((array != 0) & (array != 1))
        if len(wrong):
            place = ", ".join(map(str, wrong[0]))
            raise ConfigError(
                values.key,
                f"{values.name}[{place}] is {array[tuple(wrong[0])]:g}; data.task=multilabel expects 0 and 1",
            )
    total = ys[0].array.shape[1]
    classes = tuple(str(name) for name in names) if names else tuple(str(k) for k in range(total))
    if len(classes) != total or len(set(classes)) < total:
        raise ConfigError("data.classes", f"{list(classes)}: expected {total} different names, one for each label of y")
    return [torch.from_numpy(values.array.astype(np.float32)) for values in ys], "multilabel", classes


def _place(values: Values, index: Array) -> str:
    return f"{values.name}[{', '.join(map(str, index))}]"


def _are_shares(ys: list[Values]) -> bool:
    """Return whether these are probabilities: several for an example, or one that is not whole; all from 0 to 1."""
    arrays = [values.array for values in ys]
    if not all(array.dtype.kind in "biuf" and array.ndim in (1, 2) for array in arrays):
        return False
    if not all(((array >= 0) & (array <= 1)).all() for array in arrays):
        return False
    rows = arrays[0].ndim == 2 and arrays[0].shape[1] > 1
    return rows or not all((array == np.round(array)).all() for array in arrays)


def _shares(ys: list[Values], names: list[str] | None) -> tuple[list[Tensor], Task, tuple[str, ...]]:
    outputs = [column(values) for values in ys]
    width = outputs[0].shape[1]
    total = max(width, 2)
    classes = _check_names(names) if names else tuple(str(k) for k in range(total))
    if len(classes) != total:
        raise ConfigError("data.classes", f"{list(classes)} are {len(classes)}; y has probabilities of {total}")
    return outputs, task_of_shares(outputs), classes


def task_of_shares(ys: list[Tensor]) -> Task:
    """Return the task of probabilities of shape (N, C): of classes where each row sums to 1, else of labels."""
    width = ys[0].shape[1]
    if width > 1 and not all(torch.allclose(y.sum(1), torch.ones(len(y)), atol=1e-4) for y in ys):
        return "multilabel"
    return "binary" if width <= 2 else "multiclass"


def _labels(values: Values) -> Array:
    """Return one whole number, one text or one truth value per example, or for each of its places."""
    array = values.array
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind == "f":
        return _whole(values._replace(array=array))
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:  # replaced, two classes might become one
            raise ConfigError(values.key, f"{values.name} holds text that is not UTF-8 ({error}); decode it") from error
    if array.dtype.kind not in "biuU":
        raise ConfigError(values.key, f"{values.name} holds {kind(array)}; expected whole numbers or text as classes")
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def _whole(values: Values) -> Array:
    floats(values)
    broken = np.argwhere(values.array != np.round(values.array))
    if len(broken):
        raise ConfigError(
            values.key,
            f"{_place(values, broken[0])} is {values.array[tuple(broken[0])]:g}; expected whole numbers or text as"
            " classes; data.task=regression trains on the numbers themselves",
        )
    return values.array.astype(np.int64)


def _different(labels: list[Values]) -> tuple[str, ...]:
    """Return the classes of all parts, so that one which only the test set has is a class too."""
    first = labels[0]
    for values in labels[1:]:
        if kind(values.array) != kind(first.array):
            raise ConfigError(
                values.key,
                f"{values.name} holds {kind(values.array)} and {first.name} holds {kind(first.array)};"
                " expected the same in both",
            )
    different = np.unique(np.concatenate([np.unique(values.array) for values in labels]))
    if len(different) == 1:
        raise ConfigError(
            first.key, f"{first.name} holds one class only, {str(different[0])!r}; expected at least two to tell apart"
        )
    return tuple(str(label) for label in different)


def _check_names(names: list[str]) -> tuple[str, ...]:
    classes = tuple(str(name) for name in names)
    if len(set(classes)) < max(2, len(classes)):
        raise ConfigError("data.classes", f"expected at least two names, all different, not {list(classes)}")
    return classes


def _indices(values: Values, classes: tuple[str, ...], named: bool) -> Tensor:
    """Return the index of each class. Numbers are indices already where a person has named the classes."""
    if named and values.array.dtype.kind in "iu":
        return _checked(values, len(classes))
    index = {name: i for i, name in enumerate(classes)}
    different, inverse = np.unique(values.array, return_inverse=True)
    for label in different.astype(str).tolist():
        if label not in index:
            raise ConfigError(
                "data.classes",
                f"{values.name} holds {label!r}, which is not among them{did_you_mean(label, classes)};"
                f" expected one of {shorten(', '.join(map(repr, classes)), 300)}",
            )
    places = torch.tensor([index[label] for label in different.astype(str).tolist()], dtype=torch.int64)
    return places[torch.from_numpy(inverse.reshape(values.array.shape))]


def _checked(values: Values, total: int) -> Tensor:
    wrong = np.argwhere((values.array < 0) | (values.array >= total))
    if len(wrong):
        raise ConfigError(
            "data.classes",
            f"{_place(values, wrong[0])} is {values.array[tuple(wrong[0])]}; expected 0 to {total - 1} for {total}"
            " names",
        )
    return torch.from_numpy(values.array)
