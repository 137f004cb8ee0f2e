"""The learning-rate schedule: look it up, make it, and move it on after steps or epochs."""

import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch

from runner.settings import Component, Trainer
from runner.settings.errors import ConfigError, Problems
from runner.settings.values import lookup, ranges
from runner.settings.values.lookup import Bound, Kind
from runner.training.parts import combined_schedules, groups, several

SCHEDULER = Kind(
    "a scheduler",
    ("runner.schedules", "torch.optim.lr_scheduler"),
    lambda v: (
        isinstance(v, type)
        and issubclass(v, torch.optim.lr_scheduler.LRScheduler)
        and v is not torch.optim.lr_scheduler.LRScheduler
    ),
    own="a class that inherits from torch.optim.lr_scheduler.LRScheduler",
)


#: Arguments of schedulers that follow from the length of the training.
LENGTHS = ("total_steps", "T_max")

#: Arguments that are learning rates themselves, in the place of the optimizer's.
RATES = ("max_lr", "base_lr")

#: Arguments of torch's schedules that YAML cannot express.
FUNCTIONS = ("lr_lambda", "scale_fn")


class Moves(Protocol):
    """The moves of a schedule after an epoch and after a validation."""

    def after_epoch(self) -> None:
        """Move on, if that is due after every epoch."""

    def after_validation(self, monitored: float) -> None:
        """Move on, if that is due after every validation. monitored: its value of `trainer.monitor`."""


@dataclass
class Schedule:
    """A learning-rate schedule that moves on after every step, epoch or validation.

    scheduler: None for a constant rate. interval: of a plateau schedule it is "epoch", and validations count.
    """

    scheduler: Any = None
    interval: str = "epoch"  # epoch | step

    def after_step(self) -> None:
        """Move on, if that is due after every step."""
        if self.scheduler is not None and self.interval == "step":
            self._move()

    def after_epoch(self) -> None:
        """Move on, if that is due after every epoch."""
        if self.scheduler is not None and self.interval == "epoch" and not self.waits:
            self._move()

    def after_validation(self, monitored: float) -> None:
        """Move on a plateau schedule, which stays where there is no validation."""
        if self.waits:
            self._move(monitored)

    @property
    def each(self) -> "list[Schedule]":
        """The schedules of single optimizers: this one."""
        return [self]

    @property
    def waits(self) -> bool:
        """True if it waits for the values of validations."""
        return isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)

    def _move(self, *monitored: float) -> None:
        with warnings.catch_warnings():
            # The loss scaling of fp16 skips the first steps, of which torch then warns.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            self.scheduler.step(*monitored)


