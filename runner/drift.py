"""What may change when a run is continued, what must not, and how a change takes hold."""

import dataclasses
from typing import Any

import torch

from runner import scheduling, secrets
from runner.lookup import ConfigError
from runner.run import Run
from runner.settings import Settings

#: Keys, or beginnings of keys, with which the steps so far would have been the same.
FREE = (
    "trainer.epochs",
    "trainer.patience",
    "trainer.min_delta",
    "trainer.test_checkpoint",
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
#: Hyperparameters of the steps to come.
STEERED = ("optimizer.", "scheduler.", "trainer.clip_norm", "trainer.clip_value")
#: What a schedule of torch's has come to, as against how it is set.
PROGRESS = ("last_epoch", "_step_count", "_last_lr", "best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i")
FIXED = ("optimizer.name", "scheduler.name", "scheduler.interval")


def changes(recorded: Settings, wanted: Settings) -> dict[str, tuple[Any, Any]]:
    """What differs, as key -> (old, new). Raises ConfigError with the list of what cannot be changed under way."""
    was, now = (_leaves(dataclasses.asdict(settings), "") for settings in (recorded, wanted))
    found = {key: (was.get(key), now.get(key)) for key in {**was, **now} if was.get(key) != now.get(key)}
    refused = [key for key in found if key in FIXED or not key.startswith((*FREE, *STEERED))]
    if refused:
        shown = {key: [secrets.without(value, key) for value in found[key]] for key in refused}
        listed = "; ".join(f"{key}: {was!r} -> {now!r}" for key, (was, now) in shown.items())
        raise ConfigError(
            refused[0],
            f"a run cannot be continued with another model, other data or another task ({listed});"
            " train a run of its own with these",
        )
    return found


def steers(found: dict[str, tuple[Any, Any]]) -> bool:
    """Whether the steps from here on differ from what they would have been."""
    return any(key.startswith(STEERED) for key in found)


def apply(run: Run, found: dict[str, tuple[Any, Any]], old_steps: int) -> None:
    """Let changes take hold in a run whose recorded state has been restored.

    old_steps: the length of the whole training as it was recorded.
    """
    for key, (old, new) in found.items():
        part, _, name = key.partition(".")
        if part == "optimizer":
            _steer(run.state.optimizer, name, old, new)
    rebuilt = run.steps != old_steps or any(key.startswith(("scheduler.", "optimizer.lr")) for key in found)
    if rebuilt and run.schedule.scheduler is not None:
        _rebuild(run)
    if run.steps > old_steps == run.state.step:
        run.schedule.after_step()  # which is left out after the last step of a training


def _leaves(value: Any, key: str) -> dict[str, Any]:
    """Every value that is no mapping, by its dotted key."""
    if isinstance(value, dict) and value:
        return {k: v for name, inner in value.items() for k, v in _leaves(inner, f"{key}.{name}".lstrip(".")).items()}
    return {key: value}


def _steer(optimizer: torch.optim.Optimizer, name: str, old: Any, new: Any) -> None:
    for group in optimizer.param_groups:
        if name == "lr":  # a schedule has moved it: what it has done so far is kept
            group["lr"] *= new / old
            if "initial_lr" in group:
                group["initial_lr"] = new
        elif name in group:
            group[name] = tuple(new) if isinstance(new, list) else new


def _rebuild(run: Run) -> None:
    """The schedule as it is configured now, as far on as the recorded one."""
    optimizer, state = run.state.optimizer, run.schedule.scheduler.state_dict()
    rates = [group["lr"] for group in optimizer.param_groups]
    trainer = run.settings.trainer
    run.schedule = scheduling.build(run.settings.scheduler, optimizer, trainer.epochs, run.steps, run.best.mode)
    run.schedule.scheduler.load_state_dict({key: state[key] for key in PROGRESS if key in state})
    for group, rate in zip(optimizer.param_groups, _planned(run.schedule.scheduler) or rates, strict=True):
        group["lr"] = rate


def _planned(scheduler: Any) -> list[float] | None:
    """The rates of a schedule that depend on nothing but how far it is on.

    Others go from rate to rate: a cosine that has come to nothing would stay there, however long it has become.
    """
    if hasattr(scheduler, "_get_closed_form_lr"):
        return [float(rate) for rate in scheduler._get_closed_form_lr()]
    if isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR | torch.optim.lr_scheduler.OneCycleLR):
        scheduler._get_lr_called_within_step = True  # or torch warns
        return [float(rate) for rate in scheduler.get_lr()]
    return None
