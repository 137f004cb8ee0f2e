"""What recurs in a training, such as checkpoints: every so many epochs, steps or minutes."""

import math
import time
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from runner.settings.errors import ConfigError

#: What an interval may be given in: checkpoints in all of them, what changes the numbers of a run in two.
UNITS = ("epochs", "steps", "minutes")
COUNTED = ("epochs", "steps")
#: Examples of each unit, for messages.
EXAMPLES = {"epochs": "'2 epochs'", "steps": "'100 steps'", "minutes": "'10 minutes'"}


@dataclass
class Due:
    """The interval between two checkpoints, validations or plots. number: 0 for never; of epochs a part too, as 0.5."""

    number: float = 0.0
    unit: str = "epochs"  # epochs | steps | minutes
    _saved: float = field(default_factory=time.monotonic)

    def is_now(self, step: int, steps_per_epoch: int) -> bool:
        """Return whether something is due after this step; minutes are counted from the last time that it was."""
        if not self.number:
            return False
        if self.unit != "minutes":
            return comes(step, *self.steps(steps_per_epoch))
        now = time.monotonic()
        if now - self._saved < 60 * self.number:
            return False
        self._saved = now
        return True

    def steps(self, steps_per_epoch: int) -> tuple[int, int]:
        """Return the interval in steps as a fraction, numerator and denominator: (23, 2) for 0.5 epochs of 23 steps."""
        number = Fraction(str(self.number)) * (1 if self.unit == "steps" else steps_per_epoch)
        return number.numerator, number.denominator


def comes(step: int, every: int, parts: int) -> bool:
    """Return whether a multiple of every/parts steps is reached with `step`, which was not before it."""
    return step * parts % every < parts


def following(step: Any, every: Any, parts: Any) -> Any:
    """Return the next step after `step` of which `comes` is true; numbers, or arrays of them."""
    return -(-(step * parts // every + 1) * every // parts)


def read(value: Any, key: str = "checkpoint.every", units: tuple[str, ...] = UNITS) -> Due:
    """Read an interval: null, 1, "0.5 epochs", "100 steps" or "10 minutes". Raises ConfigError.

    key: of the value. units: those in which it may be given.
    """
    if value is None:
        return Due()
    number, _, unit = str(value).strip().partition(" ")
    unit = {"": "epochs", "epoch": "epochs", "step": "steps", "minute": "minutes"}.get(unit.strip(), unit.strip())
    try:
        amount = float(number)
    except ValueError:
        amount = 0.0
    whole = unit != "steps" or amount.is_integer()
    if unit not in units or not 0 < amount < math.inf or not whole or isinstance(value, bool):
        *some, last = ["1", *(EXAMPLES[one] for one in units)]
        raise ConfigError(key, f"{value!r} is not understood; expected {', '.join(some)} or {last}")
    return Due(amount, unit)
