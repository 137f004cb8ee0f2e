"""Steps on their way to the observers: their losses are read from the device together, and checked."""

import math
import time
from collections.abc import Iterable

import torch

from runner.model import host
from runner.training import measure
from runner.training.events import Observer, Step
from runner.training.finite import Diverged
from runner.training.run import Run

#: Steps that wait at most to be read, and for how many seconds. To read a loss is to wait for the device.
STEPS, SECONDS = 64, 1.0


class Pending:
    """Steps of `run` that `observers` have not been given yet. On the processor none waits.

    A context manager: at its end the last steps are given to them, after an error too, which may be that of a step.
    """

    def __init__(self, run: Run, observers: Iterable[Observer]) -> None:
        self.run, self.observers, self.waits = run, observers, run.device.type != "cpu"
        self._steps: list[Step] = []
        self._read = time.monotonic()

    def __enter__(self) -> "Pending":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, step: Step) -> None:
        """Add a step; where it is time, read the losses of all that wait and give the steps to the observers.

        Raises Diverged for a loss that is not finite. Later steps are no part of the run then.
        """
        self._steps.append(step)
        due = len(self._steps) >= STEPS or time.monotonic() - self._read > SECONDS
        # A checkpoint holds the losses of all steps before it.
        if not self.waits or due or self.run.parts.due.is_now(step.step, self.run.steps_per_epoch):
            self.flush()

    def flush(self) -> None:
        """Give all steps that wait to the observers, in order. Raises Diverged."""
        steps, self._steps = self._steps, []
        if len(steps) > 1:
            numbers = host.numbers(torch.stack([step.loss for step in steps]))
            for step, number in zip(steps, numbers, strict=True):
                step.value = number
        for step in steps:
            if not math.isfinite(step.read()):
                self.run.state.step = step.step
                self.run.epoch = min(self.run.epoch, (step.step - 1) // self.run.steps_per_epoch)
                raise Diverged(f"train/loss is {step.value} at step {step.step}")
            for observer in self.observers:
                observer.record(step)
        self._read = time.monotonic()

    def validate(self, run: Run) -> dict[str, float]:
        """Return the values of a validation, for which no step waits: its events come after theirs."""
        self.flush()
        return measure.validate(run)
