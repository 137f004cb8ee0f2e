"""Targets of several outputs: the task and the classes of each, as its loss takes them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from runner.data import Data, Source, Tensors
from runner.model.conventions import BY_CLASS, targets_of
from runner.settings.errors import ConfigError, did_you_mean
from runner.training.parts import outputs_apart
from runner.training.parts.named import ByOutput, names_of, picked


def fit(data: Data, loss: nn.Module | None, fit_one: Callable[[Data, nn.Module | None], Data]) -> Data:
    """Return data whose targets, several by name, are as their losses take them, with the task and classes of each.

    A task that is not given follows from the type: whole numbers, one for each example, are classes.
    fit_one: see `targets.fit`.
    """
    y = data.train[0][1]
    names = names_of(y)
    for key, value in (("task", data.task), ("classes", data.classes)):
        for name in value if isinstance(value, dict) else ():
            if name not in names:
                raise ConfigError(
                    "data", f"Data({key}=...) names {name!r}, and its targets are {', '.join(names)}"
                    f"{did_you_mean(str(name), names)}"
                )  # fmt: skip
    fitted = {name: _one(data, name, picked(y, name), loss, fit_one) for name in names}
    parts: dict[str, Any] = {part: _joined(getattr(data, part), part, fitted) for part in ("train", "valid", "test")}
    return replace(
        data,
        **parts,
        task={name: one.task for name, one in fitted.items()},
        classes={name: one.classes for name, one in fitted.items()},
        ignored={name: one.ignored for name, one in fitted.items()},
    )


def _one(data: Data, name: str, first: Any, loss: nn.Module | None, fit_one: Any) -> Data:
    task = data.task.get(name) if isinstance(data.task, dict) else data.task
    classes = data.classes.get(name, ()) if isinstance(data.classes, dict) else data.classes
    whole = isinstance(first, Tensor) and not first.is_floating_point() and first.dim() == 0
    in_memory, own = isinstance(data.train, Tensors), None
    if isinstance(loss, ByOutput):
        own = outputs_apart.loss_of(loss, name)
    if task is None or task == "regression":
        asked = in_memory and not classes and targets_of(own) in BY_CLASS  # the loss, which may ignore a class
        task = "regression" if not whole or asked else "classification" if classes or in_memory else "multiclass"
    view = outputs_apart.data_of(replace(data, task="regression", classes=(), ignored=None), name)
    view = replace(view, task=task, classes=classes)
    return fit_one(view, own)  # type: ignore[no-any-return]


def _joined(source: Source | None, part: str, fitted: dict[str, Data]) -> Source | None:
    """Return a source with the fitted targets; a dataset gives its own."""
    if not isinstance(source, Tensors):
        return source
    targets = {name: getattr(one, part).y for name, one in fitted.items()}
    return Tensors(source.x, targets if isinstance(source.y, dict) else type(source.y)(targets.values()))
