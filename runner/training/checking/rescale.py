"""Data read again for a trained model: check that it is of the same kind, and bring it to the model's scale."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from runner.data import Data, Source, Tensors, nests
from runner.model import graph, host
from runner.settings.errors import ConfigError


def check(data: Data, noted: dict[str, Any]) -> None:
    """Raise ConfigError where inputs or targets of `data` mean something else than those that a run has noted."""
    x, classes = data.train[0][0], data.classes
    x = graph.first(x, noted["first"]) if noted.get("first") else x
    if isinstance(x, Tensor) and "shape" in noted["example"]:
        _same("the shape of an example", list(x.shape), noted["example"]["shape"])
    else:
        _same("the form of an example", nests.noted(x), noted["example"])
    _same("the task", data.task, noted["task"])
    several = {name: list(of) for name, of in classes.items()} if isinstance(classes, dict) else None
    _same("the classes", list(classes) if several is None else several, noted["classes"])
    for name in ("features", "target", "divided_by", "channels"):
        _same(name, data.notes.get(name), noted["notes"].get(name))


def alike(data: Data, noted: dict[str, Any]) -> Data:
    """Return `data` with the standardization in the notes of the run whose model was trained on other data.

    A source standardizes by its own training examples. For another file these are other numbers, and the model would
    get inputs on another scale.
    """
    notes = noted["notes"]
    if all(data.notes.get(name) == notes.get(name) for name in ("mean", "std")):
        return data
    train, valid, test = (_scaled(part, data.notes, notes) for part in (data.train, data.valid, data.test))
    assert train is not None
    return replace(data, train=train, valid=valid, test=test, notes=notes)


def _same(subject: str, value: Any, expected: Any) -> None:
    if value != expected:
        raise ConfigError("data", f"{subject}: {value!r}, and the model was trained with {expected!r}")


def _scaled(source: Source | None, own: dict[str, Any], noted: dict[str, Any]) -> Source | None:
    """Undo the source's own standardization, and apply that of the run's notes."""
    if source is None:
        return None
    if not isinstance(source, Tensors):
        raise ConfigError("data", "is standardized by other numbers than the model's data, and not held in memory")
    x = host.tensor(source.x).double() * _row(own, "std", 1.0) + _row(own, "mean", 0.0)
    x = (x - _row(noted, "mean", 0.0)) / _row(noted, "std", 1.0)
    return Tensors(x.to(source.x.dtype).to(source.x.device), source.y)


def _row(notes: dict[str, Any], name: str, usual: float) -> Tensor:
    return torch.tensor(notes.get(name, usual), dtype=torch.float64)
