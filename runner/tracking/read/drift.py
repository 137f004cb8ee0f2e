"""Changes of settings for a run that is continued: which are allowed, and how they take hold."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from runner.settings import Settings, torch_private
from runner.settings.errors import ConfigError
from runner.settings.trust import secrets
from runner.training.parts import groups, scheduling, several
from runner.training.run import Run

#: Keys, or beginnings of keys, with which the steps so far would have been the same.
FREE = (
    "trainer.epochs",
    "trainer.steps",
    "trainer.patience",
    "trainer.min_delta",
    "trainer.test_checkpoint",
    "trainer.eval_batch_size",
    "trainer.time_limit",
    "trainer.workers",
    "trainer.threads",
    "trainer.validate_every",
    "checkpoint.",
    "device",
    "plots",
    "tracking.uri",
    "tracking.tags",
    "tracking.log_model",
)
#: Places of the data, which may have moved. `restoring.check_data` compares what is there.
PLACES = ("data.path", "data.root", "data.x", "data.y")
#: Hyperparameters of the steps to come.
STEERED = ("optimizer.", "scheduler.", "trainer.clip_norm", "trainer.clip_value")
#: The progress of a schedule of torch's, as against its settings.
PROGRESS = ("last_epoch", "_step_count", "_last_lr", "best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i")
#: Where torch's schedules that are made of others keep the states of these.
PARTS = "_schedulers"
#: Setting of an optimizer -> the state that it has for each parameter only with it, zero at the first step.
AVERAGES = {"amsgrad": "max_exp_avg_sq", "centered": "grad_avg", "momentum": "momentum_buffer"}
FIXED = ("optimizer.name", "scheduler.name", "scheduler.interval")


def changes(recorded: Settings, new: Settings) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, as key -> (old, new).

    Raises ConfigError with a list of those that cannot be changed in a run that is continued.
    """
    was, now = (_leaves(dataclasses.asdict(settings), "") for settings in (recorded, new))
    differing = {key: (was.get(key), now.get(key)) for key in {**was, **now} if was.get(key) != now.get(key)}
    free = [key for key in differing if key.startswith((*FREE, *STEERED)) and key not in FIXED]
    free += [key for key in differing if key in PLACES and all(isinstance(value, str) for value in differing[key])]
    # A group more or less, or another argument of one, would sort the parameters anew.
    free = [key for key in free if not key.startswith("optimizer.groups") or None not in differing[key]]
    # Nor can one of several optimizers become another.
    fixed = [key for key in free if key.count(".") > 1 and key.endswith((".name", ".params", ".interval"))]
    free = [key for key in free if key not in fixed or key.startswith("optimizer.groups")]
    refused = [key for key in differing if key not in free]
    if new.scheduler and (recorded.trainer.steps is None) != (new.trainer.steps is None):
        refused.append("trainer.steps")  # by which the schedule would move on at other steps
    if refused:
        shown = {key: [secrets.without(value, key) for value in differing[key]] for key in dict.fromkeys(refused)}
        listed = "; ".join(f"{key}: {was!r} -> {now!r}" for key, (was, now) in shown.items())
        raise ConfigError(
            refused[0],
            "a run cannot be continued with another model, other data, another task or another way to compute"
            f" ({listed}); train a run of its own with these",
        )
    return differing


@contextlib.contextmanager
def data_in_place(settings: Settings) -> Iterator[None]:
    """Add the remedy to a ConfigError of the block about data of a recorded run that are not there."""
    try:
        yield
    except ConfigError as error:
        path = settings.data.get(error.key.removeprefix("data.")) if error.key in PLACES else None
        if not isinstance(path, str) or not Path(path).is_absolute() or Path(path).exists():
            raise
        raise ConfigError(
            "",
            f"{error}; the run was recorded with an absolute path, which does not move along: bring the data back"
            f" there, or name where they are now: {error.key}=...",
        ) from None


def steers(changes: dict[str, tuple[Any, Any]]) -> bool:
    """Return whether changes make the steps to come other ones than they would have been."""
    return any(key.startswith(STEERED) for key in changes)


