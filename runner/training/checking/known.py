"""Findings of the checks for a job of a sweep, used for the jobs that differ from it in numbers alone.

A learning rate or a seed changes no shape and no name, so that data is read, layers are planned and a step is rehearsed
once for all jobs that are equal otherwise. What is checked for each is its own: names, types and ranges of all values,
the making of its optimizer and its schedule.

Nothing is known of a job with code of the user's own, which may draw random numbers, count its calls or change what it
is given.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from runner.data import Data, Tensors, nests
from runner.model import planning, stack, whole
from runner.settings import Model, Settings
from runner.settings.values import lookup, ranges
from runner.training.parts import data_cache, dropout, limited
from runner.training.parts.components import Components

#: Sets of data that are held, the newest, each of at most `data_cache.MOST` bytes.
SETS = 3
#: Kinds of jobs, plans and components that are held, the newest.
MOST = 512

T = TypeVar("T")


@dataclass
class Kind:
    """The common part of jobs that differ in numbers alone. Their runs share it, and none may change it."""

    data: Data
    complete: bool  # True if `data` is all of it
    metrics: dict[str, Any]
    mode: str  # min | max: which values of the monitored metric are better
    shared: bool = False  # False: of one job alone
    material: Any = None  # what `prepare` has made of it


@dataclass
class Known:
    """Findings of the checks by the settings that they depend on; see `checks.check`."""

    _stores: set[str] = field(default_factory=set)
    _components: dict[str, Components] = field(default_factory=dict)
    _data: dict[str, Data] = field(default_factory=dict)
    _layers: planning.Earlier = field(default_factory=dict)
    _plans: dict[str, tuple[stack.Stack, str]] = field(default_factory=dict)
    _kinds: dict[str, dict[str, Kind]] = field(default_factory=dict)  # by their data

    def store(self, uri: str, check: Callable[[str], None]) -> None:
        """Check a store that no earlier job has. Raises what `check` raises."""
        if uri not in self._stores:
            check(uri)
            self._stores.add(uri)

    def components(self, settings: Settings) -> Components | None:
        """Return the components of a job with equal names, but for optimizer and schedule; None if there was none."""
        return self._components.get(_names(settings))

    def keep_components(self, settings: Settings, parts: Components) -> None:
        """Keep the components of a job without problems."""
        if not _has_own(parts):
            _keep(self._components, _names(settings), parts, MOST)

    def data_key(self, settings: Settings, parts: Components) -> str:
        """Return what the data of a job depends on; "" for data that is read anew for each."""
        key = None if _has_own(parts) else data_cache.identity(parts.data.target, parts.data.arguments)
        return "" if key is None else f"{key} {settings.loss} {settings.trainer.trains} {limited.key(settings)}"

    def data(self, key: str, read: Callable[[], Data]) -> Data:
        """Return the data of an earlier job with the same key, or read it."""
        if (known := self._data.get(key)) is not None:
            return known
        data = read()
        if key and _bytes(data) <= data_cache.MOST:
            for old in _keep(self._data, key, data, SETS):
                self._kinds.pop(old, None)
        return data

    def plan(
        self, key: str, model: Model, example: nests.Nest, called_by_loss: bool = False
    ) -> tuple[stack.Stack, str]:
        """Plan a model, or return the plan of an earlier job with an equal one and equal shapes.

        Returns the plan, and the part of it that decides the kind of a job. key: of the data. called_by_loss:
        the loss is one of (model, batch). Raises what `whole.planned` raises.
        """
        rows = [getattr(one, "rows", 0) for one in nests.leaves(example)]
        words = (model.inputs, model.layers, model.outputs, model.init)
        key = f"{words!r} {nests.key(example)} {rows}" if key else ""
        if (earlier := self._plans.get(key)) is not None:
            return earlier
        plan = (whole.called_by_loss if called_by_loss else whole.planned)(model, example, self._layers)
        own = [*(one.target for one in _all(plan)), *(start.function for start in plan.start)]
        if not key or any(map(lookup.is_own, own)):
            return plan, ""
        layers = dropout.without_p(plan, dropout.ALL, _entry)
        _keep(self._plans, key, (plan, repr((layers, plan.outputs, plan.start))), MOST)
        return self._plans[key]

    def kind(self, key: str, layers: str, settings: Settings, parts: Components) -> Kind | None:
        """Return what was found for an earlier job of this kind. key: of the data. layers: as `plan` returns them."""
        return self._kinds.get(key, {}).get(_kind(layers, settings, parts))

    def keep(self, key: str, layers: str, settings: Settings, parts: Components, kind: Kind) -> None:
        """Keep what was found for a job whose data is held and whose layers are torch's and ours."""
        if layers and key in self._data:
            kind.shared = True
            _keep(self._kinds.setdefault(key, {}), _kind(layers, settings, parts), kind, MOST)


def _bytes(data: Data) -> float:
    """Return the bytes of all of the data, of which the checks may have read a part; infinite if not in memory."""
    parts = [part for part in (data.train, data.valid, data.test) if part is not None]
    return sum(nests.nbytes((part.x, part.y)) if isinstance(part, Tensors) else math.inf for part in parts)


def _names(settings: Settings) -> str:
    """Return what components depend on, but for optimizer and schedule."""
    trainer = settings.trainer
    parts = (settings.loss, settings.data, settings.plots, settings.metrics, settings.device, settings.checkpoint.every)
    return repr((parts, trainer.trains, trainer.step, trainer.precision))


def _kind(layers: str, settings: Settings, parts: Components) -> str:
    """Return what the checks depend on beside the data, without the numbers that change nothing but values."""
    optimizer = {name: _free(name, value, ranges.OPTIMIZER) for name, value in parts.optimizer.arguments.items()}
    groups = {
        pattern: {name: _free(name, value, ranges.OPTIMIZER) for name, value in options.items()}
        for pattern, options in parts.optimizer.groups.items()
    }
    trainer = {name: _free(name, value, ranges.TRAINER) for name, value in vars(settings.trainer).items()}
    return repr(
        (
            _names(settings),
            layers,
            parts.optimizer.target,
            optimizer,
            groups,
            trainer,
            settings.sweep.metric,
            settings.model.freeze,
        )
    )


def _free(name: str, value: Any, table: dict[str, ranges.Range]) -> Any:
    """Return a value; of a number that is no count, only whether it is 0, which decides what an optimizer holds."""
    if isinstance(value, list | tuple):
        return [_free(name, one, table) for one in value]
    if name not in table or table[name].whole or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return "0" if value == 0 else "a number"


def _entry(layer: stack.Layer, arguments: dict[str, Any]) -> Any:
    return layer.key, layer.target, arguments, layer.given, layer.shape, layer.reads, layer.ties, layer.shares


def _all(plan: stack.Stack) -> Iterable[stack.Layer]:
    return (one for layer in plan.layers for one in (layer, *layer.inner()))


def _has_own(parts: Components) -> bool:
    """Return whether code of the user's own takes part in what is checked, layers left out."""
    named = (parts.data, parts.optimizer, parts.scheduler.scheduler, parts.step)
    targets = [*(part.target for part in named if part is not None), *(metric.target for metric in parts.metrics)]
    targets += [bound.target for bound in parts.treatment.augment if lookup.is_users(bound.target)]
    return any(map(lookup.is_own, [*targets, type(parts.loss), *parts.plots.values()]))


def _keep(held: dict[str, T], key: str, value: T, most: int) -> list[str]:
    """Hold a value, and let go of the oldest; return the keys of those."""
    held[key] = value
    old = list(held)[:-most]
    for name in old:
        del held[name]
    return old
