"""Settings of many optimizers in the steps of a block, for which their schedules are moved on beforehand.

Runs whose optimizer and schedule are the same, as those of many seeds, share one computation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.settings.errors import ConfigError
from runner.settings.values.lookup import is_own
from runner.training.run import Run

#: Values of a setting, of shape (steps, kinds); betas are two settings.
Columns = dict[str, NDArray[np.float64]]


class Schedules:
    """The schedules of `runs`.

    owner: (N,), of every run the number of its kind. Runs of a kind have equal settings in every step.
    ends_block: interval -> True if some schedule must be asked after every "step" or "epoch", because it is the user's
        own and may depend on anything.
    """

    def __init__(self, runs: Sequence[Run], taken: Sequence[int]) -> None:
        self.runs, self.taken = list(runs), np.array(taken, np.int64)
        self._sort()

    def _sort(self) -> None:
        kinds: dict[Any, list[int]] = {}
        self.owner = np.zeros(len(self.runs), np.int64)
        for i, (run, count) in enumerate(zip(self.runs, map(int, self.taken), strict=True)):
            kinds.setdefault(_kind(run, count) or i, []).append(i)
        for kind, members in enumerate(kinds.values()):
            self.owner[members] = kind
        self._kinds = [[self.runs[i] for i in members] for members in kinds.values()]
        own = [run.schedule for run, *_ in self._kinds if is_late(run)]
        self.ends_block = {interval: any(s.interval == interval for s in own) for interval in ("step", "epoch")}
        self._groups = [run.state.optimizer.param_groups[0] for run in self.runs]
        self._expected = list(map(_all_of, self._groups))
        self._firsts = [members[0] for members in kinds.values()]

    def ahead(self, n: int) -> tuple[Columns, NDArray[np.int64]]:
        """Return the settings in the next `n` steps, and move the schedules to what follows these.

        The second is how many steps the optimizers will have taken then, of shape (n, kinds).
        """
        present = list(map(_all_of, self._groups))
        if present != self._expected:  # an observer has changed a setting
            for before, now in zip(self._expected, present, strict=True):
                _refuse_flags(before, now)
            self._sort()
        names = list(_settings(self.runs[0]))
        table = np.empty((len(names), n, len(self._kinds)))
        for kind, (run, *others) in enumerate(self._kinds):
            if run.schedule.scheduler is None or moves_later(run):
                table[:, :, kind] = np.reshape(list(_settings(run).values()), (-1, 1))
                continue
            table[:, :, kind], moved = _moved(run, n)
            for other in others if moved else ():
                _follow(other, run)
        self._expected = list(map(_all_of, self._groups))
        self._rates = table[names.index("lr"), -1]
        taken = self.taken[self._firsts] + np.arange(1, n + 1)[:, None]
        self.taken += n
        return dict(zip(names, table, strict=True)), taken

    @property
    def rates(self) -> list[float]:
        """The learning rate of every run in the last step."""
        return list(map(float, self._rates[self.owner]))


def _moved(run: Run, n: int) -> tuple[NDArray[np.float64], bool]:
    """Move a schedule on by `n` steps. Return the settings of each, (settings, n), and whether any could change."""
    columns, values, moved = [], list(_settings(run).values()), False
    for step in range(run.state.step + 1, run.state.step + n + 1):
        columns.append(values)
        each, epoch_ends = run.schedule.interval == "step", step % run.steps_per_epoch == 0
        if each and step < run.steps:
            run.schedule.after_step()
        elif not each and epoch_ends:
            run.schedule.after_epoch()
        else:
            continue
        values, moved = list(_settings(run).values()), True
    return np.transpose(columns), moved


def moves_later(run: Run) -> bool:
    """Return whether a schedule is moved after its step or its validation, and not beforehand."""
    return is_late(run) or run.schedule.waits


def after_step(run: Run) -> None:
    """Move a schedule that was not moved beforehand, if that is due after a step."""
    if is_late(run) and run.state.step < run.steps:
        run.schedule.after_step()


def is_late(run: Run) -> bool:
    """Return whether the schedule, or a part of it, is the user's own, which may depend on anything."""
    return run.schedule.scheduler is not None and any(map(is_own, run.parts.scheduler.targets()))


def _kind(run: Run, taken: int) -> Any:
    """Return a key that is equal for runs whose optimizers have the same settings in every step; None for no other."""
    scheduler, [group] = run.schedule.scheduler, run.state.optimizer.param_groups
    settings = _all_of(group)
    if scheduler is None:
        return repr((settings, taken))
    if moves_later(run):
        return None
    length = (run.length, run.state.step)
    return repr((settings, taken, run.settings.scheduler, length, scheduler.state_dict()))


def _settings(run: Run) -> dict[str, float]:
    """Return the numbers among the settings of a run's optimizer."""
    numbers: dict[str, float] = {}
    for name, value in run.state.optimizer.param_groups[0].items():
        if name == "betas":
            numbers |= {"beta1": float(value[0]), "beta2": float(value[1])}
        elif name in NUMBERS:
            numbers[name] = float(value)
    return numbers


def _all_of(group: dict[str, Any]) -> dict[str, Any]:
    """Return all settings of a group of parameters."""
    return {name: value for name, value in group.items() if name != "params"}


def _refuse_flags(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ConfigError for a change of what a step does, which is one program for all runs."""
    for name in FLAGS:
        if bool(before.get(name)) != bool(now.get(name)):
            raise ConfigError(
                f"optimizer.{name}",
                f"was changed from {before.get(name)} to {now.get(name)} while many models are trained as one program,"
                " whose steps are the same for all of them; use hydra/launcher=one_by_one",
            )


#: Settings of optimizers that decide which operations a step has; the others are numbers, and each run has its own.
FLAGS = ("momentum", "nesterov", "centered", "amsgrad", "decoupled_weight_decay")
#: Settings of optimizers that are numbers.
NUMBERS = ("lr", "weight_decay", "momentum", "dampening", "alpha", "eps")


def _follow(run: Run, leader: Run) -> None:
    """Bring the schedule and the optimizer's settings to those of another run of the same kind."""
    run.schedule.scheduler.load_state_dict(leader.schedule.scheduler.state_dict())
    [group], [other] = run.state.optimizer.param_groups, leader.state.optimizer.param_groups
    group.update(_all_of(other))
