"""Settings with every name looked up once, for the checks and for building a run."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from runner.settings import Settings
from runner.settings.errors import ConfigError, Problems
from runner.settings.values import lookup
from runner.settings.values.lookup import Bound, Kind
from runner.training import forward, step
from runner.training.augment import treatment
from runner.training.augment.treatment import Treatment
from runner.training.parts import losses, metrics, optimizers, scheduling, source
from runner.training.parts.data_options import DataOptions
from runner.training.parts.device import device
from runner.training.parts.groups import Grouped
from runner.training.parts.metrics import Metric
from runner.training.parts.scheduling import Plan
from runner.training.state import due
from runner.training.state.due import Due

PLOT = Kind(
    "a plot",
    ("runner.plots",),
    lambda v: inspect.isfunction(v) and lookup.is_users(v),
    own="a function draw(run) that returns a matplotlib figure",
)


@dataclass(frozen=True)
class Components:
    """The parts of an experiment by the names of their settings."""

    device: torch.device
    data: Bound
    options: DataOptions
    treatment: Treatment
    loss: nn.Module
    optimizer: Grouped
    scheduler: Plan
    metrics: list[Metric]
    plots: dict[str, Callable[[Any], Any]]  # name -> draw
    pictures: dict[str, Due]  # name -> when it is drawn while the run trains, where it is
    due: Due
    step: Bound | None


def resolve(
    settings: Settings, problems: Problems, seeded: Callable[[], None], equal: Components | None = None
) -> Components:
    """Look up every name and check its arguments. A part that is wrong is None, and `problems` has the error.

    seeded: starts the random generators; a loss of the user's own may draw numbers when it is made.
    equal: components of which all but optimizer and scheduler are those of equal settings.
    """
    trains, parts = settings.trainer.trains, dict[str, Any]()

    def add(name: str, work: Callable[[], Any]) -> None:
        parts[name] = None
        with problems.collect():
            parts[name] = work()

    add("optimizer", lambda: optimizers.resolve(settings.optimizer, bool(settings.trainer.compile)))
    add("scheduler", lambda: scheduling.resolve(settings.scheduler, settings.trainer))
    if equal is not None:
        return replace(equal, **parts)
    seeded()
    add("loss", lambda: losses.build(settings.loss) if trains else forward.Unmeasured())
    add("step", lambda: step.resolve(settings.trainer.step) if trains else None)
    add("due", lambda: due.read(settings.checkpoint.every))
    add("data", lambda: source.resolve(settings.data))
    parts["options"] = parts["data"].options if parts["data"] else DataOptions()
    add("treatment", lambda: treatment.resolve(parts["options"]) if trains else Treatment())
    parts["treatment"] = parts["treatment"] or Treatment()
    add("plots", lambda: _plots(settings.plots))
    add("pictures", lambda: _pictures(settings.plots))
    add("metrics", lambda: metrics.resolve(settings.metrics) if trains else [])
    add("device", lambda: device(settings.device))
    return Components(**parts)


def plot(name: Any, key: str) -> Callable[[Any], Any]:
    """Return the draw function of a plot: ours by its name, the user's by a dotted one."""
    return lookup.find(name, PLOT, key)  # type: ignore[no-any-return]


def _name(spec: Any, key: str) -> str:
    """Return a plot's name, which may have the interval at which it is drawn while the run trains."""
    if isinstance(spec, str):
        return spec
    if isinstance(spec, dict) and len(spec) == 1:
        [(name, options)] = spec.items()
        if options is None or (isinstance(options, dict) and set(options) <= {"every"}):
            return str(name)
    expected = "expected a name such as loss_curve, or {fit: {every: 5}}"
    raise ConfigError(key, f"{spec!r} is not understood; {expected}")


def _pictures(specs: list[Any]) -> dict[str, Due]:
    """Return when the plots with an interval are drawn."""
    problems, intervals = Problems(), dict[str, Due]()
    for i, spec in enumerate(specs):
        if isinstance(spec, dict) and len(spec) == 1 and isinstance(options := next(iter(spec.values())), dict):
            name = str(next(iter(spec)))
            with problems.collect():
                intervals[name] = due.read(options.get("every"), f"plots[{i}].{name}.every", due.COUNTED)
    problems.raise_all()
    return {name: one for name, one in intervals.items() if one.number}


def _plots(specs: list[Any]) -> dict[str, Callable[[Any], Any]]:
    problems, plots = Problems(), dict[str, Callable[[Any], Any]]()
    for i, spec in enumerate(specs):
        with problems.collect():
            name = _name(spec, f"plots[{i}]")
            draw = plot(name, f"plots[{i}]")
            if name in plots:
                raise ConfigError(f"plots[{i}]", f"duplicate {name!r}; remove one")
            plots[name] = draw
    problems.raise_all()
    return plots
