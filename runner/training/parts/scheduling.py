"""The learning-rate schedule: from its settings to when it moves on."""

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from runner.settings import Component
from runner.settings.errors import ConfigError
from runner.settings.values import lookup, ranges
from runner.settings.values.lookup import Kind, made

SCHEDULER = Kind(
    "a scheduler",
    ("runner.schedules", "torch.optim.lr_scheduler"),
    lambda v: (
        isinstance(v, type)
        and issubclass(v, torch.optim.lr_scheduler.LRScheduler)
        and v is not torch.optim.lr_scheduler.LRScheduler
    ),
)


#: Arguments of schedulers that follow from the length of the training.
LENGTHS = ("total_steps", "T_max")

#: Arguments of torch's that YAML cannot say; a schedule of the user's own may take what it likes.
FUNCTIONS = ("lr_lambda", "scale_fn", "schedulers")


@dataclass
class Schedule:
    """A learning-rate schedule and when it moves on."""

    scheduler: Any = None
    interval: str = "epoch"  # epoch | step

    def after_step(self) -> None:
        if self.scheduler is not None and self.interval == "step":
            self._move()

    def after_epoch(self, monitored: float | None) -> None:
        """`monitored` is what a plateau schedule looks at."""
        if self.scheduler is None or self.interval != "epoch":
            return
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            if monitored is not None:
                self._move(monitored)
        else:
            self._move()

    def _move(self, *monitored: float) -> None:
        with warnings.catch_warnings():
            # The loss scaling of fp16 leaves the first steps out, as it should; torch then sees no step before this.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            self.scheduler.step(*monitored)


def build(spec: Component | None, optimizer: torch.optim.Optimizer, epochs: int, steps: int, mode: str) -> Schedule:
    """The schedule. epochs, steps: the length of the whole training, for schedules that must know it."""
    if spec is None:
        return Schedule()
    found, arguments, interval = read(spec)
    takes = lookup.parameters(found)
    for name in LENGTHS:
        if name in takes and name not in arguments and "epochs" not in arguments:
            arguments[name] = max(steps if interval == "step" else epochs, 1)
    if found is torch.optim.lr_scheduler.ReduceLROnPlateau:
        arguments.setdefault("mode", mode)
    return Schedule(made(functools.partial(found, optimizer), arguments, "scheduler"), interval)


def read(spec: Component) -> tuple[type, dict[str, Any], str]:
    """The scheduler's class, arguments and interval, checked."""
    name, arguments = lookup.component(spec, "scheduler")
    found = lookup.find(name, SCHEDULER, "scheduler.name")
    interval = arguments.pop("interval", "step" if name.rpartition(".")[2] in ("OneCycleLR", "CyclicLR") else "epoch")
    if interval not in ("epoch", "step"):
        raise ConfigError("scheduler.interval", f"{interval!r} is not one of epoch, step")
    if interval == "step" and issubclass(found, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ConfigError("scheduler.interval", "a plateau is seen in validations; use scheduler.interval=epoch")
    lookup.refuse(arguments, ["optimizer"], "scheduler", "is filled in; leave it out")
    if found.__module__.startswith("torch."):
        why = "takes functions or schedulers, which YAML cannot say; write a schedule of your own in experiments/"
        lookup.refuse(arguments, FUNCTIONS, "scheduler", why)
        if not isinstance(arguments.get("milestones", []), list):
            raise ConfigError("scheduler.milestones", f"{arguments['milestones']!r} is not a list, as in [30, 60]")
    lookup.bind(found, arguments, "scheduler", free=["optimizer", *LENGTHS])
    ranges.check(found, arguments, ranges.SCHEDULER, "scheduler")
    return found, arguments, interval
