"""Record the events of many runs after their steps; a run that fails leaves the others alone."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runner.training.drive import interrupt, record, rescue
from runner.training.events import Observer, Steps, deliver
from runner.training.finite import Diverged
from runner.training.parts.scheduling import Schedule
from runner.training.run import Run
from runner.training.vectorized.blocks import Blocks
from runner.training.vectorized.schedules import after_step, moves_later
from runner.training.vectorized.team import Team
from runner.training.vectorized.ways import MOST

#: Seconds after which steps are recorded although nothing is due.
SECONDS = 1.0


@dataclass
class Member:
    """A run among others, and the observers of its events."""

    number: int
    run: Run
    observers: Sequence[Observer]
    error: BaseException | None = None
    _schedule: Schedule = field(init=False)

    def __post_init__(self) -> None:
        self.later = moves_later(self.run)
        self._schedule = self.run.schedule if self.later else Schedule()

    @property
    def goes_on(self) -> bool:
        """True if there are steps left."""
        return self.error is None and not self.run.stopped and self.run.state.step < self.run.steps

    def follow(self, losses: NDArray[np.float64], rate: float, values: dict[str, float]) -> None:
        """Record the last steps, and what follows from the last of them. values: of a validation, if it ends with one.

        losses: of the steps. rate: the learning rate of the last one.
        """
        run = self.run
        try:
            deliver(self.observers, Steps(run.state.step - len(losses) + 1, losses))
            if self.later:
                after_step(run)
            run.epoch = (run.state.step - 1) // run.steps_per_epoch  # before the last step
            record(self.observers, run.ended(run.state.step, {"lr": rate}, lambda run: values, self._schedule))
        except Exception as error:
            self.rescue(error)

    def diverge(self, losses: NDArray[np.float64], bad: int) -> None:
        """End the run at the first of the last steps whose loss is not finite, as if it had taken none after it."""
        run = self.run
        run.state.step -= len(losses) - bad - 1
        run.epoch = run.state.step // run.steps_per_epoch
        try:
            if bad:
                deliver(self.observers, Steps(run.state.step - bad, losses[:bad]))
            raise Diverged(f"train/loss is {float(losses[bad])} at step {run.state.step}")
        except Exception as error:
            self.rescue(error)

    def interrupt(self, reason: BaseException) -> None:
        """End the run for a reason from outside, after a checkpoint."""
        if self.error is None:
            try:
                interrupt(self.run, self.observers, reason)
                self.error = reason
            except Exception as error:
                self.rescue(error)

    def rescue(self, error: Exception) -> None:
        """End the run with an error, after its best weights are written."""
        self.error = error
        rescue(self.run, self.observers, error)


class Following:
    """Trains a team in blocks of steps. What comes of a block is recorded when something is due or a second is over."""

    def __init__(self, team: Team, members: Sequence[Member]) -> None:
        self.team, self.members, self._blocks = team, members, Blocks(team.runs)
        self._pending: list[NDArray[np.float64]] = []  # losses that are not recorded yet, each (steps, N)
        self._since = time.monotonic()

    def block(self) -> None:
        """Take some steps of every run."""
        losses = self.team.block(self._blocks.begin())
        due = self._blocks.end()
        self._pending.append(losses)
        late = time.monotonic() - self._since > SECONDS or sum(map(len, self._pending)) >= MOST
        if due or late or not np.isfinite(losses).all():
            self.follow()

    def follow(self) -> None:
        """Record the steps that are not recorded yet, and what follows from the last of them."""
        if not self._pending:
            return
        # Of each run in a row: what it keeps must not hold the losses of all.
        losses = np.concatenate(self._pending).T.copy()
        self._pending, self._since = [], time.monotonic()
        finite = np.isfinite(losses)
        for i in map(int, np.flatnonzero(~finite.all(1))):
            self.members[i].diverge(losses[i], int(finite[i].argmin()))
        left = [i for i, member in enumerate(self.members) if member.error is None]
        values, rates = self._validated(left), self.team.rates
        for i in left:
            self.members[i].follow(losses[i], rates[i], values.get(i, {}))

    def _validated(self, numbers: list[int]) -> dict[int, dict[str, float]]:
        """Validate the runs whose step a validation follows; return the values by the runs' numbers."""
        due = [i for i in numbers if (run := self.team.runs[i]).length.validates_after(run.state.step)]
        return dict(zip(due, self.team.validate(due), strict=True)) if due else {}
