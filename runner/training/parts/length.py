"""The length of a training in optimizer steps, and the steps after which an epoch ends or a validation follows."""

from dataclasses import dataclass

from runner.data import Data
from runner.settings import Settings
from runner.training.parts.batches import steps_per_epoch
from runner.training.state import due


@dataclass(frozen=True)
class Length:
    """A training of `steps` optimizer steps, whose last epoch may be a part of one."""

    steps: int
    per_epoch: int  # steps of one pass over the training data
    every: int  # steps from one validation to the next, times `parts`
    in_steps: bool = False  # whether validations come within epochs
    parts: int = 1  # above 1 where a part of an epoch is no whole number of steps

    @property
    def epochs(self) -> int:
        """Epochs that are begun."""
        return -(-self.steps // max(self.per_epoch, 1))

    def ends_epoch(self, step: int) -> bool:
        """Return whether an epoch ends with this step, counted from 1."""
        return step % self.per_epoch == 0

    def validates_after(self, step: int) -> bool:
        """Return whether a validation follows this step: one that is due, or the last of the training."""
        return due.comes(step, self.every, self.parts) or step == self.steps

    def place(self, step: int) -> str:
        """Return how far so many steps are, in the words of a screen: `epoch 3/10`, or `step 750/5000`."""
        each = max(self.per_epoch, 1)
        in_steps = self.in_steps or self.steps % each
        return f"step {step}/{self.steps}" if in_steps else f"epoch {step // each}/{self.epochs}"

    def rung(self, step: int) -> int:
        """Return the epochs of so many steps, by which runs are compared; validations where they come within these."""
        return step * self.parts // self.every if self.in_steps else step // self.per_epoch

    def epoch(self, step: int) -> float:
        """Return the epochs of so many steps, a whole number where one ends."""
        return step // self.per_epoch if self.ends_epoch(step) else step / self.per_epoch


def length(settings: Settings, data: Data) -> Length:
    """Return the length of a training on `data`: by trainer.steps, or else by trainer.epochs."""
    trainer, each = settings.trainer, steps_per_epoch(settings, data)
    steps = (trainer.epochs or 0) * each if trainer.steps is None else trainer.steps
    every = due.read(trainer.validate_every, "trainer.validate_every", due.COUNTED)
    number, parts = every.steps(each)
    return Length(steps, each, number, every.unit == "steps" or not every.number.is_integer(), parts)
