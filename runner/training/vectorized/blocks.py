"""The length of a block of steps: up to the next step that something follows from, and for at most a second."""

import time
from collections.abc import Sequence

import numpy as np

from runner.training.run import Run
from runner.training.state.due import following
from runner.training.vectorized.schedules import is_late
from runner.training.vectorized.ways import MOST

#: Seconds that a block should take: signals and time limits are answered at its end.
SECONDS = 0.5


class Blocks:
    """The blocks of `runs`, whose epochs have equally many steps and end at the same time."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._per_epoch, self._taken = runs[0].steps_per_epoch, 0
        self._steps, self._ends, self._every, self._parts = (
            np.array(values, np.int64)
            for values in (
                [run.state.step for run in runs],
                [run.steps for run in runs],
                [run.length.every for run in runs],
                [run.length.parts for run in runs],
            )
        )
        saved = [run for run in runs if run.parts.due.number and run.parts.due.unit != "minutes"]
        lengths = [run.parts.due.steps(self._per_epoch) for run in saved]
        self._due = np.array(lengths, np.int64).reshape(-1, 2).T
        self._due_steps = np.array([run.state.step for run in saved], np.int64)
        late = {run.schedule.interval for run in runs if is_late(run)}
        self._least = 1 if "step" in late else self._per_epoch if "epoch" in late else 0
        self._most, self._began, self._n, self._left = 1, 0.0, 0, 0

    def begin(self) -> int:
        """Return the number of steps of the next block, and start its clock."""
        steps = self._steps + self._taken
        ends = np.minimum(following(steps, self._every, self._parts), self._ends)
        n = int((ends - steps).min())
        if len(self._due_steps):
            saved = self._due_steps + self._taken
            n = min(n, int((following(saved, *self._due) - saved).min()))
        if self._least:
            n = min(n, self._least - int(steps[0]) % self._least)
        self._left = max(1, n)  # steps up to the next from which something follows
        self._n = min(self._left, self._most)
        self._began = time.perf_counter()
        return self._n

    def end(self) -> bool:
        """Count the block's steps, and return whether something follows from the last one.

        Its time tells how many steps fit into the next block.
        """
        self._taken += self._n
        each = (time.perf_counter() - self._began) / self._n
        self._most = max(1, min(MOST, int(SECONDS / max(each, 1e-9))))
        return self._n == self._left
