"""The data: look up the source and read its three parts, tensors or datasets."""

import importlib
import inspect
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from runner import data as sources
from runner.data import Data, _ragged, _torchvision
from runner.data._datasets import converted
from runner.data._folds import Fold, called, cut, of
from runner.data._items import paired
from runner.data._reading import check_alike
from runner.data._streams import is_stream
from runner.settings import Component, random_state
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.values import lookup, ranges
from runner.settings.values.lookup import Bound, Kind
from runner.settings.values.signatures import as_words
from runner.training.checking import rescale
from runner.training.parts import data_cache, data_options
from runner.training.parts.data_options import DataOptions

DATA = Kind(
    "a data source",
    ("runner.data",),
    lambda v: inspect.isfunction(v) and (_torchvision.is_made(v) or lookup.is_users(v)),
    _torchvision.find,
    own="a function that returns runner.data.Data",
)


def resolve(spec: Component) -> "Sourced":
    """Look up the data source and check its arguments, and the options beside them. Raises ConfigError."""
    name, arguments = lookup.component(spec, "data")
    target = lookup.find(name, DATA, "data.name")
    arguments, options = data_options.split(target, arguments)
    takes = lookup.parameters(target)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    for unknown in () if takes_any else sorted(arguments.keys() - takes.keys()):
        if hint := did_you_mean(unknown, data_options.names(target)):
            raise ConfigError(f"data.{unknown}", f"there is no such key{hint}")
    arguments = as_words(takes, arguments)
    lookup.bind(target, arguments, "data")
    ranges.check(target, arguments, ranges.DATA, "data")
    return _folded(Sourced(target, arguments, "data", options, collate=_ragged.resolve(options.collate)))


def _folded(source: "Sourced") -> "Sourced":
    """Return the source with its fold, which stands for `valid` where it divides its examples itself."""
    fold = of(source.options.folds, source.options.fold)
    if fold is None:
        return source
    valid = lookup.parameters(source.target).get("valid")
    if not is_ours(source):
        return replace(source, fold=fold)
    if valid is None or valid.annotation is not float:
        name = source.target.__name__
        raise ConfigError("data.folds", f"{fold.folds} cannot be had: {name} makes its examples up; leave it out")
    fraction = source.arguments.get("valid", valid.default)
    return replace(source, arguments={**source.arguments, "valid": Fold(fold.folds, fold.fold, fraction)})


@dataclass(frozen=True)
class Sourced(Bound):
    """A source, and the keys of `data` that hold for any.

    collate: makes the batches; None: torch's.
    fold: cut out of what it gives; None where there is none, or the source divides its examples itself.
    """

    options: DataOptions = field(default_factory=DataOptions)
    fold: Fold | None = None
    collate: _ragged.Collate | None = None


def read(source: Bound, brief: bool = False, noted: dict[str, Any] | None = None) -> Data:
    """Read the data. Raises ConfigError where the source or its files are wrong.

    brief: read only what shapes, sizes and classes need, if the source's module has a function `brief` with the same
        arguments.
    noted: the notes of a run on its data: new data is brought to the scale of that run's model, by the function `again`
        of the source's module if it has one. Raises ConfigError for data of another kind.
    """
    name = source.target.__name__
    try:
        if noted is not None and (again := _beside(source, "again")) is not None:
            data = called(again, {"noted": noted, **source.arguments})
        else:
            shorter = _beside(source, "brief") if brief and noted is None else None
            data = data_cache.read(shorter or source.target, source.arguments)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(*_raised(name, source.target, error)) from error
    if not isinstance(data, Data):
        raise ConfigError("data.name", f"{name!r} returned {type(data).__name__}, expected runner.data.Data")
    collate = source.collate if isinstance(source, Sourced) else None
    if collate is None or not collate.own:  # a collate of the user's gets examples as they are
        for part in ("train", "valid", "test"):
            data = _paired(data, part, f"{name!r} gives {part}=")
        data = converted(data, vectors=collate is not None)
    if isinstance(source, Sourced) and source.fold is not None:
        data = cut(data, source.fold, 0)
    if collate is not None:
        data = _ragged.collated(data, collate)
    elif not isinstance(data.train, sources.Tensors) and not is_stream(data.train):
        with random_state.started(0):
            check_alike([data.train[i] for i in {0, (len(data.train) - 1) // 2, len(data.train) - 1}])  # type: ignore[arg-type]
    if noted is not None:
        rescale.check(data, noted)
        data = rescale.alike(data, noted)
    return data


def reads_again(source: Bound) -> bool:
    """Return whether the source's module can read data by the notes of a run."""
    return _beside(source, "again") is not None


def reads_less(source: Bound) -> bool:
    """Return whether the source's module can read less than everything."""
    return _beside(source, "brief") is not None


def is_ours(source: Bound) -> bool:
    """Return whether the source is one of this package, which only reads."""
    return str(source.target.__module__).startswith("runner.")


def _beside(source: Bound, name: str) -> Any:
    """Return the function `name` of the source's module; None if it has none."""
    return getattr(importlib.import_module(source.target.__module__), name, None)


def _raised(name: str, source: Any, error: Exception) -> tuple[str, str]:
    why = lookup.failure(error, source)
    return "data", f"{name!r} failed with {why}; expected runner.data.Data from these arguments"


def _paired(data: Data, part: str, subject: str) -> Data:
    """Return data whose `part` has pairs (x, y). Raises ConfigError where it has not."""
    source = getattr(data, part)
    if source is None or isinstance(source, sources.Tensors):
        return data
    if not isinstance(source, torch.utils.data.Dataset):
        raise ConfigError(
            "data.name", f"{subject}{type(source).__name__}, expected runner.data.Tensors(x, y) or a torch Dataset"
        )
    pairs, line = paired(source, subject)
    if pairs is source:
        return data
    changes: dict[str, Any] = {part: pairs, "report": tuple(dict.fromkeys([*data.report, line]))}
    return replace(data, **changes)
