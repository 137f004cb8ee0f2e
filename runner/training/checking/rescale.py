"""Data read again for a model that was trained before: the same kind of data, scaled as the model knows it."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from runner.data import Data, Source, Tensors
from runner.model import host
from runner.settings.errors import ConfigError


def check(data: Data, noted: dict[str, Any]) -> None:
    """Raise ConfigError where inputs or targets of `data` mean something else than those of the run that `noted`."""
    _same("the shape of an example", list(data.train[0][0].shape), noted["example"]["shape"])
    _same("the task", data.task, noted["task"])
    _same("the classes", list(data.classes), noted["classes"])
    for name in ("features", "target", "divided_by", "channels"):
        _same(name, data.notes.get(name), noted["notes"].get(name))


def alike(data: Data, noted: dict[str, Any]) -> Data:
    """`data` with the standardization that a run has noted of the data that its model was trained on.

    A source standardizes by its own training examples: for another file these would be other numbers, and the model
    would be shown inputs on another scale.
    """
    notes = noted["notes"]
    if all(data.notes.get(name) == notes.get(name) for name in ("mean", "std")):
        return data
    train, valid, test = (_scaled(part, data.notes, notes) for part in (data.train, data.valid, data.test))
    assert train is not None
    return replace(data, train=train, valid=valid, test=test, notes=notes)


def _same(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise ConfigError("data", f"{what}: {found!r}, and the model was trained with {wanted!r}")


def _scaled(source: Source | None, here: dict[str, Any], then: dict[str, Any]) -> Source | None:
    """The examples as they were before standardization `here`, standardized as they were `then`."""
    if source is None:
        return None
    if not isinstance(source, Tensors):
        raise ConfigError("data", "is standardized by other numbers than the model's data, and not held in memory")
    x = host.tensor(source.x).double() * _row(here, "std", 1.0) + _row(here, "mean", 0.0)
    x = (x - _row(then, "mean", 0.0)) / _row(then, "std", 1.0)
    return Tensors(x.to(source.x.dtype).to(source.x.device), source.y)


def _row(notes: dict[str, Any], name: str, usual: float) -> Tensor:
    return torch.tensor(notes.get(name, usual), dtype=torch.float64)