def apply(run: Run, changes: dict[str, tuple[Any, Any]], old_steps: int) -> None:
    """Apply changes to a run whose recorded state has been restored.

    changes: as the function of this name returns them. old_steps: the length of the whole training as recorded.
    Raises ConfigError where the mean of epochs, `trainer.average.from`, would hold some that do not belong to it.
    """
    for key, (old, new) in changes.items():
        part, _, name = key.partition(".")
        if part == "optimizer":
            _steer(run.state.optimizer, name, old, new)
    rebuilt = run.steps != old_steps or any(
        key.startswith("scheduler.") or (key.startswith("optimizer.") and key.endswith(".lr")) for key in changes
    )
    if run.steps != old_steps:
        run.average.lengthened(run.epoch)
    if rebuilt and run.schedule.scheduler is not None:
        _rebuild(run)
    if run.steps > old_steps == run.state.step:
        run.schedule.after_step()  # which is left out after the last step of a training


def _leaves(value: Any, key: str) -> dict[str, Any]:
    """Return every value that is no mapping, or an empty one, by its dotted key."""
    if isinstance(value, dict) and value:
        return {k: v for name, inner in value.items() for k, v in _leaves(inner, f"{key}.{name}".lstrip(".")).items()}
    return {key: value}


def _steer(optimizer: torch.optim.Optimizer, key: str, old: Any, new: Any) -> None:
    """Change an argument of the groups that have it from there. key: `lr`, or `groups.head.lr`."""
    pattern, _, name = key.removeprefix("groups.").rpartition(".")
    for group in optimizer.param_groups:
        if group.get(groups.SET_BY, {}).get(name, "") != pattern:
            continue
        if name == "lr":  # a schedule has moved it: it stays as far from the first rate as it is, as a factor
            first = group.get("initial_lr", group["lr"]) if old is None else old  # None: torch's default
            group["lr"] = group["lr"] * (new / first) if group["lr"] != first else new
            if "initial_lr" in group:
                group["initial_lr"] = new
        elif name in group:
            group[name] = tuple(new) if isinstance(new, list) else new
        if new and name in AVERAGES:
            for parameter in group["params"]:
                if state := optimizer.state.get(parameter):
                    state.setdefault(AVERAGES[name], torch.zeros_like(parameter))


def _rebuild(run: Run) -> None:
    """Build the schedule as it is configured now, and bring it as far on as the recorded one."""
    optimizer = run.state.optimizer
    before = [(one.scheduler.state_dict(), _rates(one.scheduler.optimizer)) for one in run.schedule.each]
    bounds = run.parts.optimizer.each if isinstance(run.parts.optimizer, several.Several) else {"": run.parts.optimizer}
    for name, one in several.each_of(optimizer).items():  # as at the start: schedules compute other rates from these
        for group, rate in zip(one.param_groups, groups.configured(bounds[name].groups, one), strict=True):
            group["lr"] = rate
    run.schedule = scheduling.build(run.parts.scheduler, optimizer, run.length.epochs, run.steps, run.best.mode)
    for schedule, (state, rates) in zip(run.schedule.each, before, strict=True):
        scheduler = schedule.scheduler
        if PARTS in state:  # one part goes on from the rates of another, which no part's own state tells
            move = schedule.after_step if schedule.interval == "step" else schedule.after_epoch
            for _ in range(_moves(state)):
                move()
            continue
        progress = {key: state[key] for key in PROGRESS if key in state}
        scheduler.load_state_dict({**scheduler.state_dict(), **progress})  # some classes load nothing less than all
        rates = torch_private.rates_of_step(scheduler) or rates
        for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _moves(state: dict[str, Any]) -> int:
    """Return how often a schedule has moved on, from its state; that of a ChainedScheduler is told by its parts'."""
    return int(state["last_epoch"]) if "last_epoch" in state else _moves(state[PARTS][0])


def _rates(optimizer: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]