class Apart:
    """The states of the schedules of several optimizers, in the place of one scheduler's."""

    def __init__(self, schedules: dict[str, Schedule]) -> None:
        self.schedules = schedules

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each by its optimizer's name."""
        return {name: schedule.scheduler.state_dict() for name, schedule in self.schedules.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of each."""
        for name, schedule in self.schedules.items():
            schedule.scheduler.load_state_dict(state[name])


@dataclass
class Schedules(Schedule):
    """The schedules of several optimizers, each with its own interval."""

    schedules: dict[str, Schedule] = field(default_factory=dict)

    @property
    def each(self) -> list[Schedule]:
        """The schedules of single optimizers."""
        return list(self.schedules.values())

    def after_step(self) -> None:
        """Move on those for which that is due after every step."""
        for schedule in self.each:
            schedule.after_step()

    def after_epoch(self) -> None:
        """Move on those for which that is due after every epoch."""
        for schedule in self.each:
            schedule.after_epoch()

    def after_validation(self, monitored: float) -> None:
        """Move on plateau schedules."""
        for schedule in self.each:
            schedule.after_validation(monitored)


@dataclass(frozen=True)
class Plan:
    """A scheduler's class and arguments, and when it moves on. scheduler: None for a constant learning rate."""

    scheduler: Bound | None = None
    interval: str = "epoch"  # epoch | step
    each: dict[str, "Plan"] = field(default_factory=dict)  # of several optimizers, by their names
    parts: list["Plan"] = field(default_factory=list)  # those that SequentialLR and ChainedScheduler are made of

    def targets(self) -> list[Any]:
        """Return the classes: of the schedule, and of those that it is made of."""
        own = [self.scheduler.target] if self.scheduler else []
        return [*own, *(target for part in self.parts for target in part.targets())]


def resolve(spec: Component | None, trainer: Trainer, key: str = "scheduler", inside: bool = False) -> Plan:
    """Look up the scheduler's class and check its arguments and interval. Raises ConfigError.

    trainer: whose steps, if these are counted, are the interval of a schedule that names none.
    inside: it is one of those that another schedule is made of, which says when all of them move on.
    """
    if spec is None:
        return Plan()
    if several.is_several(spec):
        problems, each = Problems(), dict[str, Plan]()
        for name, one in spec.items():
            with problems.collect():
                each[name] = resolve(one, trainer, f"scheduler.{name}")
        problems.raise_all()
        return Plan(each=each)
    name, arguments = lookup.component(spec, key)
    target = lookup.find(name, SCHEDULER, f"{key}.name")
    plateau = issubclass(target, torch.optim.lr_scheduler.ReduceLROnPlateau)
    if inside and plateau:
        raise ConfigError(key, f"{name} waits for validations, and cannot be a part of another schedule")
    if inside:
        lookup.refuse(arguments, ["interval"], key, "all parts move on together; set scheduler.interval")
    parts: list[Plan] = []
    if name.rpartition(".")[2] in combined_schedules.NAMES and target.__module__.startswith("torch."):
        one = partial(resolve, trainer=trainer, inside=True)
        within = arguments.pop(combined_schedules.SCHEDULERS, None)
        parts = combined_schedules.resolve(within, f"{key}.schedulers", lambda part, place: one(part, key=place))
    by_steps = (trainer.steps is not None and not plateau) or name.rpartition(".")[2] in ("OneCycleLR", "CyclicLR")
    by_steps = by_steps or any(part.interval == "step" for part in parts)
    interval = arguments.pop("interval", None) or ("step" if by_steps else "epoch")
    if interval not in ("epoch", "step"):
        raise ConfigError(f"{key}.interval", f"{interval!r} is not one of epoch, step")
    if interval == "step" and plateau:
        raise ConfigError(f"{key}.interval", f"a plateau schedule moves on after validations; use {key}.interval=epoch")
    lookup.refuse(arguments, ["optimizer"], key, "is filled in; leave it out")
    if target.__module__.startswith("torch."):
        why = "takes functions, which YAML cannot express; write a schedule of your own in experiments/"
        lookup.refuse(arguments, FUNCTIONS, key, why)
        if not isinstance(arguments.get("milestones", []), list):
            raise ConfigError(f"{key}.milestones", f"{arguments['milestones']!r} is not a list, as in [30, 60]")
    filled_in = [combined_schedules.SCHEDULERS] if parts else []
    lookup.bind(target, arguments, key, free=["optimizer", *LENGTHS, *filled_in])
    ranges.check(target, arguments, ranges.SCHEDULER, key)
    if parts and "milestones" in arguments:
        combined_schedules.check(arguments, len(parts), key)
    return Plan(Bound(target, arguments, key), interval, parts=parts)


def build(plan: Plan, optimizer: torch.optim.Optimizer, epochs: int, steps: int, mode: str) -> Schedule:
    """Make the schedule of `optimizer`.

    epochs, steps: of the whole training, for schedules that depend on its length.
    mode: min | max, for a plateau schedule: which values of the monitored metric are better.
    """
    if plan.each:
        optimizers = several.each_of(optimizer)
        if unknown := [name for name in plan.each if name not in optimizers or name == ""]:
            names = ", ".join(filter(None, optimizers)) or "none, as the optimizer is one"
            raise ConfigError(f"scheduler.{unknown[0]}", f"is no name of an optimizer (there are {names})")
        made = {name: build(one, optimizers[name], epochs, steps, mode) for name, one in plan.each.items()}
        return Schedules(Apart(made), schedules=made)
    bound = plan.scheduler
    if bound is None:
        return Schedule()
    return Schedule(
        _made(plan, bound, optimizer, max(steps if plan.interval == "step" else epochs, 1), mode), plan.interval
    )


def _made(plan: Plan, bound: Bound, optimizer: torch.optim.Optimizer, length: int, mode: str) -> Any:
    """Return torch's scheduler. length: of the schedule, in its interval."""
    takes, arguments = lookup.parameters(bound.target), bound.arguments
    if plan.parts:
        each = combined_schedules.lengths(arguments, len(plan.parts), length)
        made = [
            _made(part, part.scheduler, optimizer, n, mode)
            for part, n in zip(plan.parts, each, strict=True)
            if part.scheduler
        ]
        return bound.but(schedulers=made, optimizer=optimizer).make()
    further: dict[str, Any] = {}
    for name in LENGTHS:
        if name in takes and name not in arguments and "epochs" not in arguments:
            further[name] = length
    if bound.target is torch.optim.lr_scheduler.ReduceLROnPlateau:
        further["mode"] = arguments.get("mode", mode)
    further |= {
        name: _of_groups(arguments[name], optimizer, f"{bound.key}.{name}") for name in RATES if name in arguments
    }
    return bound.but(**further).make(optimizer)


def _of_groups(rate: Any, optimizer: torch.optim.Optimizer, key: str) -> Any:
    """Return a rate for each group of the optimizer: as far from `rate` as the group's own is from the optimizer's.

    Raises ConfigError for one rate in the place of those of several optimizers. key: of the rate.
    """
    if isinstance(optimizer, several.Optimizers):
        example = f"{{{next(iter(optimizer.each))}: {{name: OneCycleLR, ...}}, ...}}"
        raise ConfigError(key, f"{rate!r} is for one optimizer, and there are several; give each a schedule: {example}")
    if isinstance(rate, list) or groups.SET_BY not in optimizer.param_groups[-1]:
        return rate
    return [rate * float(group["lr"]) / float(optimizer.defaults["lr"]) for group in optimizer.param_groups]
